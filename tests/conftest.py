"""Fixtures that tests of several rooms use."""

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mdp_lite.editor import Editor
from support import ray_cluster
from support.checkpoints import write_checkpoint
from support.thinning import pytest_collection_modifyitems

__all__ = ["pytest_collection_modifyitems"]  # a hook of pytest's

# Of processes that tests start, too: threads of several that wait for each other take all cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_finish() -> None:
    """What is imported by now stays: no garbage collection of a test looks through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tiny models are fastest so, and equal bits are promised for one thread."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model on disk; tests read it and never write to it."""
    return write_checkpoint(tmp_path_factory.mktemp("model") / "random")


@pytest.fixture(scope="session")
def editor(checkpoint: Path) -> Editor:
    """The tiny random model, loaded."""
    return Editor.from_pretrained(checkpoint, device="cpu")


@pytest.fixture(scope="session")
def checkpoint_xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of SDXL: two text encoders, a pooled state and sizes."""
    return write_checkpoint(tmp_path_factory.mktemp("model") / "random-xl", xl=True)


@pytest.fixture(scope="session")
def checkpoint_inpaint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as an inpainting model: its UNet reads a mask and a masked picture too."""
    return write_checkpoint(tmp_path_factory.mktemp("model") / "random-inpaint", inpaints=True)


FAMILIES = {"SD": "checkpoint", "SDXL": "checkpoint_xl"}
KINDS = FAMILIES | {"inpainting": "checkpoint_inpaint"}


def list_kinds(kinds: dict[str, str]) -> list[Any]:
    """The fixtures of some kinds of models; SDXL's tests run with `make slow`."""
    marks = {"SDXL": [pytest.mark.slow]}
    return [pytest.param(one, id=kind, marks=marks.get(kind, [])) for kind, one in kinds.items()]


@pytest.fixture(scope="session", params=list_kinds(FAMILIES))
def any_editor(request: pytest.FixtureRequest) -> Editor:
    """The tiny random model of each family, loaded."""
    return Editor.from_pretrained(request.getfixturevalue(request.param), device="cpu")


@pytest.fixture(scope="session", params=list_kinds(KINDS))
def every_editor(request: pytest.FixtureRequest) -> Editor:
    """The same, and an inpainting model."""
    return Editor.from_pretrained(request.getfixturevalue(request.param), device="cpu")


@pytest.fixture
def says_one_line(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Asserts that a command wrote this sentence in one line to stderr, and nothing else."""

    def check(sentence: str) -> None:
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1 and captured.err.startswith("mdp-lite: ")
        assert sentence in captured.err

    return check


@pytest.fixture(scope="session")
def cluster() -> Iterator[ray_cluster.Cluster]:
    """A Ray cluster of this machine, for all tests that join one."""
    pytest.importorskip("ray")
    with ray_cluster.running() as one:
        yield one

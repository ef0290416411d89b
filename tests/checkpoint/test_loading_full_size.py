"""Loading full-size SD 1.5 folders: the memory it takes.

    python -m pytest -m slow -rP tests/checkpoint/test_loading_full_size.py

runs the benchmark that benchmarks/README.md describes, all pairs of dtypes once. Its times depend
on the processor, so that no test bounds them.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import full_size
from support.places import ROOT

PAIRS = ("float32-float32", "float16-float32", "float16-bfloat16", "float16-float16")
PAIRS += ("float32-bfloat16",)
MEMORY = 1.15  # peak over the weights' bytes

pytestmark = pytest.mark.slow


def measure(models: Path, *options: str) -> dict[str, Any]:
    output = models / "loading.json"
    command = [sys.executable, "-m", "benchmarks.loading", "--models", str(models)]
    rooms = os.pathsep.join((".", "kernels", "weights"))
    done = subprocess.run(
        [*command, "--output", str(output), *options], cwd=ROOT,
        env=os.environ | {"PYTHONPATH": rooms}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text("utf-8"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    where = tmp_path_factory.mktemp("loading")
    if why := full_size.lacking(where):
        pytest.skip(why)
    yield where
    shutil.rmtree(where)


@pytest.fixture(scope="module")
def once(models: Path) -> dict[str, Any]:
    return measure(models, "--rounds", "1")


@pytest.mark.parametrize("pair", PAIRS)
def test_peak_memory(once: dict[str, Any], pair: str) -> None:
    ours, theirs = once[pair]["mdp_lite"], once[pair]["diffusers"]
    key = "peak_over_weights_with_first_read"
    print(f"{pair}: peak {ours[key]:.3f} times the weights (diffusers {theirs[key]:.3f})")
    assert 0.95 < ours[key] <= MEMORY  # less would mean that reading them was not seen

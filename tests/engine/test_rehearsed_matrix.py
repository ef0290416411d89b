"""Every kind of work on a GPU that is not there, eager and as graphs: `pytest -m slow -n 2` here.

A graph is a tape that runs no Python, so these tests see what a real one would freeze. What a GPU
rounds and how long it takes they can't see.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mdp_lite import Editor
from support.checkpoints import SCHEDULER, write_checkpoint
from support.rehearsal import Rehearsal
from support.rehearsed_cases import Case, list_cases, make
from support.rehearsing import rehearsal

pytestmark = pytest.mark.slow
FLOAT32 = 2e-4  # of a latent's largest value, to the CPU's result
SIXTEEN_BITS = 0.1  # the same in 16 bits, to the rehearsed eager result
WIDE = torch.float32


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A random checkpoint of each family of models."""
    root, made = tmp_path_factory.mktemp("models"), dict[str, Path]()
    v = replace(SCHEDULER, prediction_type="v_prediction")
    how = {"sd": {}, "v": {"scheduler": v}, "xl": {"xl": True}, "inpaint": {"inpaints": True}}

    def write(kind: str) -> Path:
        made[kind] = made.get(kind) or write_checkpoint(root / kind, **how[kind])
        return made[kind]

    return write


def compare(gpu: Rehearsal, editor: Editor, cases: dict[str, Case], want: dict[str, torch.Tensor],
            bound: float) -> list[str]:  # fmt: skip
    """What is wrong with each case: a difference, a violation, operands on two devices."""
    wrong = []
    for name, case in cases.items():
        gpu.reset()
        got, right = case(editor).cpu(), want[name]
        far = float((got - right).abs().max() / right.abs().max())
        if not far <= bound or gpu.violations or gpu.mismatches:
            wrong.append(f"{name}: {far:.1e} {dict(gpu.violations)} {dict(gpu.mismatches)}")
    return wrong


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("part", range(2))
def test_all_cases_in_float32(folders: Callable[[str], Path], mode: str, part: int) -> None:
    cpu = Editor.from_pretrained(folders("sd"), "cpu", "float32")
    cases = dict(list(list_cases(make(cpu).image).items())[part::2])
    null_text = cases.pop("invert by null-text", None)  # its gradients are zeros here
    want = {name: case(cpu) for name, case in cases.items()}
    with rehearsal() as gpu:
        editor = Editor.from_pretrained(folders("sd"), "cuda", "float32", engine=mode)
        assert compare(gpu, editor, cases, want, FLOAT32) == []
        assert not null_text or null_text(editor).isfinite().all()
        assert not gpu.violations and not gpu.mismatches
        assert bool(gpu.tapes) == (mode == "graph")


@pytest.mark.parametrize(
    ("kind", "dtype", "first"),
    [
        ("sd", "float16", 0), ("sd", "bfloat16", 1), ("v", "float32", 2), ("xl", "float32", 0),
        ("xl", "float16", 1), ("inpaint", "float32", 2),
    ],
)  # fmt: skip
def test_a_third_of_them_elsewhere(
    folders: Callable[[str], Path], kind: str, dtype: str, first: int
) -> None:
    cpu = Editor.from_pretrained(folders(kind), "cpu", "float32")
    cases = dict(list(list_cases(make(cpu).image, gradients=False).items())[first::3])
    with rehearsal() as gpu:
        eager, graph = (
            Editor.from_pretrained(folders(kind), "cuda", dtype, engine=mode)
            for mode in ("eager", "graph")
        )
        wide = dtype == "float32"
        want = {name: case(cpu if wide else eager).cpu() for name, case in cases.items()}
        for editor in (eager, graph) if wide else (graph,):
            bound = FLOAT32 if wide else SIXTEEN_BITS
            assert compare(gpu, editor, cases, want, bound) == []
        assert gpu.tapes

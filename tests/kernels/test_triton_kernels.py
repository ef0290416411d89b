"""The Triton kernels: right in Triton's interpreter, compiled for a GPU, and on one where it is."""

import os
import subprocess
import sys

import pytest
import torch

from mdp_lite_kernels import geglu, shapes
from support.places import ROOT

needs_triton = pytest.mark.skipif(not shapes.TRITON, reason="Triton is for Linux alone")


CASES = ("triton_cases.py", "triton_norms.py")


def passes(*names: str, interpreted: bool = False, some: str = "") -> None:
    """Run files of tests in a new process: the import of Triton decides how it works."""
    places = [str(ROOT / room) for room in (".", "kernels", "weights", "tests")]
    own = {"PYTHONPATH": os.pathsep.join(places), "TRITON_INTERPRET": "01"[interpreted]}
    files = [f"tests/support/{name}" for name in names]
    command = [sys.executable, "-m", "pytest", "--noconftest", "-q", *files, "-k", some]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | own, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


interprets = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13),
    reason="torch 2.11 wraps no kernels that are interpreted",
)
# Of each kernel one case; all are run with `make slow`.
SOME = "geglu_of_extremes or edge_between_two or weight_at_its_end or passes_nan or small_variance"


@needs_triton
@interprets
def test_each_kernel_agrees_with_its_reference_in_the_interpreter() -> None:
    passes(*CASES, interpreted=True, some=SOME)


@pytest.mark.slow
@needs_triton
@interprets
def test_kernels_agree_with_their_references_in_the_interpreter() -> None:
    passes(*CASES, interpreted=True)


@pytest.mark.slow
@needs_triton
def test_kernels_compile_for_a_gpu() -> None:
    passes("triton_compiled.py")


@pytest.mark.gpu
@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_kernels_agree_with_their_references_on_the_device() -> None:
    passes(*CASES)


def test_without_triton_nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "TRITON", False)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    assert not geglu.takes(torch.zeros(2, 4, device=device))


def test_importing_the_kernels_brings_neither_triton_nor_a_compiler() -> None:
    names = "geglu, group_norm_silu, guided_step, pixels"
    heavy = "[m for m in ('triton', 'torch._inductor', 'torch._dynamo') if m in sys.modules]"
    code = f"import sys; import torch; was = {heavy}; from mdp_lite_kernels import {names}; "
    code += f"assert {heavy} == was, {heavy}"
    own = os.environ | {"PYTHONPATH": str(ROOT / "kernels")}
    done = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

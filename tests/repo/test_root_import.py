"""The folders kernels/ and weights/ at the root break nobody's import, and mdp_lite's is light."""

import os
import subprocess
import sys

import pytest

from support.places import ROOT

OPTIONAL = ("diffusers", "gradio", "fastapi", "ray", "matplotlib", "transformers")
ENV = os.environ | {
    "PYTHONPATH": os.pathsep.join(str(ROOT / p) for p in ("", "kernels", "weights"))
}


def run(code: str) -> str:
    """What `python -c code` prints, run at the repository root."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_transformers_imports_at_the_root() -> None:
    out = run(
        "from transformers import CLIPTextModel, CLIPTextConfig\n"
        "tiny = CLIPTextConfig(vocab_size=9, hidden_size=8, intermediate_size=8,\n"
        "    num_hidden_layers=1, num_attention_heads=2)\n"
        "print(type(CLIPTextModel(tiny)).__module__)"
    )
    assert out.strip().startswith("transformers.")


def test_import_mdp_lite_is_light() -> None:
    out = run(f"import mdp_lite, sys; print([m for m in {OPTIONAL} if m in sys.modules])")
    assert out.strip() == "[]"


@pytest.mark.parametrize("folder", ["kernels", "weights"])
def test_a_source_root_is_no_package(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


@pytest.mark.parametrize("folder", ["", "kernels", "weights"])
def test_nothing_is_named_triton(folder: str) -> None:
    assert not list((ROOT / folder).glob("triton*"))

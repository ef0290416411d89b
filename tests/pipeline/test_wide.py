"""Latents, noise and grids in float32, as on mps, and in float64: what differs is rounding alone.

Here both are on the CPU, so null rows are tuned by real gradients.
"""

import pytest
import torch

from mdp_lite import Editor
from mdp_lite.pipeline.inversion_methods import METHODS
from support.inverting import PROMPT, G, N, picture

TOLERANCE = 1e-4  # relative distance of latents; null rows follow gradients, which magnify rounding


@pytest.fixture(scope="module")
def narrow(editor: Editor) -> Editor:
    one = Editor(editor.models, editor.device)
    one.runner.wide = torch.float32
    return one


def relative(got: torch.Tensor, want: torch.Tensor) -> float:
    assert (got.dtype, want.dtype) == (torch.float32, torch.float64)
    return float((got - want).norm() / want.norm())


@pytest.mark.representative("replay", "edit-friendly", "null-text")
@pytest.mark.parametrize("method", METHODS)
def test_inversions_and_edits(method: str, narrow: Editor, editor: Editor) -> None:
    sources = [one.invert(picture(), PROMPT, method, N, G) for one in (narrow, editor)]
    assert relative(*(one.path.x for one in sources)) < TOLERANCE
    pairs = zip((narrow, editor), sources, strict=True)
    assert relative(*(one.edit(source, "a blue boat").latent for one, source in pairs)) < TOLERANCE


def test_a_grid_is_computed_in_float64_first(narrow: Editor, editor: Editor) -> None:
    """So each level is the nearest one in float32, as no rounding comes before."""
    ours, exact = narrow.runner.grid(N), editor.runner.grid(N)
    assert torch.equal(ours.a, exact.a.float()) and torch.equal(ours.b, exact.b.float())
    assert torch.equal(ours.t, exact.t)

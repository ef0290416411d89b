"""What inversions cost, counted by the denoiser itself: forward rows, calls and backward rows."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mdp_lite.cli.dry_run import StubUNet
from mdp_lite.editor import Editor
from mdp_lite.engine import flops
from mdp_lite.method.plan import call_steps, plan
from mdp_lite.method.schedule import variant_table, window
from mdp_lite.models.config import UNetConfig
from mdp_lite.models.unet import UNet
from mdp_lite.pipeline.inversion_methods import Inversion
from support.checkpoints import SCHEDULER
from support.inverting import CountingUNet, counting, picture

N, G, PROMPT, TARGET = 50, 7.5, "a red house", "a blue boat"
PICTURE = picture()
NEVER = -1.0  # an early stop at no loss at all
SD1 = UNetConfig(cross_attention_dim=768)
# The bundled model's grid, and the authors' (diffusers' default), whose last step stays in place.
OFFSETS = pytest.mark.parametrize("offset", [1, 0])


def model(editor: Editor, offset: int) -> tuple[Editor, CountingUNet]:
    """The random model, counted, on a grid of that offset."""
    scheduler = replace(SCHEDULER, steps_offset=offset)
    return counting(Editor(replace(editor.models, scheduler=scheduler), editor.device))


@cache
def backward() -> float:
    """What a row backward costs in rows forward: as torch counts it on SD 1.5, towards c alone."""
    with torch.device("meta"):
        unet = UNet(SD1).requires_grad_(False)
        x, t, c = torch.empty(1, 4, 64, 64), torch.empty(()), torch.empty(1, 77, 768)
        with FlopCounterMode(display=False) as forward:
            out = unet(x, t, c.requires_grad_())
        with FlopCounterMode(display=False) as back:
            torch.autograd.grad(out.sum(), c)
    assert forward.get_total_flops() == flops.unet(SD1, 64, 64).flops
    return back.get_total_flops() / forward.get_total_flops()


@pytest.mark.slow
def test_a_row_backward_is_little_more_than_one_forward() -> None:
    """No weight has a gradient, and what comes before the first text has none either: 1.078."""
    assert 1.0 < backward() < 1.08


# --- one edit of a picture, all in all ---------------------------------------------------------


@pytest.mark.covering(1)
@OFFSETS
@pytest.mark.parametrize("method", ["replay", "fixed-point", "direct", "edit-friendly"])
def test_the_cost_of_a_source_is_counted(editor: Editor, method: str, offset: int) -> None:
    one, unet = model(editor, offset)
    source = one.invert(PICTURE, PROMPT, method, 10, G)
    assert unet.counts() == source.cost
    want = {"replay": 20, "fixed-point": 100, "direct": 30, "edit-friendly": 20}
    assert source.cost.unet_rows == want[method]


@OFFSETS
@pytest.mark.parametrize(("method", "rows"), [("ddim", 3), ("negative-prompt", 2)])
def test_the_cost_of_sampling_anew_is_counted(
    editor: Editor, method: str, rows: int, offset: int
) -> None:
    one, unet = model(editor, offset)
    source = one.invert(PICTURE, PROMPT, method, 10, G)
    assert unet.counts() == source.cost == (10 * rows, 20, 0)
    edit = one.edit(source, TARGET)
    assert unet.counts() == edit.cost


def test_the_cost_of_null_text_is_counted(editor: Editor) -> None:
    """Also if it stops early."""
    one, unet = model(editor, 1)
    source = one.invert(PICTURE, PROMPT, Inversion("null-text", early_stop=0.01), 10, G)
    tries = [step.iterations for step in source.tuning]
    assert len(set(tries)) > 1 and max(tries) == 10
    assert unet.counts() == source.cost == (30 + sum(tries), 30 + sum(tries), sum(tries))


@OFFSETS
def test_replay_and_an_edit(editor: Editor, offset: int) -> None:
    """50 rows and 46 (offset 0: the last step stays where it is) or 48: within 103."""
    one, unet = model(editor, offset)
    source = one.invert(PICTURE, PROMPT, "replay", N)
    edit = one.edit(source, TARGET, "epsilon", 47, 26, guidance_scale=G)
    rows, calls, back = unet.counts()
    assert (rows, calls, back) == (98 - 2 + 2 * offset, 73 + offset, 0)
    assert rows == source.cost.unet_rows + edit.cost.unet_rows <= 103


def spend(editor: Editor, offset: int, steps: tuple[int, ...] | None) -> float:
    """What null-text inversion (ten iterations a step) and an edit take, in rows forward.

    The denoiser predicts zeros: the number of rows does not depend on its answers.
    """
    stub = replace(editor.models, unet=StubUNet(editor.models.unet.config))
    one, unet = model(Editor(stub, editor.device), offset)
    how = Inversion("null-text", inner_steps=10, early_stop=NEVER, tuned_steps=steps)
    source = one.invert(PICTURE, PROMPT, how, N, G)
    assert unet.counts() == source.cost
    count = N - 1 + offset if steps is None else len(steps)  # one that stays in place is free
    assert source.cost == (N + 12 * count, N + 12 * count, 10 * count)
    edit = one.edit(source, TARGET, "epsilon", 47, 26)
    assert unet.counts() == edit.cost == (46 + 2 * offset, 23 + offset, 0)
    return source.cost.unet_rows + edit.cost.unet_rows + backward() * source.cost.backward_rows


@OFFSETS
def test_null_text_and_an_edit(editor: Editor, offset: int) -> None:
    """50 + 12 x 49 + 46 and 10 x 49 backward, or of 50 steps: 1,911 as published."""
    spent = spend(editor, offset, None)
    assert spent <= 1242
    assert round(spent) == {0: 1212, 1: 1237}[offset]


@OFFSETS
def test_null_text_at_the_steps_of_an_edit_and_that_edit(editor: Editor, offset: int) -> None:
    """23 steps are tuned on the authors' grid, within 625; 24 where the last step moves."""
    grid = model(editor, offset)[0].runner.grid(N)
    steps = call_steps(plan(variant_table("epsilon", window(N, 47, 26)), grid))
    assert steps == (0, 1, 2, *range(29, N - 1 + offset))
    spent = spend(editor, offset, steps)
    assert spent <= {0: 625, 1: 645}[offset]
    assert round(spent) == {0: 620, 1: 645}[offset]

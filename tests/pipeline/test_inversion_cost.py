"""What inversions cost, counted by the denoiser itself: forward rows, calls and backward rows."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mdp_lite.cli.dry_run import StubUNet
from mdp_lite.editor import Editor
from mdp_lite.engine import flops as cost
from mdp_lite.method.plan import evaluated, plan
from mdp_lite.method.schedule import table, window
from mdp_lite.models.config import UNetConfig
from mdp_lite.models.unet import UNet
from mdp_lite.pipeline.inversion_methods import Inversion
from support.checkpoints import SCHEDULER
from support.inverting import Counted, counting, picture

N, G, PROMPT, TARGET = 50, 7.5, "a red house", "a blue boat"
PICTURE = picture()
NEVER = -1.0  # an early stop at no loss at all
SD1 = UNetConfig(cross_attention_dim=768)
# The bundled model's grid, and the authors' (diffusers' default), whose last step stays in place.
OFFSETS = pytest.mark.parametrize("offset", [1, 0])


def model(editor: Editor, offset: int) -> tuple[Editor, Counted]:
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
    assert forward.get_total_flops() == cost.unet(SD1, 64, 64).flops
    return back.get_total_flops() / forward.get_total_flops()


def test_a_row_backward_is_little_more_than_one_forward() -> None:
    """No weight has a gradient, and what comes before the first text has none either: 1.078."""
    assert 1.0 < backward() < 1.08


# --- one edit of a picture, all in all ---------------------------------------------------------


@OFFSETS
@pytest.mark.parametrize("method", ["replay", "fixed-point", "direct", "edit-friendly"])
def test_a_source_says_what_it_cost(editor: Editor, method: str, offset: int) -> None:
    one, unet = model(editor, offset)
    source = one.invert(PICTURE, PROMPT, method, 10, G)
    assert unet.seen() == source.cost
    want = {"replay": 20, "fixed-point": 100, "direct": 30, "edit-friendly": 20}
    assert source.cost.unet_rows == want[method]


@OFFSETS
@pytest.mark.parametrize(("method", "rows"), [("ddim", 3), ("negative-prompt", 2)])
def test_sampling_anew_says_what_it_cost(
    editor: Editor, method: str, rows: int, offset: int
) -> None:
    one, unet = model(editor, offset)
    source = one.invert(PICTURE, PROMPT, method, 10, G)
    assert unet.seen() == source.cost == (10 * rows, 20, 0)
    edit = one.edit(source, TARGET)
    assert unet.seen() == edit.cost


def test_null_text_says_what_it_cost(editor: Editor) -> None:
    """Where it stops early too."""
    one, unet = model(editor, 1)
    source = one.invert(PICTURE, PROMPT, Inversion("null-text", early_stop=0.01), 10, G)
    tries = [step.iterations for step in source.tuning]
    assert len(set(tries)) > 1 and max(tries) == 10
    assert unet.seen() == source.cost == (30 + sum(tries), 30 + sum(tries), sum(tries))


@OFFSETS
def test_replay_and_an_edit(editor: Editor, offset: int) -> None:
    """50 rows and 46 (offset 0: the last step stays where it is) or 48: within 103."""
    one, unet = model(editor, offset)
    source = one.invert(PICTURE, PROMPT, "replay", N)
    edit = one.edit(source, TARGET, "epsilon", 47, 26, guidance_scale=G)
    rows, calls, back = unet.seen()
    assert (rows, calls, back) == (98 - 2 + 2 * offset, 73 + offset, 0)
    assert rows == source.cost.unet_rows + edit.cost.unet_rows <= 103


def tuned(editor: Editor, offset: int, rows: tuple[int, ...] | None) -> float:
    """What null-text inversion, ten inner steps at each row, and an edit take: in rows forward.

    Of a denoiser that predicts zeros: how many rows there are is not up to what it says.
    """
    idle = replace(editor.models, unet=StubUNet(editor.models.unet.config))
    one, unet = model(Editor(idle, editor.device), offset)
    how = Inversion("null-text", inner_steps=10, early_stop=NEVER, rows=rows)
    source = one.invert(PICTURE, PROMPT, how, N, G)
    assert unet.seen() == source.cost
    steps = N - 1 + offset if rows is None else len(rows)  # one that stays in place costs nothing
    assert source.cost == (N + 12 * steps, N + 12 * steps, 10 * steps)
    edit = one.edit(source, TARGET, "epsilon", 47, 26)
    assert unet.seen() == edit.cost == (46 + 2 * offset, 23 + offset, 0)
    return source.cost.unet_rows + edit.cost.unet_rows + backward() * source.cost.backward_rows


@OFFSETS
def test_null_text_and_an_edit(editor: Editor, offset: int) -> None:
    """50 + 12 x 49 + 46 and 10 x 49 backward, or of 50 steps: 1,911 as published."""
    spent = tuned(editor, offset, None)
    assert spent <= 1242
    assert round(spent) == {0: 1212, 1: 1237}[offset]


@OFFSETS
def test_null_text_where_an_edit_looks_and_that_edit(editor: Editor, offset: int) -> None:
    """23 steps are tuned on the authors' grid, within 625; 24 where the last step moves."""
    grid = model(editor, offset)[0].runner.grid(N)
    rows = evaluated(plan(table("epsilon", window(N, 47, 26)), grid))
    assert rows == (0, 1, 2, *range(29, N - 1 + offset))
    spent = tuned(editor, offset, rows)
    assert spent <= {0: 625, 1: 645}[offset]
    assert round(spent) == {0: 620, 1: 645}[offset]

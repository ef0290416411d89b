"""guidance_every and recorded directions from the Editor down: sources, edits, files, sweeps."""

import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mdp_lite import Editor
from mdp_lite.files.atomic import warn_once
from mdp_lite.method.inversion import predict_along
from mdp_lite.method.mdp import Guidance
from mdp_lite.method.plan import call_steps
from mdp_lite.names import VARIANTS, BadInput
from mdp_lite.pipeline.inversion_methods import METHODS
from mdp_lite.pipeline.once import once
from mdp_lite.pipeline.provenance import describe_source
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.result import Cost, Source
from support.inverting import PROMPT, picture
from support.recording import recording_editor
from support.source_cases import same_bits

N, TARGET = 8, "a blue boat"
UNRECORDED = {"replay", "fixed-point", "null-text"}  # they ask one row, or not along their path


@pytest.fixture(scope="module")
def source(every_editor: Editor) -> Source:
    return every_editor.generate(PROMPT, 3, N, record_direction=True)


def rows_asked(editor: Editor, request: Request) -> list[int]:
    """The rows of each UNet call of an edit."""
    rows: list[int] = []
    own, unet = Editor(editor.models, editor.device), editor.runner.unet

    def count(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        rows.append(len(x))
        return unet(x, t, c)

    own.runner.unet = count
    own.edits([request])
    return rows


def along(editor: Editor, source: Source, g: float = 3.0) -> Tensor:
    """e - e_null at each latent of the path, asked again."""
    nulls, path = source.path.null, source.path
    size = editor.runner.latent_size(path.x)
    to: Guidance = editor.runner.edit_guidance(
        source.prompt, source.negative_prompt, g, nulls, None, size, source.xl, path.channels
    )
    if to.null is to.c:
        return torch.zeros_like(path.eps)
    with torch.no_grad():
        steps = predict_along(
            editor.runner.unet, source.grid, path.x, to, editor.runner.v_prediction
        )
        return torch.stack([step.d for step in steps])  # type: ignore[misc]


@pytest.mark.covering(1)
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_edit_takes_the_rows_of_its_plan(
    every_editor: Editor, source: Source, variant: str
) -> None:
    how: dict[str, Any] = {"t_max": N - 1, "t_m": 3, "weight": 0.5, "schedule": "constant"}
    exact, half = (Request(source, TARGET, variant, **how, guidance_every=k) for k in (1, 2))
    asked = rows_asked(every_editor, half)
    plan, other = (every_editor.plan(one) for one in (half, exact))
    assert asked == [len(one.reads) for one in plan.segments if one.kind == "call"]
    assert call_steps(plan) == call_steps(other)
    saved = other.unet_rows - plan.unet_rows
    assert saved == sum(one.reuses for one in plan.segments) >= len(asked) // 2 - 1
    edit = every_editor.edits([half])[0]
    assert edit.cost == Cost(plan.unet_rows, plan.unet_calls)
    assert not torch.equal(edit.latent, every_editor.edits([exact])[0].latent)


def test_1_is_the_default_and_the_same_bits(every_editor: Editor, source: Source) -> None:
    plain = every_editor.generate(PROMPT, 3, N)
    assert plain.path.direction is None and plain.cost == source.cost
    assert torch.equal(plain.path.x, source.path.x) and torch.equal(plain.path.eps, source.path.eps)
    a, b = (every_editor.edit(plain, TARGET, guidance_every=1), every_editor.edit(source, TARGET))
    assert torch.equal(a.latent, b.latent) and a.plan == b.plan


def test_without_guidance_nothing_changes(every_editor: Editor, source: Source) -> None:
    a, b = (every_editor.edit(source, TARGET, guidance_scale=1.0, guidance_every=k) for k in (1, 2))
    assert torch.equal(a.latent, b.latent) and a.cost == b.cost


def test_edits_together_have_the_bits_of_each_alone(every_editor: Editor, source: Source) -> None:
    """Exact ones and others, of all variants and settings, in one tree and in batches."""
    kinds: list[dict[str, Any]] = [
        *({"variant": v, "t_max": N - 1, "t_m": 3, "weight": 0.5} for v in VARIANTS),
        {"variant": "epsilon"}, {"proximal": 0.6}, {"schedule": "linear", "t_m": 4},
        {"negative_prompt": "blurry"}, {"strength": 0.4}, {"guidance_scale": 2.0},
        {"schedule": "local-leash"}, {"mask": (0, 0, 16, 32)},
    ]  # fmt: skip
    requests = [
        Request(source, TARGET, **one, guidance_every=k) for one in kinds for k in (1, 2, 3)
    ]
    together = every_editor.edits(requests)
    for request, edit in zip(requests, together, strict=True):
        assert torch.equal(edit.latent, every_editor.edits([request])[0].latent), request
    batched = every_editor.edits(requests, max_rows=16)
    for a, b in zip(batched, together, strict=True):
        assert float((a.latent - b.latent).abs().max()) <= 1e-4 * float(b.latent.abs().max())


def test_an_exact_edit_and_another_share_what_comes_before(every_editor: Editor) -> None:
    source = every_editor.generate(PROMPT, 3, N, record_direction=True)
    requests = [Request(source, TARGET, "c", 0, 0, guidance_every=k) for k in (1, 2)]
    steps = list(every_editor.steps(requests))
    assert steps[-1].total == 2 * N - 1  # the first step is exact in both


def test_a_sweep_takes_it_for_all_cells(every_editor: Editor, source: Source) -> None:
    windows = [(N - 1, 2), (N - 1, 3)]
    sweep = every_editor.sweep(source, TARGET, VARIANTS, windows, max_rows=0, guidance_every=2)
    assert sweep.cost.unet_rows < sum(one.cost.unet_rows for one in sweep.edits)
    for cell, edit in zip(sweep.cells, sweep.edits, strict=True):
        assert cell.guidance_every == 2
        assert torch.equal(edit.latent, every_editor.edits([cell])[0].latent)
    exact = every_editor.sweep(source, TARGET, VARIANTS, windows, max_rows=0)
    assert sweep.cost.unet_rows < exact.cost.unet_rows


@pytest.mark.covering(1)
@pytest.mark.parametrize("method", METHODS)
def test_an_inversion_records_what_its_rows_say(editor: Editor, method: str) -> None:
    plain, made = (
        editor.invert(picture(), PROMPT, method, N, 3.0, record_direction=flag)
        for flag in (False, True)
    )
    assert plain.path.direction is None and made.cost == plain.cost
    assert torch.equal(made.path.x, plain.path.x) and torch.equal(made.path.eps, plain.path.eps)
    assert (made.path.direction is None) == (method in UNRECORDED)
    if method not in UNRECORDED:
        assert made.path.direction is not None
        assert (made.path.direction - along(editor, made)).abs().max() <= 1e-5
    whole = editor.record_direction(made)
    assert whole.path.direction is not None
    if method in UNRECORDED:
        assert torch.equal(whole.path.direction, along(editor, made))
        extra = Cost(
            whole.cost.unet_rows - made.cost.unet_rows, whole.cost.unet_calls - made.cost.unet_calls
        )
        assert extra == (2 * N, N)[:2] + (0,)
    else:
        assert whole is made
    edit = editor.edit(whole, TARGET, guidance_every=2)
    assert edit.latent.isfinite().all()


def test_a_source_without_guidance_has_directions_only_on_demand(editor: Editor) -> None:
    plain = editor.generate(PROMPT, 3, N, 1.0, record_direction=True)
    assert plain.path.direction is None
    whole = editor.record_direction(plain)
    assert whole.cost == Cost(N + 2 * N, 2 * N)
    assert torch.equal(whole.path.direction, along(editor, plain))  # type: ignore[arg-type]


def test_recorded_noise_and_several_pictures_have_their_own(editor: Editor) -> None:
    noisy = editor.generate(PROMPT, 3, N, record_noise=True, record_direction=True)
    assert noisy.path.noise is not None and noisy.path.direction is not None
    assert (noisy.path.direction - along(editor, noisy)).abs().max() <= 1e-5
    pictures, prompts = [picture(), picture().rotate(90)], [PROMPT, "a boat"]
    for one in editor.inverts(pictures, prompts, "direct", N, record_direction=True):
        assert one.path.direction is not None and one.path.direction.shape == one.path.eps.shape
        assert (one.path.direction - along(editor, one)).abs().max() <= 1e-4


def test_without_directions_the_edit_keeps_its_own_and_says_so(
    editor: Editor, caplog: pytest.LogCaptureFixture
) -> None:
    warn_once.cache_clear()
    whole = editor.generate(PROMPT, 3, N, record_direction=True)
    bare = replace(whole, path=whole.path._replace(direction=None))
    with caplog.at_level(logging.WARNING, "mdp_lite"):
        kept, moved = (editor.edit(one, TARGET, guidance_every=2) for one in (bare, whole))
        editor.edit(bare, TARGET)  # an exact one needs none
        editor.edit(bare, TARGET, guidance_every=3)
    said = [one.message for one in caplog.records if "recorded guidance directions" in one.message]
    assert len(said) == 1 and "see record_direction" in said[0]
    exact = editor.edit(whole, TARGET)
    assert not torch.equal(kept.latent, moved.latent) and kept.cost == moved.cost
    errors = [float((one.latent - exact.latent).norm()) for one in (kept, moved)]
    assert all(errors)


def test_an_edit_towards_the_source_moves_its_direction_exactly(editor: Editor) -> None:
    """By another guidance nothing is left out; along the path directions are the source's."""
    whole = editor.generate(PROMPT, 3, N, record_direction=True)
    same = replace(whole, prompt="another text, so that its noise is not known to be its own")
    other = replace(same, origin=replace(same.origin, name="x", files=()))
    edit = editor.edits([Request(other, PROMPT, "epsilon", 0, 0, guidance_every=N)])[0]
    assert edit.cost.unet_rows in (N + 1, 0)
    assert float((edit.latent - whole.path.x[-1]).abs().max()) <= 1e-4


def test_files_hold_directions_or_not(editor: Editor, tmp_path: Path) -> None:
    """A file without them, as older versions wrote it, loads, and edits of it keep theirs."""
    for flag in (True, False):
        path = tmp_path / f"{flag}.safetensors"
        made = editor.invert(picture(), PROMPT, num_inference_steps=N, record_direction=flag)
        editor.save_source(made, path)
        again = editor.load_source(path)
        assert same_bits(made, again) and (again.path.direction is not None) == flag
        a, b = (editor.edit(one, TARGET, guidance_every=2).latent for one in (made, again))
        assert torch.equal(a, b)
    old = editor.load_source(tmp_path / "False.safetensors")
    new = editor.record_direction(old)
    assert new.cost.unet_rows == old.cost.unet_rows + 2 * N
    kept = editor.load_source(tmp_path / "True.safetensors").path.direction
    assert kept is not None and new.path.direction is not None
    assert (new.path.direction - kept).abs().max() <= 1e-5


def test_the_cache_tells_them_apart(editor: Editor, tmp_path: Path) -> None:
    cached = Editor(editor.models, editor.device, cache=tmp_path / "cache")
    for flag, rows in ((False, 2 * N), (True, 2 * N), (False, 0), (True, 0)):
        for make in (
            lambda: cached.generate(PROMPT, 5, N, record_direction=flag),  # noqa: B023
            lambda: cached.invert(picture(), PROMPT, num_inference_steps=N, record_direction=flag),  # noqa: B023
        ):
            source = make()
            assert source.cost.unet_rows == rows
            assert (source.path.direction is not None) == flag


@pytest.mark.parametrize("variant", VARIANTS)
def test_once_is_a_source_and_its_edit(editor: Editor, variant: str) -> None:
    how: dict[str, Any] = {"t_max": N - 1, "t_m": 3, "schedule": "constant", "guidance_every": 2}
    source = editor.generate(PROMPT, 3, N, record_direction=True)
    edit = editor.edit(source, TARGET, variant, **how)
    made = once(editor, PROMPT, TARGET, 3, variant, N, **how)
    assert torch.equal(made.latent, edit.latent) and made.plan == edit.plan
    last = max(one.stop for one in made.plan.segments if one.reuses)
    assert made.cost.unet_rows == edit.cost.unet_rows + 2 * last


def test_recorded_graphs_leave_such_steps_to_calls(editor: Editor) -> None:
    recording = recording_editor(editor)
    source = editor.generate(PROMPT, 3, N, record_direction=True)
    for variant in VARIANTS:
        request = Request(source, TARGET, variant, N - 1, 3, weight=0.5, guidance_every=2)
        for _ in range(2):
            a, b = (one.edits([request])[0].latent for one in (editor, recording))
            assert float((a - b).abs().max()) <= 2e-5 * float(a.abs().max())


@pytest.mark.parametrize("value", [0, -1, 1.5, 2.0, "2", None, True])
def test_it_is_a_whole_number_above_0(editor: Editor, value: Any) -> None:
    source = editor.generate(PROMPT, 3, 2)
    want = "^guidance_every must be (1 or more|a whole number), got " + re.escape(str(value)[:3])
    with pytest.raises(BadInput, match=want.replace("got ", "got '?")):
        editor.edit(source, TARGET, guidance_every=value)
    with pytest.raises(BadInput, match="guidance_every must be"):
        once(editor, PROMPT, TARGET, 3, None, 2, guidance_every=value)
    with pytest.raises(BadInput, match="guidance_every must be"):
        editor.sweep(source, TARGET, guidance_every=value)


@pytest.mark.parametrize("value", ["yes", None, 2])
def test_the_flag_is_yes_or_no(editor: Editor, value: Any) -> None:
    with pytest.raises(BadInput, match="record_direction must be True or False"):
        editor.generate(PROMPT, 5, 2, record_direction=value)
    with pytest.raises(BadInput, match="record_direction must be True or False"):
        editor.invert(picture(), PROMPT, num_inference_steps=2, record_direction=value)


def test_a_source_says_that_it_has_them(editor: Editor) -> None:
    for flag in (True, False):
        made = describe_source("m", editor.generate(PROMPT, 3, 2, record_direction=flag))
        assert ("record_direction" in made) == flag and json.dumps(made)

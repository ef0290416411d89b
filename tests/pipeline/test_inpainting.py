"""Inpainting UNets: what they read beside the latent, on which path, and what follows from it."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mdp_lite.batcher.client import client_editor, run_batcher
from mdp_lite.editor import Editor
from mdp_lite.method.mdp import add_channels
from mdp_lite.method.plan import call_steps
from mdp_lite.names import BadInput
from mdp_lite.pictures import images
from mdp_lite.pipeline import inpainting
from mdp_lite.pipeline.inversion_methods import METHODS, Inversion
from mdp_lite.pipeline.once import once
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.result import Source
from mdp_lite.pipeline.warm_up import warm_up
from mdp_lite.serve.service import prepare_models
from support.inpainting import draw_mask, draw_picture
from support.inverting import double
from support.recording import recording_editor
from support.source_cases import same_bits

SIDE, N, FACTOR = 32, 5, 4
BOX = (8, 4, 24, 20)
PROMPT, TARGET = "a red house", "a blue boat"


@pytest.fixture(scope="module")
def editor(checkpoint_inpaint: Path) -> Editor:
    return Editor.from_pretrained(checkpoint_inpaint, device="cpu")


@pytest.fixture(scope="module")
def source(editor: Editor) -> Source:
    """Recorded under the mask of BOX."""
    return editor.invert(draw_picture(SIDE, SIDE), PROMPT, num_inference_steps=N, mask=BOX)


@pytest.fixture(scope="module")
def whole(editor: Editor) -> Source:
    """The same picture, recorded without a mask."""
    return editor.invert(draw_picture(SIDE, SIDE), PROMPT, num_inference_steps=N)


class WatchedUNet(nn.Module):
    """A UNet that remembers what it read beside the latent."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet, self.config = unet, unet.config
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        self.seen += list(x[:, 4:])
        return self.unet(x, t, c)


def watch_channels(editor: Editor) -> tuple[Editor, list[Tensor]]:
    unet = WatchedUNet(editor.models.unet)
    return Editor(replace(editor.models, unet=unet), editor.device), unet.seen


def expected_channels(editor: Editor, picture: Image.Image, box: tuple[int, ...]) -> Tensor:
    """Written out: 1 in the cells of the box, then the latent of the picture with a grey box."""
    x0, y0, x1, y1 = box
    mask = torch.zeros(1, 1, SIDE // FACTOR, SIDE // FACTOR, dtype=torch.float64)
    mask[..., y0 // FACTOR : y1 // FACTOR, x0 // FACTOR : x1 // FACTOR] = 1
    pixels = images.to_tensor(picture)
    pixels[..., y0:y1, x0:x1] = 0
    with torch.no_grad():
        return torch.cat([mask, editor.models.vae.encode(pixels).double()], 1)


# what is read, and where


def test_both_paths_read_the_same_channels(editor: Editor) -> None:
    """In every row of every call: of the inversion, of the edit, of MDP-beta's third row."""
    watched, seen = watch_channels(editor)
    picture = draw_picture(SIDE, SIDE)
    one = watched.invert(picture, PROMPT, num_inference_steps=N, mask=BOX)
    rows = len(seen)
    watched.edit(one, TARGET, "beta", t_max=N, t_m=3, guidance_scale=3.0)
    assert rows == 2 * N and len(seen) > rows
    want = expected_channels(editor, picture, BOX)
    assert all(torch.equal(each, want[0].float()) for each in seen)
    assert one.path.channels is not None and torch.equal(one.path.channels, want)


def test_without_a_mask_all_is_repainted_and_that_is_said(
    editor: Editor, whole: Source, caplog: pytest.LogCaptureFixture
) -> None:
    """A mask of ones and a grey picture; the sentence comes once and names the option."""
    grey = editor.models.vae.encode(torch.zeros(1, 3, SIDE, SIDE)).detach()
    want = torch.cat([torch.ones_like(grey[:, :1]), grey], 1).double()
    generated = editor.generate(PROMPT, 1, N)
    assert all(torch.equal(want, one.path.channels) for one in (whole, generated))
    inpainting._warn.cache_clear()
    with caplog.at_level(logging.WARNING, "mdp_lite"):
        editor.edit(whole, TARGET, mask=BOX)
        assert not caplog.records
        for _ in range(2):
            editor.edit(whole, TARGET)
    assert [one.message for one in caplog.records] == [inpainting.WHOLE]
    assert "--mask" in inpainting.WHOLE


def test_an_edit_may_have_another_mask_than_its_source(editor: Editor, whole: Source) -> None:
    watched, seen = watch_channels(editor)
    edit = watched.edit(whole, TARGET, mask=BOX)
    want = expected_channels(editor, whole.picture, BOX)[0].float()
    assert seen and all(torch.equal(each, want) for each in seen)
    assert edit.mask is not None


def test_a_sources_mask_is_that_of_its_edits(editor: Editor, source: Source) -> None:
    own, given = editor.edit(source, TARGET), editor.edit(source, TARGET, mask=BOX)
    assert torch.equal(own.latent, given.latent)
    assert own.picture.tobytes() == given.picture.tobytes()


def test_a_mask_too_thin_for_a_cell_covers_the_cells_that_it_touches(editor: Editor) -> None:
    line = (1, 1, 3, 30)  # no cell begins in it
    one = editor.invert(draw_picture(SIDE, SIDE), PROMPT, "replay", N, mask=line)
    assert one.path.channels is not None
    columns = one.path.channels[0, 0].any(0)
    assert columns.tolist() == [True] + [False] * 7


# what it promises


@pytest.mark.parametrize("fit", ["crop", "pad", "own"])
@pytest.mark.parametrize("variant", ["epsilon", "c", "x", "beta"])
def test_outside_the_mask_are_the_pictures_own_pixels(
    editor: Editor, variant: str, fit: str
) -> None:
    picture, mask = draw_picture(44, 36), draw_mask(44, 36)
    one = editor.invert(picture, PROMPT, num_inference_steps=N, fit=fit, mask=mask)
    edit = editor.edit(one, TARGET, variant)
    assert edit.mask is not None
    black = np.asarray(edit.mask) == 0
    assert black.any() and not black.all()
    assert (np.asarray(edit.picture)[black] == np.asarray(picture)[black]).all()
    assert (np.asarray(edit.picture)[~black] != np.asarray(picture)[~black]).any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mask", [None, BOX])
def test_every_inversion_records_a_path_with_its_channels(
    editor: Editor, method: str, mask: tuple[int, int, int, int] | None
) -> None:
    how = Inversion(method, inner_steps=2) if method == "null-text" else method
    one = editor.invert(draw_picture(SIDE, SIDE), PROMPT, how, N, 3.0, mask=mask)
    assert one.path.channels is not None and one.path.channels.shape == (1, 5, 8, 8)
    assert bool(one.path.channels[0, 0].all()) == (mask is None)
    edit = editor.edit(one, TARGET, guidance_scale=3.0)
    assert edit.latent.isfinite().all()


@pytest.mark.parametrize("mask", [None, BOX])
def test_recorded_noise_leads_to_the_picture_again(
    editor: Editor, mask: tuple[int, int, int, int] | None
) -> None:
    """Edit-friendly: the noise maps take up whatever the channels make the model predict."""
    exact, picture = double(editor), draw_picture(SIDE, SIDE)
    one = exact.invert(picture, PROMPT, "edit-friendly", N, mask=mask)
    ones, zeros = torch.ones(N).double(), torch.zeros(N).double()
    weights = type(exact.edit(one, PROMPT).weights)(zeros, ones, zeros, zeros)
    edit = exact.edit(one, TARGET, weights=weights)
    assert (edit.latent - exact.runner.encode(picture)).abs().max() <= 1e-5


def test_the_sources_own_prompt_changes_nothing(editor: Editor, source: Source) -> None:
    """The model is asked what the source's recording was asked: so its answer is the same."""
    exact = double(editor)
    one = exact.invert(source.picture, PROMPT, "edit-friendly", N, 3.0, mask=BOX)
    edit = exact.edit(one, PROMPT, guidance_scale=3.0, t_max=0, t_m=0)
    assert (edit.latent - one.path.x[-1]).abs().max() <= 1e-8


def test_a_plan_reads_the_recorded_noise_only_under_equal_channels(
    editor: Editor, source: Source, whole: Source
) -> None:
    """The source's own prompt needs no UNet call where the model was asked just that."""
    for one, mask, free in ((source, None, True), (whole, None, True), (whole, BOX, False)):
        request = Request(one, PROMPT, t_max=0, t_m=0, guidance_scale=3.5, mask=mask)
        assert (not call_steps(editor.plan(request))) == free


def test_null_text_reads_the_channels(editor: Editor) -> None:
    """The tuned path is what guided sampling with its null rows gives, from the same channels."""
    exact = double(editor)
    how = Inversion("null-text", inner_steps=3)
    one = exact.invert(draw_picture(SIDE, SIDE), PROMPT, how, N, 3.0, mask=BOX)
    assert one.path.null is not None
    c, unet = exact.runner.condition(PROMPT), exact.models.unet
    for i in range(N):
        t, a, b = one.grid.select_step(i)
        x = add_channels(one.path.x[i], one.path.channels)
        with torch.no_grad():
            e, e_null = unet(x, t, c), unet(x, t, one.path.null[i].double())
        eps = e_null + 3.0 * (e - e_null)
        x0 = (one.path.x[i] - (1 - a).sqrt() * eps) / a.sqrt()
        want = b.sqrt() * x0 + (1 - b).sqrt() * eps
        assert (one.path.x[i + 1] - want).abs().max() <= 1e-5


def test_an_automatic_mask_becomes_the_edits_channels(editor: Editor, whole: Source) -> None:
    watched, seen = watch_channels(editor)
    edit = watched.edit(whole, TARGET, mask="auto")
    assert edit.mask is not None and whole.path.channels is not None
    first, last = seen[0], seen[-1]
    assert torch.equal(first, whole.path.channels[0].float())  # while it was sought
    assert not torch.equal(last, first) or np.asarray(edit.mask).all()


# several at once


def test_pictures_together_are_as_alone(editor: Editor) -> None:
    pictures, masks = [draw_picture(SIDE, SIDE, seed) for seed in (0, 1)], [BOX, None]
    exact = double(editor)
    together = exact.inverts(pictures, [PROMPT, ""], num_inference_steps=N, masks=masks)
    for one, picture, prompt, mask in zip(together, pictures, [PROMPT, ""], masks, strict=True):
        alone = exact.invert(picture, prompt, num_inference_steps=N, mask=mask)
        assert torch.equal(one.path.channels, alone.path.channels)  # type: ignore[arg-type]
        assert (one.path.x - alone.path.x).abs().max() <= 1e-8


@pytest.mark.parametrize("max_rows", [0, 8])
def test_the_batcher_stacks_them(editor: Editor, whole: Source, max_rows: int) -> None:
    """Edits with other masks share calls; alone each has the same picture."""
    boxes = [BOX, (0, 0, 16, 16), None]
    alone = [editor.edit(whole, TARGET, mask=box) for box in boxes]
    with run_batcher(editor, max_rows) as batcher, batcher.client() as client:
        own = client_editor(editor, batcher, client)
        made = own.edits([Request(whole, TARGET, mask=box) for box in boxes], max_rows)
    for one, other in zip(made, alone, strict=True):
        assert (one.latent - other.latent).abs().max() <= (1e-4 if max_rows else 0)


def test_edits_of_one_prompt_under_two_masks_share_no_step(editor: Editor, whole: Source) -> None:
    edits = editor.edits([Request(whole, TARGET, mask=box) for box in (BOX, (0, 0, 16, 16))])
    assert not torch.equal(edits[0].latent, edits[1].latent)


def test_equal_masks_are_encoded_once(editor: Editor, whole: Source) -> None:
    """So edits of one prompt under one mask share their steps; two masks are two guidances."""
    masks = [BOX, BOX, (0, 0, 16, 16)]
    first, again, other = editor.tasks([Request(whole, TARGET, mask=box) for box in masks])
    assert first.guidance is again.guidance and first.guidance is not other.guidance


def test_a_recorded_step_reads_the_channels_of_its_edit(editor: Editor, whole: Source) -> None:
    """One graph serves both masks: its channels are copied in with the tables of the edit."""
    recording = recording_editor(editor)
    for box in (BOX, (0, 0, 16, 16), None):
        a, b = (one.edit(whole, TARGET, "x", mask=box).latent for one in (editor, recording))
        assert (a - b).abs().max() <= 1e-4
    recorder = recording.runner.engine.recorder
    assert recorder is not None and recorder.count


def test_once_is_a_source_and_its_edit(editor: Editor) -> None:
    source = editor.generate(PROMPT, 2, N)
    latent = once(editor, PROMPT, TARGET, 2, num_inference_steps=N).latent
    assert torch.equal(latent, editor.edit(source, TARGET).latent)


def test_rows_that_warm_up_have_the_channels(editor: Editor) -> None:
    warm_up(editor, rows=[1, 2], num_inference_steps=2)
    prepare_models(editor, 2)


# stored


def test_a_source_is_saved_with_its_channels_and_its_mask(
    editor: Editor, source: Source, tmp_path: Path
) -> None:
    file = tmp_path / "one.safetensors"
    editor.save_source(source, file)
    found = editor.load_source(file)
    assert same_bits(found, source) and found.mask is not None
    assert (
        editor.edit(found, TARGET).picture.tobytes()
        == editor.edit(source, TARGET).picture.tobytes()
    )


@pytest.fixture
def caching(checkpoint_inpaint: Path, tmp_path: Path) -> Iterator[Editor]:
    yield Editor.from_pretrained(checkpoint_inpaint, device="cpu", cache=tmp_path / "cache")


def test_another_mask_is_another_source_in_the_cache(caching: Editor) -> None:
    rows = []
    for mask in (None, BOX, BOX, (0, 0, 16, 16), None):
        one = caching.invert(draw_picture(SIDE, SIDE), PROMPT, num_inference_steps=N, mask=mask)
        rows.append(one.cost.unet_rows)
        assert (one.mask is None) == (mask is None)
    assert [bool(n) for n in rows] == [True, True, False, True, False]


# refused


def test_a_source_of_a_model_that_reads_no_mask_is_refused(
    editor: Editor, checkpoint: Path, source: Source
) -> None:
    plain = Editor.from_pretrained(checkpoint, device="cpu")
    other = plain.generate(PROMPT, num_inference_steps=N)
    with pytest.raises(BadInput, match="^source must be of a model that reads a mask, got one wi"):
        editor.edit(other, TARGET)
    with pytest.raises(BadInput, match="^source must be of a model that reads no mask, got one w"):
        plain.edit(source, TARGET)


def test_masks_of_an_inversion_are_checked(editor: Editor) -> None:
    picture = draw_picture(SIDE, SIDE)
    with pytest.raises(BadInput, match="^mask auto is for an edit: an inversion has no second"):
        editor.invert(picture, mask="auto")
    with pytest.raises(BadInput, match="^a box must have 0 <= x0 < x1 <= 32"):
        editor.invert(picture, mask=(0, 0, 33, 8))
    with pytest.raises(BadInput, match="^masks must be as many as the images"):
        editor.inverts([picture], [""], masks=[BOX, BOX])

"""Inpainting UNets: what they read beside the latent, on which path, and what follows from it."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mdp_lite.editor import Editor
from mdp_lite.method.mdp import add_channels
from mdp_lite.method.plan import call_steps
from mdp_lite.pictures import images
from mdp_lite.pipeline import inpainting
from mdp_lite.pipeline.inversion_methods import METHODS, Inversion
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.result import Source
from support.inpainted import BOX, FACTOR, PROMPT, SIDE, TARGET, N, editor, source, whole
from support.inpainting import draw_mask, draw_picture
from support.inverting import double

__all__ = ["editor", "source", "whole"]  # fixtures


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
    return torch.cat([mask, encode(editor, pixels)], 1)


def encode(editor: Editor, pixels: Tensor) -> Tensor:
    """The latent (1, 4, y, x) of a picture (1, 3, f y, f x), by the VAE as editors run it."""
    with torch.no_grad():
        return editor.runner.vae.run("encode", pixels, "the picture").double()


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
    grey = encode(editor, torch.zeros(1, 3, SIDE, SIDE))
    want = torch.cat([torch.ones_like(grey[:, :1]), grey], 1)
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


@pytest.mark.covering(1)
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


@pytest.mark.covering(1)
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
        t, a, b, *_ = one.grid.select_step(i)
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

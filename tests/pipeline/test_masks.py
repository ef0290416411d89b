"""Masks: the edit happens inside, and outside every pixel and every latent cell is the source's."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from mdp_lite.editor import Edit, Editor, Source
from mdp_lite.models.unet import UNet
from mdp_lite.names import FITS, VARIANTS
from mdp_lite.pictures.fit import Fit, Size, plan_fit
from mdp_lite.pipeline.masks import MASK_STEPS, from_cells, paste, read_mask, to_cells
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.result import Cost

FACTOR = 4
TARGET = "a blue boat"
SIZES = [(37, 211), (211, 37), (65, 63), (640, 480), (1024, 768)]


@pytest.fixture(scope="module")
def editor(every_editor: Editor) -> Editor:
    """All of this file is for each kind of model."""
    return every_editor


def noise(size: Size) -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def spot(size: Size) -> Image.Image:
    """A mask with a small ellipse near the middle."""
    (w, h), (down, across) = size, np.ogrid[: size[1], : size[0]]
    inside = ((across - w / 2) / (w / 5)) ** 2 + ((down - h / 2.2) / (h / 6)) ** 2 < 1
    return Image.fromarray((255 * inside).astype(np.uint8))


def fit_of(mode: str, size: Size, target: Size = (40, 32)) -> Fit:
    own = (-(-size[0] // FACTOR) * FACTOR, -(-size[1] // FACTOR) * FACTOR)
    return plan_fit(mode, size, own if mode == "own" else target)


def outside(edit: Edit, picture: Image.Image) -> np.ndarray:
    """Which of the pixels outside the edit's mask differ from a picture's."""
    assert edit.mask is not None
    differ = (np.asarray(edit.picture) != np.asarray(picture)).any(2)
    return differ & (np.asarray(edit.mask) == 0)


@pytest.fixture(scope="module")
def source(editor: Editor) -> Source:
    return editor.invert(noise((48, 40)), "a red house")


# from pixels to cells and back


@settings(max_examples=60, deadline=None)
@given(
    fit=st.sampled_from(FITS),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    data=st.data(),
)
def test_a_cell_counts_when_one_pixel_of_it_is_marked(fit: str, size: Size, data: Any) -> None:
    one = fit_of(fit, size)
    at = data.draw(st.integers(0, size[0] - 1)), data.draw(st.integers(0, size[1] - 1))
    pixels = Image.new("L", size)
    pixels.putpixel(at, 200)
    cells = to_cells(pixels, one, FACTOR)
    want = torch.zeros(one.target_size[1] // FACTOR, one.target_size[0] // FACTOR, dtype=torch.bool)
    source, target = one.source_box, one.target_box
    edges = []  # of the marked pixel, in the model's pixels
    for axis in (0, 1):
        start, target_start = source[axis], target[axis]
        scale = (target[axis + 2] - target_start) / (source[axis + 2] - start)
        ends = (at[axis] - start, at[axis] + 1 - start)
        edges.append([target_start + scale * end for end in ends])
    visible = all(source[k] <= at[k] < source[k + 2] for k in (0, 1))
    for y, x in np.ndindex(*want.shape) if visible else ():
        near = [
            edges[k][0] < FACTOR * (cell + 1) - 1e-9 and edges[k][1] > FACTOR * cell + 1e-9
            for k, cell in enumerate((x, y))
        ]
        want[y, x] = all(near)
    assert torch.equal(cells > 0, want)
    assert set(cells.unique().tolist()) <= {0, 200 / 255}


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(40, 32), (80, 64), (20, 16)])
def test_cells_shown_as_pixels_are_the_same_cells(fit: str, size: Size) -> None:
    one = fit_of(fit, size)
    shape = (one.target_size[1] // FACTOR, one.target_size[0] // FACTOR)
    cells = (torch.rand(shape, generator=torch.manual_seed(0)) > 0.6).double()
    assert torch.equal(to_cells(from_cells(cells, one, FACTOR).pixels, one, FACTOR), cells)


def test_a_grey_mask_is_a_share() -> None:
    mask = read_mask(Image.new("L", (40, 32), 51), fit_of("own", (40, 32)), FACTOR)
    assert torch.equal(mask.cells, torch.full((8, 10), 0.2, dtype=torch.float64))


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "RGBA", "LA", "I;16", "CMYK"])
def test_masks_of_every_mode_are_read(mode: str) -> None:
    mask = spot((40, 32))
    deep = Image.fromarray(np.asarray(mask).astype(np.uint16) * 257)
    given = deep if mode == "I;16" else mask.convert("RGB").convert(mode)
    found = read_mask(given, fit_of("own", (40, 32)), FACTOR)
    assert (np.asarray(found.pixels) > 127).tobytes() == (np.asarray(mask) > 127).tobytes()


def test_a_box_is_its_pixels() -> None:
    found = read_mask((4, 8, 12, 9), fit_of("own", (40, 32)), FACTOR)
    assert found.pixels.getbbox() == (4, 8, 12, 9)
    want = torch.zeros(8, 10, dtype=torch.float64)
    want[2, 1:3] = 1
    assert torch.equal(found.cells, want)


# pixels outside


@pytest.mark.covering(1)
@pytest.mark.parametrize("fit", ["crop", "pad", "resize"])
@pytest.mark.parametrize("size", SIZES)
def test_pixels_outside_are_the_pictures_bit_for_bit(
    editor: Editor, fit: str, size: Size, tmp_path: Any
) -> None:
    noise(size).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        source = editor.invert(picture, num_inference_steps=2, width=32, height=24, fit=fit)
    box = (size[0] // 3, size[1] // 3, size[0] // 2, size[1] // 2)
    for mask in (spot(size), box):
        edit = editor.edit(source, TARGET, strength=1, mask=mask)
        assert edit.picture.size == size
        assert not outside(edit, noise(size)).any()
        assert edit.picture.tobytes() != noise(size).tobytes()


@pytest.mark.parametrize("size", [(37, 211), (211, 130)])
def test_pixels_outside_at_the_pictures_own_size(editor: Editor, size: Size) -> None:
    source = editor.invert(noise(size), num_inference_steps=2, fit="own")
    edit = editor.edit(source, TARGET, strength=1, mask=spot(size), feather=3)
    assert not outside(edit, noise(size)).any()


@pytest.mark.slow
def test_pixels_outside_of_a_large_picture_at_its_own_size(editor: Editor) -> None:
    size = (1024, 768)
    source = editor.invert(noise(size), num_inference_steps=1, fit="own")
    edit = editor.edit(source, TARGET, strength=1, mask=spot(size))
    assert not outside(edit, noise(size)).any()
    assert edit.picture.tobytes() != noise(size).tobytes()


def test_without_paste_the_vae_has_touched_all(editor: Editor, source: Source) -> None:
    edit = editor.edit(source, TARGET, strength=1, mask=spot((48, 40)), paste=False)
    assert outside(edit, source.picture).mean() > 0.5
    assert edit.picture.tobytes() == source.fit.undo(edit.image, source.picture).tobytes()


def test_feather_fades_inside_the_edge_and_never_outside() -> None:
    black, white = Image.new("RGB", (60, 60)), Image.new("RGB", (60, 60), "white")
    box = read_mask((10, 10, 50, 50), fit_of("own", (60, 60)), FACTOR).pixels
    hard = np.asarray(paste(white, black, box, 0))[:, :, 0]
    soft = np.asarray(paste(white, black, box, 5))[:, :, 0]
    assert hard.tobytes() == box.tobytes()
    assert (soft[hard == 0] == 0).all() and soft[30, 30] == 255
    line = soft[30, 10:16].astype(int)
    assert (np.diff(line) > 0).all() and line[0] < 64


def test_a_soft_edge_fades_without_a_seam() -> None:
    black, white = Image.new("RGB", (60, 60)), Image.new("RGB", (60, 60), "white")
    ramp = Image.fromarray(np.linspace(0, 255, 60).astype(np.uint8)[None].repeat(60, 0))
    pixels = read_mask(ramp, fit_of("own", (60, 60)), FACTOR).pixels
    result = np.asarray(paste(white, black, pixels, 0))[:, :, 0]
    assert result.tobytes() == pixels.tobytes()
    between = (result > 0) & (result < 255)
    assert between.mean() > 0.85 and (result == np.asarray(ramp))[between].all()
    feathered = np.asarray(paste(white, black, pixels, 3))[:, :, 0]
    assert (feathered <= result).all()


# cells outside


@pytest.mark.covering(1)
@pytest.mark.parametrize("case", ["replay", "ddim", "generate"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_cells_outside_are_the_sources_bit_for_bit(editor: Editor, variant: str, case: str) -> None:
    if case == "generate":
        source = editor.generate("a red house", seed=3)
    else:
        source = editor.invert(noise((32, 32)), "a red house", case)
    edit = editor.edit(source, TARGET, variant, strength=0.8, mask=(8, 8, 20, 16))
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[2:4, 2:5] = True
    assert torch.equal(edit.latent[..., ~inside], source.path.x[-1][..., ~inside])
    assert (edit.latent - source.path.x[-1])[..., inside].abs().min() > 0


def test_a_mask_of_everything_is_no_mask(editor: Editor, source: Source) -> None:
    plain = editor.edit(source, TARGET)
    everywhere = editor.edit(source, TARGET, mask=torch.ones(8, 8))
    assert torch.equal(plain.latent, everywhere.latent) and plain.cost == everywhere.cost
    assert everywhere.mask is not None


def test_a_mask_costs_nothing(editor: Editor, source: Source) -> None:
    assert editor.edit(source, TARGET, mask=(1, 1, 20, 20)).cost == editor.edit(source, TARGET).cost


# the automatic mask


def test_an_automatic_mask_shows_itself_and_what_it_costs(
    editor: Editor, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    forward = UNet.predict

    def counting(self: UNet, x: Tensor, t: Tensor, c: Tensor, *attend: Any) -> Tensor:
        rows.append(len(x))
        return forward(self, x, t, c, *attend)

    monkeypatch.setattr(UNet, "predict", counting)
    edit = editor.edit(source, TARGET, mask="auto")
    assert edit.cost == Cost(sum(rows), len(rows))
    plain = editor.edit(source, TARGET)
    assert edit.cost.unet_rows - plain.cost.unet_rows == 2 * MASK_STEPS
    assert edit.mask is not None and edit.mask.size == (48, 40)
    assert 0 < np.asarray(edit.mask).mean() < 255
    assert not outside(edit, source.picture).any()


def test_an_automatic_mask_leaves_padding_out(editor: Editor) -> None:
    source = editor.invert(noise((60, 16)), "a red house", fit="pad", num_inference_steps=4)
    assert source.fit.target_box == (0, 11, 32, 20)
    edit = editor.edit(source, TARGET, strength=1, mask="auto")
    shown = torch.zeros(8, 8, dtype=torch.bool)
    shown[2:5] = True
    same = edit.latent == source.path.x[-1]
    assert same[..., ~shown].all() and not same[..., shown].all()
    assert edit.mask is not None and edit.mask.getbbox()


def test_an_automatic_mask_of_equal_prompts_is_everything(editor: Editor, source: Source) -> None:
    edit = editor.edit(source, source.prompt, mask="auto")
    one = source.fit
    assert edit.mask is not None and edit.mask.crop(one.source_box).getextrema() == (255, 255)


def test_masked_edits_together_are_those_alone(editor: Editor, source: Source) -> None:
    requests = [Request(source, TARGET, mask=where) for where in ("auto", (4, 4, 30, 30), None)]
    together = editor.edits(requests)
    for request, edit in zip(requests, together, strict=True):
        alone = editor.edit(source, TARGET, mask=request.mask)  # type: ignore[arg-type]
        assert edit.picture.tobytes() == alone.picture.tobytes() and edit.cost == alone.cost

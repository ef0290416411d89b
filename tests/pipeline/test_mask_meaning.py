"""What a mask picture means: by its values, whatever its mode, and noise means nothing.

The kind: masks that people have. A browser's canvas (opaque RGBA), a picture with a hole (OpenAI's
way), files of every mode with and without a transparent colour, and black or white with noise: of
JPEG, of an editor that saves black as 1, of a resize. Each says where to edit by transparency if it
has any, else by white.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mdp_lite.editor import Editor, Source
from mdp_lite.pictures.fit import Fit, plan_fit
from mdp_lite.pipeline.masks import BLACK, marks_by_transparency, read_mask
from support.mask_pictures import (
    SIZE,
    H,
    Region,
    W,
    deep,
    ellipse,
    grey,
    levels,
    opaque,
    profiled,
    random_rgb,
    through_file,
    with_alpha,
)

BY_WHITE: dict[str, Callable[[], Any]] = {
    "1": lambda: grey().convert("1"),
    "L": grey,
    "P": lambda: grey().convert("P"),
    "RGB": lambda: grey().convert("RGB"),
    "CMYK": lambda: grey().convert("RGB").convert("CMYK"),
    "I;16": lambda: deep(levels()),
    "I;16 of black 1": lambda: deep(levels(1, 254)),
    "a canvas: opaque RGBA": lambda: with_alpha(grey().convert("RGB"), opaque()),
    "opaque LA": lambda: with_alpha(grey(), opaque()),
    "RGBA, opaque but for noise": lambda: with_alpha(grey().convert("RGB"), grey(255, 243)),
    "a transparent color that no pixel has": lambda: through_file(grey(), transparency=77),
    "black is 1": lambda: grey(1),
    "black and white at the threshold": lambda: grey(BLACK, 255 - BLACK),
    "JPEG": lambda: through_file(grey(5, 250), "JPEG", quality=97),
    "lossy WebP": lambda: through_file(grey().convert("RGB"), "WEBP", quality=99),
    "a profile": profiled,
    "an array": levels,
    "an array of bool": ellipse,
    "an array (h, w, 3)": lambda: np.asarray(grey().convert("RGB")),
    "an opaque array (h, w, 4)": lambda: np.asarray(grey().convert("RGBA")),
}
BY_TRANSPARENCY: dict[str, Callable[[], Any]] = {
    "a picture with a hole": lambda: with_alpha(random_rgb(), grey(255, 0)),
    "a white picture with a hole": lambda: with_alpha("white", grey(255, 0)),
    "a black picture with a hole": lambda: with_alpha("black", grey(255, 0)),
    "a hole with noise": lambda: with_alpha(random_rgb(), grey(254, 3)),
    "LA": lambda: with_alpha(90, grey(255, 0), "LA"),
    "L with a transparent level": lambda: through_file(grey(200, 9), transparency=9),
    "1 with a transparent level": lambda: through_file(grey(255, 0).convert("1"), transparency=0),
    "P with a transparent color": lambda: through_file(grey(3, 8).convert("P"), transparency=8),
    "RGB with a transparent color": lambda: through_file(
        grey(9, 8).convert("RGB"), transparency=(8, 8, 8)
    ),
    "I;16 with a transparent level": lambda: through_file(
        deep(levels(200, 100)), transparency=25700
    ),
    "lossless WebP": lambda: through_file(
        with_alpha(random_rgb(), grey(255, 0)), "WEBP", lossless=True
    ),
    "an array (h, w, 4)": lambda: np.asarray(with_alpha(random_rgb(), grey(255, 0))),
}


def own_fit(size: tuple[int, int] = SIZE) -> Fit:
    return plan_fit("own", size, size)


def where_edited(mask: Any) -> Region:
    pixels = np.asarray(read_mask(mask, own_fit(), 4).pixels)
    assert set(np.unique(pixels)) <= {0, 255}
    return pixels > 0


@pytest.mark.parametrize("name", BY_WHITE)
def test_without_transparency_white_is_edited(name: str) -> None:
    mask = BY_WHITE[name]()
    if name in ("JPEG", "lossy WebP"):  # an edge's own noise is beyond any threshold
        pixels = np.asarray(read_mask(mask, own_fit(), 4).pixels)
        assert ((pixels > 127) == ellipse()).all() and (pixels == levels()).mean() > 0.9
        return
    assert (where_edited(mask) == ellipse()).all()
    if isinstance(mask, Image.Image):
        assert not marks_by_transparency(mask)


@pytest.mark.parametrize("name", BY_TRANSPARENCY)
def test_with_transparency_the_transparent_is_edited(name: str) -> None:
    mask = BY_TRANSPARENCY[name]()
    assert (where_edited(mask) == ellipse()).all()
    if isinstance(mask, Image.Image):
        assert marks_by_transparency(mask)


@pytest.mark.parametrize("color", ["white", "black", "red"])
def test_a_wholly_transparent_mask_edits_everywhere(color: str) -> None:
    assert where_edited(with_alpha(color, Image.new("L", SIZE))).all()


def test_a_path_is_its_picture(tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    with_alpha(random_rgb(), grey(255, 0)).save(file)
    for path in (file, str(file)):
        assert (where_edited(path) == ellipse()).all()


def test_a_turned_mask_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise is to be shown
    for picture in (grey(), with_alpha(random_rgb(), grey(255, 0))):
        turned = picture.transpose(Image.Transpose.ROTATE_90)
        assert (where_edited(through_file(turned, exif=exif)) == ellipse()).all()


@pytest.mark.parametrize("by_alpha", [False, True])
def test_soft_values_stay_and_only_their_ends_are_cut(by_alpha: bool) -> None:
    ramp = np.linspace(0, 255, W).round().astype(np.uint8)[None].repeat(H, 0)
    soft = with_alpha("red", Image.fromarray(255 - ramp)) if by_alpha else Image.fromarray(ramp)
    pixels = np.asarray(read_mask(soft, own_fit(), 4).pixels)
    between = (ramp > BLACK) & (ramp < 255 - BLACK)
    assert (pixels == ramp)[between].all() and len(np.unique(pixels)) > 40
    assert (pixels[ramp <= BLACK] == 0).all() and (pixels[ramp >= 255 - BLACK] == 255).all()


def test_jpeg_noise_of_quality_75_is_almost_all_below_the_threshold() -> None:
    """The figure beside BLACK: the share of black pixels above it, over shapes of several sizes."""
    shares = []
    for k in range(12):
        region = ellipse((160 + 37 * k, 120 + 29 * k))
        mask = Image.fromarray(levels(region=region))
        noisy = np.asarray(through_file(mask, "JPEG", quality=75))
        shares.append((noisy[~region] > BLACK).mean())
        read = read_mask(Image.fromarray(noisy), own_fit(mask.size), 4)
        assert (np.asarray(read.pixels) > 0)[~region].mean() < 0.005
    assert np.mean(shares) < 0.002


# through the whole edit


@pytest.fixture(scope="module")
def sources(editor: Editor) -> dict[str, Source]:
    pictures = {size: random_rgb().resize(size) for size in ((48, 40), (32, 32), (37, 61))}
    return {
        f"{w}x{h}": editor.invert(one, "a red house", num_inference_steps=2)
        for (w, h), one in pictures.items()
    }


@st.composite
def masks(draw: st.DrawFn, size: tuple[int, int]) -> tuple[Image.Image, Region]:
    """A mask of any mode with noise, and where it edits: a box that the model sees."""
    w, h = size
    x, y = draw(st.integers(w // 4, w // 2)), draw(st.integers(h // 4, h // 2))
    region = np.zeros((h, w), np.bool_)
    region[y : y + draw(st.integers(4, h // 2)), x : x + draw(st.integers(4, w // 2))] = True
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    floor = draw(st.integers(0, BLACK))
    noise = rng.integers(0, floor + 1, (h, w), dtype=np.uint8)
    marked = np.where(region, 255 - noise, noise).astype(np.uint8)
    by_alpha = draw(st.booleans())
    if by_alpha:
        colors = Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8))
        mode = draw(st.sampled_from(("RGBA", "LA")))
        return with_alpha(colors.convert(mode[:-1]), Image.fromarray(255 - marked)), region
    mode = draw(st.sampled_from(("1", "L", "P", "RGB", "RGBA", "LA", "I;16")))
    if mode == "I;16":
        return deep(marked), region
    if mode == "1":
        return Image.fromarray(region), region
    return Image.fromarray(marked).convert("RGB").convert("L" if mode == "P" else mode), region


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(["48x40", "32x32", "37x61"]), data=st.data())
def test_outside_is_the_input_bit_for_bit_and_inside_changes(
    editor: Editor, sources: dict[str, Source], name: str, data: st.DataObject
) -> None:
    source = sources[name]
    mask, region = data.draw(masks(source.picture.size))
    edit = editor.edit(source, "a blue boat", strength=1, mask=mask)
    assert edit.mask is not None and ((np.asarray(edit.mask) > 0) == region).all()
    differ = (np.asarray(edit.picture) != np.asarray(source.picture)).any(2)
    assert not differ[~region].any()
    assert differ[region].any()

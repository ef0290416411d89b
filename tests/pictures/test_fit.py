"""Pictures of any size fitted to the model and put back, bit for bit unless pixels are resized."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from mdp_lite.cli.application import read_command_line
from mdp_lite.cli.commands.invert import InvertOptions
from mdp_lite.editor import Editor
from mdp_lite.names import FITS
from mdp_lite.pictures import images
from mdp_lite.pictures.fit import Fit, Size, plan_fit

SIZES = [(37, 211), (211, 37), (64, 64), (65, 63), (512, 512), (333, 500), (1024, 768)]


def noise(size: Size) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def slope(size: Size) -> Image.Image:
    """A smooth picture, so that resizing it there and back loses next to nothing."""
    across, down = (np.linspace(40, 215, side) for side in size)
    grey = (across[None] + down[:, None]) / 2
    return Image.fromarray(np.stack([grey, grey[::-1], 255 - grey], 2).round().astype(np.uint8))


def choose_fit(mode: str, size: Size, target: Size = (64, 48)) -> Fit:
    """The fit that the editor would choose, at a factor of 8."""
    own = tuple(-(-side // 8) * 8 for side in size)
    return plan_fit(mode, size, (own[0], own[1]) if mode == "own" else target)


def worst(a: Image.Image, b: Image.Image) -> int:
    return int(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max())


SIDES = st.integers(1, 300)


@settings(max_examples=200, deadline=None)
@given(
    fit=st.sampled_from(FITS),
    size=st.tuples(SIDES, SIDES),
    cells=st.tuples(*[st.integers(1, 40)] * 2),
)
def test_every_size_is_fitted_and_put_back(fit: str, size: Size, cells: Size) -> None:
    one = choose_fit(fit, size, (8 * cells[0], 8 * cells[1]))
    picture = noise(size)
    fitted = one.apply(picture)
    assert fitted.size == one.target_size and one.target_size[0] % 8 == one.target_size[1] % 8 == 0
    back = one.undo(fitted, picture)
    assert (back.size, back.mode) == (size, "RGB")
    left, top, right, bottom = one.source_box
    assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
    assert 0 <= one.target_box[0] < one.target_box[2] <= one.target_size[0]
    assert 0 <= one.target_box[1] < one.target_box[3] <= one.target_size[1]
    differ = np.asarray(back) != np.asarray(picture)
    differ[top:bottom, left:right] = False
    assert not differ.any()  # outside the part that the model saw
    if "resized" not in one.describe():
        assert back.tobytes() == picture.tobytes()


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", SIZES)
def test_a_smooth_picture_comes_back(fit: str, size: Size) -> None:
    one, picture = choose_fit(fit, size, (256, 256)), slope(size)
    assert worst(one.undo(one.apply(picture), picture), picture) <= 3


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", SIZES)
def test_a_picture_is_changed_only_where_the_model_changed_its_own(fit: str, size: Size) -> None:
    one = choose_fit(fit, size)
    back = np.asarray(one.undo(Image.new("RGB", one.target_size, "red"), Image.new("RGB", size)))
    left, top, right, bottom = one.source_box
    assert (back[top:bottom, left:right] == (255, 0, 0)).all()
    assert (back == (255, 0, 0)).all(2).sum() == (right - left) * (bottom - top)


@pytest.mark.parametrize("fit", FITS)
def test_a_picture_of_the_size_keeps_its_pixels(fit: str) -> None:
    one, picture = plan_fit(fit, (48, 32), (48, 32)), noise((48, 32))
    assert one.apply(picture).tobytes() == picture.tobytes()
    assert one.describe() == ""


@pytest.mark.parametrize(
    ("size", "target"), [((96, 32), (32, 32)), ((128, 64), (64, 32)), ((48, 40), (32, 32))]
)
def test_crop_is_that_of_pillow(size: Size, target: Size) -> None:
    want = ImageOps.fit(noise(size), target, Image.Resampling.LANCZOS)
    assert plan_fit("crop", size, target).apply(noise(size)).tobytes() == want.tobytes()


@pytest.mark.parametrize(("width", "height"), [(64, 64), (8, 200), (200, 8), (4, 4)])
@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (65, 64)])
@pytest.mark.parametrize("fit", ["crop", "pad", "resize"])
def test_thin_pictures_are_fitted(fit: str, size: Size, width: int, height: int) -> None:
    fitted = plan_fit(fit, size, (width, height)).apply(Image.new("RGB", size, "red"))
    assert (fitted.size, fitted.getcolors()) == ((width, height), [(width * height, (255, 0, 0))])


def test_pad_shows_the_whole_picture_and_repeats_its_edge() -> None:
    picture = noise((32, 16))
    one = plan_fit("pad", (32, 16), (32, 32))
    assert one.target_box == (0, 8, 32, 24)
    pixels = np.asarray(one.apply(picture))
    assert (pixels[8:24] == np.asarray(picture)).all()
    assert (pixels[:8] == pixels[8]).all() and (pixels[24:] == pixels[23]).all()


def test_resize_bends_the_whole_picture() -> None:
    picture = noise((30, 50))
    want = picture.resize((16, 16), Image.Resampling.LANCZOS)
    assert plan_fit("resize", (30, 50), (16, 16)).apply(picture).tobytes() == want.tobytes()


@pytest.mark.parametrize(
    ("mode", "size", "text"),
    [
        ("crop", (96, 48), "cropped at the centre"),
        ("crop", (300, 200), "cropped at the centre and resized"),
        ("crop", (128, 96), "resized"),
        ("pad", (96, 48), "resized and padded"),
        ("pad", (64, 20), "padded"),
        ("resize", (37, 211), "resized"),
        ("own", (37, 211), "padded"),
        ("own", (40, 208), ""),
    ],
)
def test_a_fit_describes_itself(mode: str, size: Size, text: str) -> None:
    assert choose_fit(mode, size).describe() == text


# the editor


@pytest.mark.parametrize("fit", ["crop", "pad", "resize"])
@pytest.mark.parametrize("size", [(37, 211), (300, 200), (1024, 768)])
def test_an_edit_comes_back_at_the_pictures_own_size(editor: Editor, fit: str, size: Size) -> None:
    source = editor.invert(noise(size), num_inference_steps=2, width=24, height=40, fit=fit)
    edit = editor.edit(source, "a blue boat", strength=1)
    assert (source.picture.size, edit.picture.size) == (size, size)
    assert source.image.size == edit.image.size == (24, 40)
    assert source.original is not None and source.original.size == (24, 40)
    assert edit.picture.tobytes() == source.fit.undo(edit.image, source.picture).tobytes()
    assert edit.picture.tobytes() != source.picture.tobytes() and edit.mask is None


@pytest.mark.parametrize("size", [(37, 211), (130, 97), (1, 1)])
def test_own_keeps_every_pixel_of_the_picture(editor: Editor, size: Size) -> None:
    source = editor.invert(noise(size), num_inference_steps=1, fit="own")
    assert source.image.size == tuple(-(-side // 4) * 4 for side in size)
    left, top, right, bottom = source.fit.target_box
    assert (right - left, bottom - top) == size
    edit = editor.edit(source, "a")
    assert edit.picture.tobytes() == edit.image.crop(source.fit.target_box).tobytes()


def test_a_generated_source_is_its_own_picture(editor: Editor) -> None:
    source = editor.generate("a red house", num_inference_steps=2, width=40)
    edit = editor.edit(source, "a blue boat", strength=1)
    assert source.picture is source.image and source.original is None
    assert edit.picture.tobytes() == edit.image.tobytes()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"fit": "stretch"}, "fit must be one of crop, pad, resize, own, got 'stretch'"),
        ({"fit": None}, "fit must be one of crop, pad, resize, own, got None"),
        ({"fit": "own", "width": 32}, "fit own is the picture's own size: give no width or height"),
    ],
)
def test_a_fit_that_cannot_be(editor: Editor, options: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        editor.invert(noise((40, 30)), **options)


def test_own_has_the_limits_of_every_size(editor: Editor) -> None:
    with pytest.raises(ValueError, match="width must be a multiple of 4 from 4 to 4096, got 4100"):
        editor.invert(Image.new("RGB", (4097, 8)), fit="own")


@pytest.mark.parametrize("fit", FITS)
def test_the_command_line_knows_every_fit(fit: str) -> None:
    args = read_command_line(["invert", "a.png", "--fit", fit])
    assert isinstance(args, InvertOptions) and args.inversion.fit == fit


def test_a_turned_photo_comes_back_upright(editor: Editor, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    noise((60, 40)).save(tmp_path / "a.jpg", exif=exif)
    source = editor.invert(images.open_picture(tmp_path / "a.jpg"), num_inference_steps=1)
    assert editor.edit(source, "a").picture.size == (40, 60)

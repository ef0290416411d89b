"""Pictures: every mode and orientation, tensors as diffusers has them, settings in PNG files."""

import io
import json
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageFont
from PIL.PngImagePlugin import PngInfo

from mdp_lite import images
from mdp_lite.sheets import LEAST, MARGIN, clip, enlarge, sheet, wrap

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, bands), dtype=np.uint8)
    return Image.frombytes(mode, (width, height), pixels.tobytes())


def quarters(size: int = 32) -> Image.Image:
    """Red, green / blue, yellow."""
    small = Image.new("RGB", (2, 2))
    small.putdata(COLOURS)
    return small.resize((size, size), Image.Resampling.NEAREST)


# fit


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_a_picture_of_the_size_keeps_its_pixels(mode: str) -> None:
    picture = noise(48, 32, mode)
    assert images.fit(picture, 48, 32).tobytes() == picture.convert("RGB").tobytes()


def test_fit_crops_the_centre() -> None:
    wide = Image.new("RGB", (96, 32), "white")
    wide.paste(quarters(), (32, 0))
    assert images.fit(wide, 32, 32).tobytes() == quarters().tobytes()


def test_fit_resizes_with_lanczos() -> None:
    picture = noise(128, 64)
    want = picture.resize((64, 32), Image.Resampling.LANCZOS)
    assert images.fit(picture, 64, 32).tobytes() == want.tobytes()


@pytest.mark.parametrize(("width", "height"), [(64, 64), (8, 200), (200, 8), (4, 4)])
@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (65, 64)])
def test_fit_gives_the_size_asked_for(size: tuple[int, int], width: int, height: int) -> None:
    fitted = images.fit(Image.new("RGB", size, "red"), width, height)
    assert (fitted.size, fitted.mode, fitted.getpixel((0, 0))) == (
        (width, height),
        "RGB",
        (255, 0, 0),
    )


TURNS = {  # what a camera that notes this orientation did to the picture
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_90",
    7: "TRANSVERSE",
    8: "ROTATE_270",
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int, tmp_path: Path) -> None:
    turn = TURNS.get(orientation)
    stored = quarters() if turn is None else quarters().transpose(Image.Transpose[turn])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    fitted = images.fit(images.open_picture(tmp_path / "a.png"), 32, 32)
    assert fitted.tobytes() == quarters().tobytes()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGBa"])
def test_transparency_lies_on_white(mode: str) -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert images.to_rgb(clear.convert(mode)).getpixel((3, 3)) == (255, 255, 255)


def test_half_transparent_red_is_pink() -> None:
    assert images.to_rgb(Image.new("RGBA", (1, 1), (255, 0, 0, 128))).getpixel((0, 0)) == (
        255,
        127,
        127,
    )


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_a_transparent_colour_lies_on_white(mode: str, tmp_path: Path) -> None:
    picture = Image.new(mode, (4, 4), 0)
    picture.save(tmp_path / "a.png", transparency=(0, 0, 0) if mode == "RGB" else 0)
    rgb = images.to_rgb(images.open_picture(tmp_path / "a.png"))
    assert rgb.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("value", [0, 257, 40000, 65535])
def test_16_bit_grey_is_rescaled(value: int, tmp_path: Path) -> None:
    deep = Image.fromarray(np.full((4, 4), value, np.uint16))
    deep.save(tmp_path / "a.png")
    want = (round(value / 257),) * 3
    assert images.to_rgb(images.open_picture(tmp_path / "a.png")).getpixel((0, 0)) == want


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "L", "1", "RGBX"])
def test_other_modes_become_rgb(mode: str) -> None:
    white = Image.new("RGB", (4, 4), "white").convert(mode)
    assert images.to_rgb(white).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["F", "LAB"])
def test_a_mode_without_a_range_is_refused(mode: str) -> None:
    with pytest.raises(ValueError, match=f"got mode {mode}"):
        images.fit(Image.new(mode, (4, 4)), 4, 4)


def test_fit_leaves_its_input_alone() -> None:
    picture = noise(40, 30, "RGBA")
    before = picture.tobytes()
    images.fit(picture, 8, 8)
    assert (picture.tobytes(), picture.size, picture.mode) == (before, (40, 30), "RGBA")


# tensors


def test_tensors_are_those_of_diffusers() -> None:
    theirs = VaeImageProcessor(vae_scale_factor=4)
    picture, x = noise(48, 32), torch.randn(1, 3, 32, 48, generator=torch.manual_seed(0))
    tensor = images.to_tensor(picture)
    assert (tensor.shape, tensor.dtype) == ((1, 3, 32, 48), torch.float32)
    assert torch.equal(tensor, theirs.preprocess(picture))
    (want,) = theirs.postprocess(x, output_type="pil")
    assert images.to_image(x).tobytes() == want.tobytes()


def test_a_picture_survives_the_tensor() -> None:
    every = Image.fromarray(np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3))
    assert images.to_image(images.to_tensor(every)).tobytes() == every.tobytes()


def test_to_image_clips() -> None:
    bright = torch.tensor([-9.0, 0.0, 9.0]).reshape(1, 3, 1, 1)
    assert images.to_image(bright).getpixel((0, 0)) == (0, 128, 255)


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (1, 4, 4, 4), (3, 4, 4)])
def test_to_image_wants_one_picture(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must have shape \(1, 3, h, w\), got"):
        images.to_image(torch.zeros(shape))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_to_image_refuses_what_is_no_number(value: float) -> None:
    with pytest.raises(ValueError, match="picture must be finite"):
        images.to_image(torch.full((1, 3, 4, 4), value))


@pytest.mark.parametrize(("shift", "want"), [(0, math.inf), (1, 48.1308), (255, 0.0)])
def test_psnr(shift: int, want: float) -> None:
    black, other = Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), (shift,) * 3)
    assert images.psnr(black, other) == pytest.approx(want, abs=1e-4)


# files


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_three_formats_open_whatever_they_are_called(kind: str, tmp_path: Path) -> None:
    noise(20, 10).save(tmp_path / "picture.bin", kind)
    assert images.open_picture(tmp_path / "picture.bin").size == (20, 10)


def test_a_phone_photo_with_a_second_picture_opens(tmp_path: Path) -> None:
    first, second = quarters(), Image.new("RGB", (32, 32), "white")
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second], quality=95)
    opened = images.open_picture(tmp_path / "a.jpg")
    assert opened.format == "MPO"
    assert np.abs(np.asarray(opened).astype(int)[4, 4] - COLOURS[0]).max() < 8


def test_the_largest_picture_opens_and_one_pixel_more_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_SIDE", 16)
    Image.new("L", (32, 8)).save(tmp_path / "a.png")
    Image.new("L", (257, 1)).save(tmp_path / "b.png")
    assert images.open_picture(tmp_path / "a.png").size == (32, 8)
    with pytest.raises(ValueError, match="at most 16x16 pixels, got 257x1"):
        images.open_picture(tmp_path / "b.png")


def header(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds nothing."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    raw = bytearray(file.getvalue())
    raw[16:24] = struct.pack(">II", width, height)
    raw[29:33] = struct.pack(">I", zlib.crc32(raw[12:29]))
    return bytes(raw)


@pytest.mark.parametrize("side", [4097, 9000, 10000, 20000, 2**31 - 1])
def test_a_bomb_is_refused_before_it_is_decoded(
    side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(header(side, side))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="picture must have at most 4096x4096 pixels, got"):
        images.open_picture(tmp_path / "a.png")


def whole(kind: str) -> bytes:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(24, 16).save(file, kind, exif=exif)
    return file.getvalue()


WHOLE = {kind: whole(kind) for kind in ("PNG", "JPEG", "WEBP")}


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(kind=st.sampled_from(sorted(WHOLE)), data=st.data())
def test_damaged_files_open_or_are_refused(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    raw = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "a"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        picture = images.fit(images.open_picture(path), 8, 8)
    except ValueError as error:
        assert str(error).startswith("picture must")
    else:
        assert picture.size == (8, 8)


# settings in the file

SETTINGS = {
    "prompt": "a red house,\non the grass",
    "negative_prompt": "rain",
    "num_inference_steps": 50,
    "guidance_scale": 7.5,
    "seed": 3,
    "sampler": "DDIM",
    "size": "16x16",
    "model": "tiny",
    "weights": {"eps": [0.0, 1.0]},
}


def test_settings_read_back(tmp_path: Path) -> None:
    picture = noise(16, 16)
    images.save_png(picture, tmp_path / "new" / "a.png", SETTINGS)
    assert images.read_settings(tmp_path / "new" / "a.png") == SETTINGS
    assert images.open_picture(tmp_path / "new" / "a.png").tobytes() == picture.tobytes()


def test_parameters_are_those_of_automatic1111(tmp_path: Path) -> None:
    images.save_png(noise(16, 16), tmp_path / "a.png", SETTINGS)
    assert images.open_picture(tmp_path / "a.png").info["parameters"] == (
        "a red house,\non the grass\n"
        "Negative prompt: rain\n"
        "Steps: 50, Sampler: DDIM, CFG scale: 7.5, Seed: 3, Size: 16x16, Model: tiny"
    )


def test_any_language_reads_back(tmp_path: Path) -> None:
    prompt = "ein Häuschen, 赤い家, \N{HOUSE BUILDING}"
    images.save_png(noise(16, 16), tmp_path / "a.png", {"prompt": prompt})
    assert images.read_settings(tmp_path / "a.png")["prompt"] == prompt
    assert images.open_picture(tmp_path / "a.png").info["parameters"].startswith(prompt)


def test_nothing_of_the_input_reaches_the_file(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "my home address"
    file = io.BytesIO()
    noise(16, 16).save(file, "PNG", exif=exif, icc_profile=b"my profile", dpi=(300, 300))
    carrier = Image.open(file)
    assert "exif" in carrier.info
    images.save_png(carrier, tmp_path / "a.png", {"prompt": "a"})
    saved = images.open_picture(tmp_path / "a.png")
    assert set(saved.info) == {"parameters", "mdp_lite"}
    assert b"my " not in (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "3"])
def test_a_picture_without_settings_says_so(text: str | None, tmp_path: Path) -> None:
    chunk = PngInfo()
    if text is not None:
        chunk.add_text("mdp_lite", text)
    noise(4, 4).save(tmp_path / "a.png", pnginfo=chunk)
    with pytest.raises(ValueError, match="picture must hold mdp_lite settings, got none"):
        images.read_settings(tmp_path / "a.png")


def test_settings_are_json_without_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        images.save_png(noise(4, 4), tmp_path / "a.png", {"psnr": math.inf})
    images.save_png(noise(4, 4), tmp_path / "b.png", SETTINGS)
    assert json.loads(images.open_picture(tmp_path / "b.png").info["mdp_lite"]) == SETTINGS


# sheets


def test_a_sheet_shows_every_picture_enlarged() -> None:
    rows = [[("one", noise(64, 64)), ("two", quarters(64))], [("three", noise(64, 64, "L"))]]
    page = sheet(rows)
    assert page.width == 2 * LEAST + 3 * MARGIN
    for (_, picture), left in zip(rows[0], (MARGIN, 2 * MARGIN + LEAST), strict=True):
        tops = [
            top
            for top in range(page.height - LEAST)
            if page.crop((left, top, left + LEAST, top + LEAST)).tobytes()
            == enlarge(picture).tobytes()
        ]
        assert len(tops) == 1


def test_labels_are_drawn_above_and_inside_the_column() -> None:
    label = "a red house on the left, grass, clear day with the sun"
    blank, page = (sheet([[(text, Image.new("RGB", (64, 64), "white"))]]) for text in ("", label))
    assert page.height >= blank.height
    box = ImageChops.invert(page).getbbox()
    assert box is not None
    left, top, right, bottom = box
    assert left >= MARGIN and right <= MARGIN + LEAST
    assert top >= MARGIN and bottom <= page.height - MARGIN - LEAST


@pytest.mark.parametrize("label", ["word " * 200, "x" * 500, "", "two\nlines", "赤い家"])
def test_a_label_of_any_length_fits(label: str) -> None:
    font = ImageFont.load_default(15)
    lines = wrap(label, LEAST, font)
    assert 1 <= len(lines) <= 4
    assert all(font.getlength(line) <= LEAST for line in lines)
    assert lines[-1].endswith("...") == (len(label) >= 500)
    assert clip("short", LEAST, font) == "short"


@pytest.mark.parametrize("size", [(64, 64), (100, 30), (192, 192), (500, 300)])
def test_enlarging_is_by_whole_factors(size: tuple[int, int]) -> None:
    big = enlarge(Image.new("RGB", size))
    assert min(big.size) >= LEAST
    assert big.width % size[0] == 0 and big.width // size[0] == big.height // size[1]
    assert min(size) < LEAST or big.size == size


@pytest.mark.parametrize("rows", [[], [[]]])
def test_a_sheet_needs_pictures(rows: list) -> None:
    with pytest.raises(ValueError, match="a sheet needs at least one picture in each row, got"):
        sheet(rows)

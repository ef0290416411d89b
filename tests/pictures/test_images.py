"""Pictures: every mode and orientation, tensors as diffusers has them, files good and damaged."""

import io
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
from PIL import Image

from mdp_lite.pictures import decode, images

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


# modes and orientations


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
    shown = images.rgb(images.open_picture(tmp_path / "a.png"))
    assert shown.tobytes() == quarters().tobytes()


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
        images.rgb(Image.new(mode, (4, 4)))


def test_rgb_leaves_its_input_alone() -> None:
    picture = noise(40, 30, "RGBA")
    before = picture.tobytes()
    images.rgb(picture)
    assert (picture.tobytes(), picture.size, picture.mode) == (before, (40, 30), "RGBA")


def deep_png(path: Path, pixels: np.ndarray) -> None:
    """A PNG of 16 bits a sample, (h, w, bands), as Pillow can't write one of several bands."""
    (h, w, bands), kinds = pixels.shape, {1: 0, 2: 4, 3: 2, 4: 6}
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    head = struct.pack(">IIBBBBB", w, h, 16, kinds[bands], 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")):
        file += struct.pack(">I", len(body)) + name + body
        file += struct.pack(">I", zlib.crc32(name + body))
    path.write_bytes(file)


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_16_bit_files_are_scaled_and_lie_on_white(bands: int, tmp_path: Path) -> None:
    levels = np.linspace(0, 65535, 64).round().astype(np.uint16)
    pixels = levels.reshape(8, 8, 1).repeat(bands, axis=2)
    if bands in (2, 4):
        pixels[..., -1] = 65535
        pixels[0, 0] = (*[0] * (bands - 1), 0)  # black, but not to be seen
    deep_png(tmp_path / "a.png", pixels)
    shown = np.asarray(images.rgb(images.open_picture(tmp_path / "a.png"))).astype(float)
    want = levels.reshape(8, 8, 1) / 257
    want[0, 0] = 255 if bands in (2, 4) else 0
    assert np.abs(shown - want).max() <= 1


def test_a_cmyk_jpeg_has_its_colours(tmp_path: Path) -> None:
    quarters(64).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    opened = images.open_picture(tmp_path / "a.jpg")
    assert opened.mode == "CMYK"
    shown = np.asarray(images.rgb(opened)).astype(int)
    for (y, x), colour in zip(((16, 16), (16, 48), (48, 16), (48, 48)), COLOURS, strict=True):
        assert np.abs(shown[y, x] - colour).max() <= 8


def test_a_palette_with_several_opacities_lies_on_white(tmp_path: Path) -> None:
    picture = quarters(8).convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    order = [picture.getpixel(at) for at in ((0, 0), (7, 0), (0, 7), (7, 7))]
    opacities = bytearray(4)
    for index, value in zip(order, (255, 128, 0, 255), strict=True):
        opacities[index] = value
    picture.save(tmp_path / "a.png", transparency=bytes(opacities))
    shown = images.rgb(images.open_picture(tmp_path / "a.png"))
    found = [shown.getpixel(at) for at in ((0, 0), (7, 0), (0, 7), (7, 7))]
    assert found == [(255, 0, 0), (127, 255, 127), (255, 255, 255), (255, 255, 0)]


def test_a_grey_file_with_alpha_lies_on_white(tmp_path: Path) -> None:
    picture = Image.new("LA", (4, 4), (0, 0))
    picture.putpixel((1, 1), (100, 255))
    picture.save(tmp_path / "a.png")
    opened = images.open_picture(tmp_path / "a.png")
    assert opened.mode == "LA"
    assert images.rgb(opened).getpixel((0, 0)) == (255,) * 3
    assert images.rgb(opened).getpixel((1, 1)) == (100,) * 3


def test_a_picture_that_was_never_a_file_has_the_cap_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 256)
    assert images.rgb(Image.new("L", (32, 8))).size == (32, 8)
    with pytest.raises(ValueError, match="^image must have at most 256 pixels, got 257x1$"):
        images.rgb(Image.new("L", (257, 1)))


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
    monkeypatch.setattr(decode, "MAX_PIXELS", 256)
    Image.new("L", (32, 8)).save(tmp_path / "a.png")
    Image.new("L", (257, 1)).save(tmp_path / "b.png")
    assert images.open_picture(tmp_path / "a.png").size == (32, 8)
    with pytest.raises(ValueError, match="at most 256 pixels, got 257x1"):
        images.open_picture(tmp_path / "b.png")


def header(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds nothing."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    raw = bytearray(file.getvalue())
    raw[16:24] = struct.pack(">II", width, height)
    raw[29:33] = struct.pack(">I", zlib.crc32(raw[12:29]))
    return bytes(raw)


@pytest.mark.parametrize("side", [8001, 9000, 10000, 20000, 2**31 - 1])
def test_a_bomb_is_refused_before_it_is_decoded(
    side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(header(side, side))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="picture must have at most 64 megapixels, got"):
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
        picture = images.rgb(images.open_picture(path))
    except ValueError as error:
        assert str(error).startswith("picture must")
    else:
        assert picture.mode == "RGB"

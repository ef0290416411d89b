"""Picture files in three formats: pixels, colours, transparency, and settings that read back."""

import io
import os
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from mdp_lite.names import BadInput
from mdp_lite.pictures import decode, images
from mdp_lite.pictures.alpha import ALPHA
from mdp_lite.pictures.colour import is_srgb
from mdp_lite.pictures.output import OUTPUT_SUFFIXES, picture_bytes, write_picture

SETTINGS = {"prompt": "ein Häuschen, 赤い家", "seed": 3, "weights": {"eps": [0.0, 1.0]}}
LOSSY = [one for one in OUTPUT_SUFFIXES if one != ".png"]


def smooth(size: int = 64) -> Image.Image:
    """A picture with colours that change fast along one side, as drawings have."""
    x = np.arange(size)
    stripes = np.stack([255 * (x % 2), 255 - 255 * (x % 2), 2 * x], -1).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(stripes, (size, size, 3)).copy())


def with_alpha(level: int = 0) -> Image.Image:
    image = Image.new("RGB", (16, 16), "white")
    image.info[ALPHA] = Image.new("L", (16, 16), level)
    return image


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("suffix", [*OUTPUT_SUFFIXES, ".JPG"])
def test_settings_read_back_from_every_format(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"a{suffix}"
    write_picture(smooth(), path, SETTINGS)
    assert images.read_settings(path) == SETTINGS
    want = {".png": "PNG", ".webp": "WEBP"}.get(suffix, "JPEG")
    assert opened(path.read_bytes()).format == want


@pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)
def test_a_file_without_settings_has_none(suffix: str, tmp_path: Path) -> None:
    write_picture(smooth(), tmp_path / f"a{suffix}", None)
    with pytest.raises(BadInput, match="picture must hold mdp_lite settings, got none"):
        images.read_settings(tmp_path / f"a{suffix}")


def test_png_is_what_save_png_writes(tmp_path: Path) -> None:
    images.save_png(smooth(), tmp_path / "a.png", SETTINGS)
    assert picture_bytes(smooth(), ".png", SETTINGS) == (tmp_path / "a.png").read_bytes()
    assert picture_bytes(smooth(), ".png", SETTINGS, 10) == (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize("suffix", LOSSY)
def test_the_user_comment_is_that_of_automatic1111(suffix: str) -> None:
    comment = opened(picture_bytes(smooth(), suffix, SETTINGS)).getexif().get_ifd(0x8769)[0x9286]
    assert comment[:8] == b"UNICODE\0"
    assert comment[8:].decode("utf-16-be") == images.parameters(SETTINGS)


@pytest.mark.parametrize("suffix", LOSSY)
def test_the_file_says_srgb_and_has_nothing_of_the_input(suffix: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "my camera"
    carrier = smooth()
    carrier.info |= {"exif": exif.tobytes(), "icc_profile": b"my profile", "comment": b"my home"}
    data = picture_bytes(carrier, suffix, SETTINGS)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(opened(data).info["icc_profile"]))
    assert b"my " not in data and is_srgb(profile, "RGB")


def error(suffix: str, quality: int | None) -> float:
    whole = opened(picture_bytes(smooth(), suffix, None, quality)).convert("RGB")
    return float(np.abs(np.asarray(whole).astype(int) - np.asarray(smooth())).mean())


def test_a_good_jpeg_has_the_colour_of_every_pixel() -> None:
    layers = [
        opened(picture_bytes(smooth(), ".jpg", None, quality)).layer  # type: ignore[attr-defined]
        for quality in (None, 90, 89)
    ]
    assert [one[0][1:3] for one in layers] == [(1, 1), (1, 1), (2, 2)]
    assert error(".jpg", None) < 5 < error(".jpg", 89)


@pytest.mark.parametrize(("suffix", "default"), [(".jpg", 95), (".webp", 90)])
def test_quality_has_a_default_and_an_effect(suffix: str, default: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    sizes = [len(picture_bytes(image, suffix, None, q)) for q in (5, 50, default, 100)]
    assert sizes == sorted(set(sizes))
    assert picture_bytes(smooth(), suffix, None) == picture_bytes(smooth(), suffix, None, default)


@pytest.mark.parametrize("quality", [-1, 101, 90.0, True, "90"])
def test_another_quality_is_refused(quality: Any) -> None:
    with pytest.raises(BadInput, match="^quality must be a whole number from 0 to 100, got "):
        picture_bytes(smooth(), ".jpg", None, quality)


@pytest.mark.parametrize("suffix", ["", ".gif", ".tiff", "png"])
def test_another_suffix_is_refused_and_nothing_is_written(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"must end in .png, .jpg, .jpeg, .webp, got "):
        picture_bytes(smooth(), suffix, None)
    with pytest.raises(BadInput, match="must end in"):
        write_picture(smooth(), tmp_path / "a.gif", None)
    assert list(tmp_path.iterdir()) == []


def test_a_side_that_the_format_can_t_have_is_refused() -> None:
    wide = Image.new("RGB", (16_384, 1))
    with pytest.raises(BadInput, match="must have at most 16383 pixels a side, got 16384x1"):
        picture_bytes(wide, ".webp", None)
    assert opened(picture_bytes(wide, ".jpg", None)).size == (16_384, 1)


def test_transparency_stays_but_in_a_jpeg_which_says_so(caplog: pytest.LogCaptureFixture) -> None:
    for suffix in (".png", ".webp"):
        whole = opened(picture_bytes(with_alpha(), suffix, None))
        assert whole.mode == "RGBA" and whole.getchannel("A").getextrema() == (0, 0)
    assert caplog.messages == []
    for image in (with_alpha(), Image.new("RGBA", (16, 16), (255, 0, 0, 0))):
        caplog.clear()
        whole = opened(picture_bytes(image, ".jpg", None))
        assert whole.getpixel((3, 3)) == (255, 255, 255)
        want = "JPEG has no transparency: what was transparent is white in the file"
        assert caplog.messages == [want]


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "I;16", "CMYK"])
@pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)
def test_every_mode_can_be_written(suffix: str, mode: str) -> None:
    white = 65_535 if mode == "I;16" else 0 if mode == "CMYK" else "white"
    image = Image.new(mode, (8, 8), white)
    assert images.rgb(opened(picture_bytes(image, suffix, None))).getpixel((4, 4)) == (255,) * 3


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"3", b'{"mdp_lite": 3}', b"[" * 100_000])
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_strange_description_is_no_settings(text: bytes, kind: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[images.EXIF_TEXT] = text[:60_000].decode()
    smooth().save(tmp_path / "a", kind, exif=exif)
    with pytest.raises(BadInput, match="got none"):
        images.read_settings(tmp_path / "a")


# Pictures from pipes.


def feed(path: Path, data: bytes) -> threading.Thread:
    def write() -> None:
        try:
            path.write_bytes(data)
        except BrokenPipeError:
            pass

    thread = threading.Thread(target=write)
    thread.start()
    return thread


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)
def test_a_picture_comes_out_of_a_pipe(fifo: Path, suffix: str) -> None:
    thread = feed(fifo, picture_bytes(smooth(300), suffix, SETTINGS))
    assert images.open_picture(fifo).size == (300, 300)
    thread.join()
    thread = feed(fifo, picture_bytes(smooth(300), suffix, SETTINGS))
    assert images.read_settings(fifo) == SETTINGS
    thread.join()


@pytest.mark.parametrize(("data", "sentence"), [
    (b"", "got 0 bytes"), (b"x" * 5000, "got something else"),
    (picture_bytes(smooth(), ".png", None)[:-90], "got a damaged file"),
])  # fmt: skip
def test_what_is_no_picture_in_a_pipe_is_refused(fifo: Path, data: bytes, sentence: str) -> None:
    thread = feed(fifo, data)
    with pytest.raises(BadInput, match=f"{sentence}.*pipe'"):
        images.open_picture(fifo)
    thread.join()


def test_a_pipe_without_end_is_refused(fifo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_STREAM", 2**20)
    thread = feed(fifo, bytes(2**22))
    with pytest.raises(BadInput, match="picture must have at most 1 MiB, got more: .*pipe'$"):
        images.open_picture(fifo)
    thread.join()


@pytest.mark.parametrize("kind", ["pipe", "socket", "file"])
def test_a_descriptor_is_read(kind: str, tmp_path: Path) -> None:
    if not Path("/dev/fd").exists():
        pytest.skip("no /dev/fd")
    data = picture_bytes(smooth(), ".png", None)
    if kind == "file":
        (tmp_path / "a").write_bytes(data)
        number = os.open(tmp_path / "a", os.O_RDONLY)
    elif kind == "pipe":
        number, end = os.pipe()
        os.write(end, data)
        os.close(end)
    else:
        one, other = socket.socketpair()
        one.sendall(data)
        one.close()
        number = other.detach()
    try:
        assert images.open_picture(f"/dev/fd/{number}").size == (64, 64)
    finally:
        os.close(number)

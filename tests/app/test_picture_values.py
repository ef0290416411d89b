"""What Python reads of the component picture: browsers may send anything."""

import base64
import io
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mdp_lite.names import BadInput

picture = pytest.importorskip("mdp_lite.app.components.picture")
SIZE = (96, 64)


def half(size: tuple[int, int] = SIZE) -> Image.Image:
    """A mask whose right half is white."""
    mask = Image.new("L", size)
    mask.paste(255, (size[0] // 2, 0, *size))
    return mask


def url_of(image: Image.Image, kind: str = "PNG") -> str:
    """The data URL of a picture file."""
    out = io.BytesIO()
    image.save(out, kind)
    return picture.PREFIX + base64.b64encode(out.getvalue()).decode()


def painted(url: Any, **fields: Any) -> dict[str, Any]:
    """A value with a painted mask."""
    return {"picture": None, "mask": {"where": "painted", "png": url, "feather": 0} | fields}


def test_a_painted_mask_has_the_size_of_the_picture() -> None:
    small, value = half((48, 32)), painted(picture.encode_mask(half()), feather=5)
    region = picture.read_region(value, SIZE)
    assert (region.where, region.feather) == ("painted", 5)
    assert np.array_equal(region.mask, half())
    enlarged = picture.read_mask(painted(url_of(small)), SIZE)
    assert enlarged.mode == "L" and enlarged.size == SIZE
    assert enlarged.getpixel((20, 32)) == 0 and enlarged.getpixel((80, 32)) == 255


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "1", "P"])
def test_a_browsers_png_of_any_mode_means_the_same(kind: str) -> None:
    assert np.array_equal(picture.read_mask(painted(url_of(half().convert(kind))), SIZE), half())


def test_a_large_mask_is_sent_small() -> None:
    mask = picture.read_mask(painted(picture.encode_mask(half((4096, 64)))), (4096, 64))
    assert mask.size == (4096, 64) and mask.getpixel((4000, 30)) == 255
    sent = base64.b64decode(picture.encode_mask(half((4096, 64))).removeprefix(picture.PREFIX))
    assert Image.open(io.BytesIO(sent)).size == (picture.MAX_SIDE, 16)


@pytest.mark.parametrize("where", ["everywhere", "found"])
def test_without_painting_there_is_no_mask(where: str) -> None:
    """What stands in png is not even read: a found mask is the address of a file."""
    value = painted("visit/token/mask.png", where=where, feather=3)
    assert picture.read_region(value, SIZE) == (where, 3, None)


@pytest.mark.parametrize("value", [{}, {"mask": None}, picture.empty_value()])
def test_a_value_without_a_mask_is_everywhere(value: dict[str, Any]) -> None:
    assert picture.read_region(value, SIZE) == ("everywhere", 0, None)


def bomb() -> str:
    """A PNG that says it has 50,000 x 50,000 pixels, in few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + name + data + check

    side = (50_000).to_bytes(4, "big")
    head = chunk(b"IHDR", side + side + bytes([8, 0, 0, 0, 0]))
    body = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return picture.PREFIX + base64.b64encode(b"\x89PNG\r\n\x1a\n" + head + body).decode()


BAD = {
    "a list": ([], "value of the picture must be an object, got list"),
    "no mask object": ({"mask": "white"}, "mask must be an object, got str"),
    "unknown where": (painted(None, where="there"), "where"),
    "where a list": (painted(None, where=["painted"]), "where"),
    "feather too large": (painted(None, feather=65), "feather must be from 0 to 64, got 65"),
    "feather a text": (painted(None, feather="5"), "feather"),
    "feather true": (painted(None, feather=True), "feather"),
    "feather below 0": (painted(None, feather=-1), "feather must be from 0 to 64, got -1"),
    "no png": (painted(None), "mask must be a PNG as a data URL, got 'None'"),
    "a path": (painted("/etc/passwd"), "mask must be a PNG as a data URL, got '/etc/passwd'"),
    "another address": (painted("http://127.0.0.1/m.png"), "mask must be a PNG as a data URL"),
    "no base64": (painted(picture.PREFIX + "é!"), "mask must be a PNG in base64"),
    "a JPEG": (painted(url_of(half(), "JPEG")), "mask must be a PNG, got another file"),
    "too wide": (painted(url_of(half((1025, 2)))), "within 1024x1024 pixels, got 1025x2"),
    "too many pixels": (painted(url_of(half((1100, 1100)))), "mask must have at most"),
    "a bomb": (painted(bomb()), "mask must have at most"),
    "half a file": (painted(url_of(half())[:160]), "mask must be"),
    "all black": (painted(url_of(Image.new("L", SIZE))), "paint where the edit may happen first"),
    "noise alone": (painted(url_of(Image.new("L", SIZE, 9))), "paint where the edit may happen"),
}


@pytest.mark.parametrize("case", BAD)
def test_another_value_gets_a_clear_error(case: str) -> None:
    value, message = BAD[case]
    with pytest.raises(BadInput, match="(?s)" + message.replace("(", r"\(")):
        picture.read_region(value, SIZE)


def test_a_mask_that_is_too_long_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture.base64, "b64decode", None)  # calling it would be a TypeError
    with pytest.raises(BadInput, match="mask must have at most 4 MiB, got 4194305 characters"):
        picture.read_mask(painted(picture.PREFIX.ljust(picture.MAX_URL + 1, "A")), SIZE)

"""Pictures of the service: uploads become sRGB, answers say so, and settings always fit into them.

The kinds: uploads in another colour space in each format; answers with more settings than the EXIF
of a JPEG can hold (64 KiB), whatever makes them long; uploads of formats that are not read.
"""

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageCms

from mdp_lite.pictures import images
from mdp_lite.pictures.colour import is_srgb
from mdp_lite.pictures.images import EXIF_TEXT
from mdp_lite.serve import pictures
from mdp_lite.serve.errors import ApiError
from support import profiles

PICTURE = Image.effect_noise((32, 24), 90).convert("RGB")
P3 = profiles.rgb_profile(profiles.DISPLAY_P3, "Display P3")
SPACES = {
    "Display P3": P3,
    "Adobe RGB": profiles.rgb_profile(profiles.ADOBE_RGB, "Adobe RGB"),
    "ProPhoto": profiles.rgb_profile(profiles.PROPHOTO, "ProPhoto"),
}
LIMIT = 2**24


def file_of(image: Image.Image, kind: str, profile: bytes | None = None) -> bytes:
    out, exact = io.BytesIO(), {"lossless": True} if kind == "WEBP" else {}
    image.save(out, kind, icc_profile=profile, **exact)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("name", SPACES)
def test_an_upload_becomes_srgb(name: str, kind: str) -> None:
    data = file_of(PICTURE, kind, SPACES[name])
    found = pictures.read_rgb(data, "image", LIMIT)
    source = ImageCms.ImageCmsProfile(io.BytesIO(SPACES[name]))
    want = ImageCms.profileToProfile(
        Image.open(io.BytesIO(data)), source, ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert want is not None and found.tobytes() == want.tobytes()
    for size in (None, (16, 16), (64, 48)):
        fitted = pictures.fit_to_size(found, "crop", size)
        (change,) = images.describe_changes(fitted)
        assert change == f"its colours were converted from {name} to sRGB"


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("settings", [None, {"prompt": "a house"}])
def test_an_answer_says_that_it_is_srgb(kind: str, settings: dict[str, str] | None) -> None:
    answer = Image.open(io.BytesIO(pictures.encode(PICTURE, kind, None, settings)))
    if kind == "png":
        assert answer.info["srgb"] == 0 and answer.tobytes() == PICTURE.tobytes()
    else:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(answer.info["icc_profile"]))
        assert is_srgb(profile, "RGB")
    again = pictures.read_rgb(pictures.encode(PICTURE, kind, None, settings), "image", LIMIT)
    assert images.describe_changes(again) == ()
    assert again.tobytes() == answer.convert("RGB").tobytes()


LONG = {
    "three prompts": {key: "a house " * 2000 for key in ("prompt", "source_prompt", "negative")},
    "Chinese": {"prompt": "\N{CJK UNIFIED IDEOGRAPH-623F}" * 20_000},
    "emoji": {key: "\N{HOUSE BUILDING}" * 2000 for key in ("prompt", "source_prompt", "negative")},
    "surrogates": {"prompt": "\ud800" * 20_000},
    "tables of 1000 steps": {"weights": {key: [1 / 3] * 1000 for key in ("eps", "c", "x", "beta")}},
    "many keys": {f"key {k}": "x" * 1000 for k in range(300)},
}


@pytest.mark.parametrize("settings", LONG.values(), ids=LONG)
@pytest.mark.parametrize("kind", ["jpeg", "webp", "png"])
def test_settings_of_any_length_fit_into_an_answer(kind: str, settings: dict) -> None:
    settings = {"seed": 7, **settings}
    if kind == "png" and "\ud800" in settings.get("prompt", ""):
        pytest.skip("texts of a PNG are valid UTF-8, which the service checks in requests")
    answer = Image.open(io.BytesIO(pictures.encode(PICTURE, kind, None, settings)))
    if kind == "png":
        assert json.loads(answer.info["mdp_lite"]) == settings
        return
    found = json.loads(answer.getexif()[EXIF_TEXT])["mdp_lite"]
    if kind == "webp":  # which has no limit
        assert found == settings
        return
    assert found["seed"] == 7 and found["shortened"] is True
    for key, value in settings.items():
        assert key in found and (isinstance(value, dict | int) or value.startswith(found[key]))


@pytest.mark.parametrize("length", [1, 100, 7000])
def test_settings_that_fit_stay_whole(length: int) -> None:
    settings = {"prompt": "p" * length, "weights": {"eps": [0.5] * 100}}
    answer = Image.open(io.BytesIO(pictures.encode(PICTURE, "jpeg", None, settings)))
    assert json.loads(answer.getexif()[EXIF_TEXT])["mdp_lite"] == settings


HEADS = {"HEIC": b"\0\0\0\x18ftypheic", "AVIF": b"\0\0\0\x18ftypavif", "TIFF": b"II*\0\x08\0\0\0"}


@pytest.mark.parametrize(("kind", "head"), HEADS.items())
def test_uploads_of_other_formats_are_refused_with_advice(kind: str, head: bytes) -> None:
    with pytest.raises(ApiError, match=f"it is {kind}.*: save it as JPEG or PNG first"):
        pictures.read_rgb(head + bytes(100), "image", LIMIT)


def test_500_damaged_uploads_are_pictures_or_400() -> None:
    draw = np.random.default_rng(2)
    good = [file_of(PICTURE, kind, P3) for kind in ("PNG", "JPEG", "WEBP")]
    for k in range(500):
        data = np.frombuffer(good[k % 3], np.uint8).copy()
        spots = draw.integers(0, len(data), 4)
        data[spots] = draw.integers(0, 256, 4)
        cut = len(data) if k % 2 else draw.integers(0, len(data))
        try:
            assert pictures.read_rgb(data[:cut].tobytes(), "image", LIMIT).mode == "RGB"
        except ApiError as error:
            assert error.status == 400 and "\n" not in str(error)

"""Colour: what is read becomes sRGB, so that a screen shows the pixels outside a mask as before.

The kind: any picture whose file says that its numbers are not sRGB's, by an ICC profile in a PNG, a
JPEG or a WebP, or in the info of a PIL image; and profiles that can't be used.
"""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from mdp_lite import Editor
from mdp_lite.pictures import colour, images
from support import profiles

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
SPACES = {
    "sRGB": SRGB.tobytes(),
    "Display P3": profiles.rgb_profile(profiles.DISPLAY_P3, "Display P3"),
    "Adobe RGB": profiles.rgb_profile(profiles.ADOBE_RGB, "Adobe RGB"),
    "ProPhoto": profiles.rgb_profile(profiles.PROPHOTO, "ProPhoto"),
    "inks": profiles.cmyk_profile(),
    "grey 1.8": profiles.grey_profile(),
}
MODES = {"inks": "CMYK", "grey 1.8": "L"}  # all others are RGB
KINDS = ("PNG", "JPEG", "WEBP")
CASES = [
    (name, kind) for name in SPACES for kind in KINDS
    if (name, kind) not in (("inks", "PNG"), ("inks", "WEBP"), ("grey 1.8", "WEBP"))
]  # fmt: skip


def scene(mode: str = "RGB") -> Image.Image:
    """Smooth colours, vivid ones among them."""
    y, x = np.mgrid[0:64, 0:64] * 4
    pixels = np.stack([x, y, 255 - (x + y) // 2], axis=-1).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def file_of(image: Image.Image, kind: str, profile: bytes | None) -> bytes:
    out, exact = io.BytesIO(), {"lossless": True} if kind == "WEBP" else {}
    image.save(out, kind, icc_profile=profile, quality=95, **exact)
    return out.getvalue()


def lab(image: Image.Image, profile: bytes) -> np.ndarray:
    """What a screen shows: the colours of a picture, converted through its profile."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    target = ImageCms.createProfile("LAB")
    shown = ImageCms.profileToProfile(image, source, target, outputMode="LAB")
    return np.asarray(shown).astype(float)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_outside_a_mask_a_screen_shows_the_same(
    editor: Editor, tmp_path: Path, name: str, kind: str
) -> None:
    path, profile = tmp_path / "in.bin", SPACES[name]
    path.write_bytes(file_of(scene(MODES.get(name, "RGB")), kind, profile))
    source = editor.invert(images.open_picture(path), "a house", num_inference_steps=2)
    edit = editor.edit(source, "a red house", mask=(0, 0, 16, 64))
    images.save_png(edit.picture, tmp_path / "out.png", {})
    written = Image.open(io.BytesIO((tmp_path / "out.png").read_bytes()))
    read = Image.open(io.BytesIO(path.read_bytes()))
    assert written.info["srgb"] == 0 and "icc_profile" not in written.info
    outside = np.s_[:, 16:]
    pillow = ImageCms.profileToProfile(
        read, ImageCms.ImageCmsProfile(io.BytesIO(profile)), SRGB, outputMode="RGB"
    )
    assert pillow is not None
    want = read if name == "sRGB" else pillow
    assert np.array_equal(np.asarray(written)[outside], np.asarray(want)[outside])
    # Colours that are neither 0 nor 255 after the conversion lie in sRGB.
    levels = np.asarray(pillow)[outside]
    inside_srgb = ((levels > 0) & (levels < 255)).all(-1)
    apart = np.abs(lab(written, SPACES["sRGB"]) - lab(read, profile))[outside][inside_srgb]
    assert inside_srgb.mean() > 0.1 and np.median(apart) <= 1 and apart.mean() <= 1
    assert source.picture.tobytes() == want.convert("RGB").tobytes()  # what the model is shown
    assert bool(images.describe_changes(source.picture)) == (name != "sRGB")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_srgb_changes_no_bit(mode: str) -> None:
    image = scene().convert(mode)
    plain = images.rgb(image.copy())
    image.info["icc_profile"] = SPACES["sRGB"]
    found = images.rgb(image)
    assert found.tobytes() == plain.tobytes() and images.describe_changes(found) == ()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "I;16", "RGBX"])
def test_a_pil_image_that_carries_its_profile_is_converted_once(mode: str) -> None:
    image = scene("L").convert("I;16") if mode == "I;16" else scene().convert(mode)
    image.info["icc_profile"] = SPACES["Display P3"]
    found = images.rgb(image)
    grey = mode in ("L", "LA", "I;16")  # which are grey in any RGB space
    assert (found.tobytes() == colour.drop_profile(image).convert("RGB").tobytes()) <= grey
    assert images.describe_changes(found) == ("its colours were converted from Display P3 to sRGB",)
    again = images.rgb(found)
    assert again.tobytes() == found.tobytes() and again.info == found.info
    assert image.info["icc_profile"] == SPACES["Display P3"]  # the caller's picture is as it was


def test_grey_of_16_bits_follows_its_profile() -> None:
    image = Image.fromarray(np.linspace(0, 65535, 4096).reshape(64, 64).astype(np.uint16))
    image.info["icc_profile"] = SPACES["grey 1.8"]
    found, plain = np.asarray(images.rgb(image)), np.linspace(0, 255, 4096).reshape(64, 64)
    assert (
        found[0, 0, 0] == 0 and found[-1, -1, 0] == 255 and (found[32] > plain[32, :, None]).all()
    )


def test_alpha_stays_where_it_was() -> None:
    image = scene("RGBA")
    image.putalpha(scene("L"))
    image.info["icc_profile"] = SPACES["Adobe RGB"]
    converted = colour.to_srgb(image).image
    assert converted.mode == "RGBA"
    assert converted.getchannel("A").tobytes() == scene("L").tobytes()


BAD = {
    "empty": b"",
    "junk": b"junk" * 100,
    "cut": SPACES["Display P3"][:200],
    "zeros": bytes(4096),
    "no tags": SPACES["Display P3"][:128] + bytes(4),
    "header only": SPACES["Display P3"][:128],
}


@pytest.mark.parametrize("profile", BAD.values(), ids=BAD)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "CMYK", "P"])
def test_a_profile_that_is_damaged_is_ignored_with_a_word(profile: bytes, mode: str) -> None:
    image = scene().convert(mode)
    plain = images.rgb(image.copy())
    image.info["icc_profile"] = profile
    found = images.rgb(image)
    assert found.tobytes() == plain.tobytes()
    assert "ignored" in images.describe_changes(found)[0]


@pytest.mark.parametrize(
    ("mode", "name"), [("RGB", "grey 1.8"), ("RGB", "inks"), ("CMYK", "ProPhoto"), ("L", "inks")]
)
def test_a_profile_of_another_kind_of_colours_is_ignored_with_a_word(mode: str, name: str) -> None:
    image = scene().convert(mode)
    plain = images.rgb(image.copy())
    image.info["icc_profile"] = SPACES[name]
    found = images.rgb(image)
    assert found.tobytes() == plain.tobytes()
    assert f"not {mode}: ignored" in images.describe_changes(found)[0]


def test_cmyk_without_a_profile_is_converted_by_pillow_with_a_word() -> None:
    found = images.rgb(scene("CMYK"))
    assert found.tobytes() == scene("CMYK").convert("RGB").tobytes()
    assert "plain formula" in images.describe_changes(found)[0]


def test_flipped_bytes_in_a_profile_never_refuse_a_picture() -> None:
    draw, image = np.random.default_rng(0), scene()
    for name in ("Display P3", "grey 1.8", "inks"):
        image = scene(MODES.get(name, "RGB"))
        for _ in range(60):
            data = np.frombuffer(SPACES[name], np.uint8).copy()
            data[draw.integers(0, len(data), 4)] = draw.integers(0, 256, 4)
            image.info["icc_profile"] = data.tobytes()
            assert images.rgb(image).mode == "RGB"


def test_our_profile_is_srgb_and_the_same_every_day() -> None:
    data = colour.srgb_bytes()
    assert data[24:36] == colour.DATE and len(data) < 1024
    assert colour.is_srgb(ImageCms.ImageCmsProfile(io.BytesIO(data)), "RGB")


def test_the_settings_say_what_was_converted(editor: Editor, tmp_path: Path) -> None:
    from mdp_lite.pipeline.provenance import describe_source

    image = scene()
    image.info["icc_profile"] = SPACES["Display P3"]
    source = editor.invert(image, "a house", num_inference_steps=2)
    changes = describe_source("tiny", source)["picture_changes"]
    assert changes == ["its colours were converted from Display P3 to sRGB"]

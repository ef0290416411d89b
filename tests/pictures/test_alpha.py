"""Transparency: the model sees white, files of edits get the alpha channel of the picture back."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdp_lite import Editor
from mdp_lite.pictures import images
from mdp_lite.pictures.alpha import alpha_of, restore_alpha, reveal

NOISE = Image.effect_noise((32, 32), 90)


def clear(mode: str) -> Image.Image:
    """A picture that is opaque at the left, half transparent in the middle, clear at the right."""
    alpha = np.zeros((32, 32), np.uint8)
    alpha[:, :16], alpha[:, 16:24] = 255, 100
    image = NOISE.convert("RGB")
    image.putalpha(Image.fromarray(alpha))
    if mode == "P":
        image = NOISE.convert("P")
        image.info["transparency"] = bytes(range(256))
    return image.convert(mode) if mode != "P" else image


def alpha_channel(image: Image.Image) -> Image.Image:
    return image.convert("RGBA").getchannel("A")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGBa", "P"])
def test_a_picture_with_alpha_is_the_same_on_white_and_has_its_alpha(mode: str) -> None:
    shown = images.rgb(clear(mode))
    back = restore_alpha(shown)
    assert alpha_channel(back).tobytes() == alpha_channel(clear(mode)).tobytes()
    white = np.asarray(images.to_rgb(back)).astype(int)
    assert np.abs(white - np.asarray(shown)).max() <= 1
    opaque = np.asarray(alpha_channel(back)) == 255
    assert (np.asarray(back)[opaque][:, :3] == np.asarray(shown)[opaque]).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "1"])
def test_an_opaque_picture_has_no_alpha(mode: str) -> None:
    shown = images.rgb(NOISE.convert(mode))
    assert alpha_of(shown) is None and restore_alpha(shown) is shown


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_the_file_of_an_edit_has_the_alpha_of_its_picture(
    editor: Editor, tmp_path: Path, mode: str
) -> None:
    source = editor.invert(clear(mode), "a house", num_inference_steps=1)
    edit = editor.edit(source, "a red house")
    images.save_png(edit.picture, tmp_path / "a.png", {})
    with Image.open(tmp_path / "a.png") as written:
        assert written.mode == "RGBA" and edit.picture.mode == "RGB"
        assert alpha_channel(written).tobytes() == alpha_channel(clear(mode)).tobytes()


@pytest.mark.parametrize("paste", [True, False])
def test_what_a_mask_marks_is_opaque(editor: Editor, tmp_path: Path, paste: bool) -> None:
    """Or an edit of a hole could not be seen."""
    source = editor.invert(clear("RGBA"), "a house", num_inference_steps=1)
    edit = editor.edit(source, "a red house", mask=(24, 0, 32, 16), paste=paste)
    images.save_png(edit.picture, tmp_path / "a.png", {})
    with Image.open(tmp_path / "a.png") as written:
        alpha = np.asarray(alpha_channel(written))
    assert (alpha[:16, 24:] == 255).all()
    assert (alpha[16:, 24:] == 0).all() and (alpha[:, 16:24] == 100).all()


def test_an_upright_photo_has_its_alpha_upright() -> None:
    image = clear("RGBA")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.info["exif"] = exif.tobytes()
    alpha = alpha_of(images.rgb(image))
    assert alpha is not None
    turned = alpha_channel(clear("RGBA")).transpose(Image.Transpose.ROTATE_270)
    assert alpha.tobytes() == turned.tobytes()


def test_a_resized_picture_has_lost_it() -> None:
    small = images.rgb(clear("RGBA")).resize((8, 8))
    assert alpha_of(small) is None and restore_alpha(small) is small
    assert reveal(small, Image.new("L", (8, 8), 255)) is small

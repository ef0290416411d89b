"""Settings in PNG files: what is written reads back, and nothing else is there."""

import io
import json
import math
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mdp_lite.pictures import images

PICTURE = Image.effect_noise((16, 16), 60).convert("RGB")
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
    picture = PICTURE
    images.save_png(picture, tmp_path / "new" / "a.png", SETTINGS)
    assert images.read_settings(tmp_path / "new" / "a.png") == SETTINGS
    assert images.open_picture(tmp_path / "new" / "a.png").tobytes() == picture.tobytes()


def test_parameters_are_those_of_automatic1111(tmp_path: Path) -> None:
    images.save_png(PICTURE, tmp_path / "a.png", SETTINGS)
    assert images.open_picture(tmp_path / "a.png").info["parameters"] == (
        "a red house,\non the grass\n"
        "Negative prompt: rain\n"
        "Steps: 50, Sampler: DDIM, CFG scale: 7.5, Seed: 3, Size: 16x16, Model: tiny"
    )


def test_any_language_reads_back(tmp_path: Path) -> None:
    prompt = "ein Häuschen, 赤い家, \N{HOUSE BUILDING}"
    images.save_png(PICTURE, tmp_path / "a.png", {"prompt": prompt})
    assert images.read_settings(tmp_path / "a.png")["prompt"] == prompt
    assert images.open_picture(tmp_path / "a.png").info["parameters"].startswith(prompt)


def test_nothing_of_the_input_reaches_the_file(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "my home address"
    file = io.BytesIO()
    PICTURE.save(file, "PNG", exif=exif, icc_profile=b"my profile", dpi=(300, 300))
    carrier = Image.open(file)
    assert "exif" in carrier.info
    images.save_png(carrier, tmp_path / "a.png", {"prompt": "a"})
    with Image.open(tmp_path / "a.png") as saved:
        assert set(saved.info) == {"parameters", "mdp_lite", "srgb"}
    assert b"my " not in (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "3"])
def test_a_picture_without_settings_says_so(text: str | None, tmp_path: Path) -> None:
    chunk = PngInfo()
    if text is not None:
        chunk.add_text("mdp_lite", text)
    PICTURE.save(tmp_path / "a.png", pnginfo=chunk)
    with pytest.raises(ValueError, match="picture must hold mdp_lite settings, got none"):
        images.read_settings(tmp_path / "a.png")


def test_settings_are_json_without_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        images.save_png(PICTURE, tmp_path / "a.png", {"psnr": math.inf})
    images.save_png(PICTURE, tmp_path / "b.png", SETTINGS)
    assert json.loads(images.open_picture(tmp_path / "b.png").info["mdp_lite"]) == SETTINGS

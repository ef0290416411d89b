"""Pictures that a model can only blur are noticed, and its own pictures are not."""

import io
import logging
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from mdp_lite.cli.dry_run import dry_run_editor
from mdp_lite.editor import Editor
from mdp_lite.eval import world
from mdp_lite.eval.worlds import VILLAGE
from mdp_lite.pipeline.likeness import (
    describe_unlike,
    describe_unlike_source,
    is_unlike,
    measure_round_trip,
    warn_of_picture,
)
from mdp_lite.pipeline.warn import warn_unlike

SCENES = range(
    20_000_000, 20_000_200
)  # seeds that neither training nor the choice of the bound saw
PHOTOS = (("gradio", "media_assets/images"), ("matplotlib", "mpl-data/sample_data"))


@pytest.fixture(scope="module")
def tiny() -> Editor:
    return Editor.from_pretrained("tiny", device="cpu")


@pytest.fixture(scope="module")
def small() -> Editor:
    return Editor.from_pretrained("small", device="cpu")


def to_jpeg(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=75)
    return Image.open(file).convert("RGB")


def draw_landscape() -> Image.Image:
    """A sky over a field with texture of all sizes, as photos have it."""
    rng, y = np.random.default_rng(3), np.linspace(0, 1, 240)[:, None, None]
    levels = np.array([120, 160, 210]) * (1 - y) + np.array([90, 110, 60]) * y
    for side in (8, 16, 32, 64, 128):
        grain = Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8))
        grain = np.asarray(grain.resize((320, 240), Image.Resampling.BICUBIC), dtype=float)
        levels = levels + (grain[:, :, None] - 128) * 0.25
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def draw_portrait() -> Image.Image:
    """An oval face with hair and eyes before a soft background."""
    picture = Image.new("RGB", (300, 400), "#6b7f8a")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((60, 40, 240, 250), fill="#3a2a20")
    pen.ellipse((85, 80, 215, 290), fill="#e0b090")
    pen.rectangle((40, 300, 260, 400), fill="#24324a")
    for x in (115, 170):
        pen.ellipse((x, 160, x + 20, 172), fill="white")
        pen.ellipse((x + 6, 161, x + 15, 171), fill="#402010")
    pen.arc((120, 190, 180, 240), 20, 160, fill="#903030", width=6)
    return picture.filter(ImageFilter.GaussianBlur(2))


def draw_screenshot() -> Image.Image:
    """Lines of text on white."""
    picture = Image.new("RGB", (400, 300), "white")
    pen = ImageDraw.Draw(picture)
    for row in range(18):
        pen.text((12, 8 + 16 * row), "def edit(picture, prompt): return picture", fill="black")
    return picture


def draw_noise() -> Image.Image:
    levels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return Image.fromarray(levels)


OTHERS: dict[str, Callable[[], Image.Image]] = {
    "landscape": draw_landscape,
    "portrait": draw_portrait,
    "screenshot": draw_screenshot,
    "noise": draw_noise,
    "soft noise": lambda: draw_noise().filter(ImageFilter.GaussianBlur(2)),
    "black": lambda: Image.new("RGB", (200, 100)),
    "red": lambda: Image.new("RGB", (64, 64), "red"),
}


def test_of_200_fresh_scenes_at_most_two_are_warned_of(tiny: Editor) -> None:
    warned = [seed for seed in SCENES if is_unlike(tiny.runner, world.draw(world.sample(seed)))]
    assert len(warned) <= 2


@pytest.mark.parametrize(
    "change", [to_jpeg, lambda one: one.resize((256, 256))], ids=["jpeg", "large"]
)
def test_a_scene_that_was_saved_or_enlarged_is_still_one(
    tiny: Editor, change: Callable[[Image.Image], Image.Image]
) -> None:
    pictures = [change(world.draw(world.sample(seed))) for seed in SCENES[:20]]
    assert not any(is_unlike(tiny.runner, one) for one in pictures)


@pytest.mark.parametrize("name", ["landscape", "screenshot", "noise", "red"])
def test_small_is_told_from_its_village(name: str, small: Editor) -> None:
    """Its bound is below all of its world, and notes fewer pictures than that of tiny."""
    scenes = [VILLAGE.draw(VILLAGE.sample(seed)) for seed in SCENES[:20]]
    assert not any(is_unlike(small.runner, one) for one in scenes)
    (sentence,) = describe_unlike(small.runner, OTHERS[name]())
    assert sentence.startswith(f"the model was trained on {VILLAGE.pictures} of 128x128 pixels")


@pytest.mark.parametrize("name", OTHERS)
def test_another_picture_is_warned_of(name: str, tiny: Editor) -> None:
    (sentence,) = describe_unlike(tiny.runner, OTHERS[name]())
    assert sentence.startswith("the model was trained on synthetic scenes of 64x64 pixels")
    assert "--model" in sentence and "blurred" in sentence


def list_photos() -> list[Path]:
    """Photos that installed packages carry."""
    found: list[Path] = []
    for package, folder in PHOTOS:
        if (spec := find_spec(package)) and spec.origin:
            found += sorted((Path(spec.origin).parent / folder).glob("*.jp*g"))
    return found


def test_real_photos_are_warned_of(tiny: Editor) -> None:
    photos = list_photos()
    if not photos:
        pytest.skip("no installed package carries a photo")
    for path in photos:
        assert is_unlike(tiny.runner, Image.open(path).convert("RGB")), path.name


def test_the_models_own_edits_are_like_its_pictures(tiny: Editor) -> None:
    source = tiny.generate("a red house on the left, grass, night", seed=3, num_inference_steps=10)
    edited = tiny.edit(source, "a blue house on the left, grass, night").picture
    assert measure_round_trip(tiny.runner, edited) > 27


def test_a_source_says_it_of_its_picture_alone(tiny: Editor) -> None:
    noise = tiny.invert(draw_noise(), num_inference_steps=2)
    assert describe_unlike_source(tiny.runner, noise) == describe_unlike(tiny.runner, draw_noise())
    assert describe_unlike_source(tiny.runner, tiny.generate("a", num_inference_steps=2)) == []


def test_a_model_that_says_nothing_warns_of_nothing(editor: Editor, tiny: Editor) -> None:
    assert describe_unlike(editor.runner, draw_noise()) == []
    assert describe_unlike(dry_run_editor(tiny).runner, draw_noise()) == []  # its VAE is a stub
    loose = replace(tiny.models, knowledge=tiny.models.knowledge.with_addons(loras=True, vae=False))
    assert describe_unlike(Editor(loose, tiny.device).runner, draw_noise()) == []


def test_it_is_logged_once(tiny: Editor, caplog: pytest.LogCaptureFixture) -> None:
    warn_unlike.cache_clear()
    with caplog.at_level(logging.WARNING, "mdp_lite"):
        for picture in (draw_noise(), draw_screenshot(), world.draw(world.sample(5))):
            warn_of_picture(tiny.runner, picture)
    assert caplog.messages == describe_unlike(tiny.runner, draw_noise())

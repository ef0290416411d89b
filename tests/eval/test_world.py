"""The synthetic world: reproducible scenes, exact masks, captions from a small vocabulary."""

import random
from dataclasses import asdict, replace
from itertools import combinations

import numpy as np
import pytest

from mdp_lite.eval import landscape, paint, world

SEEDS = range(24)


def pixels(scene: world.Scene) -> np.ndarray:
    return np.asarray(world.draw(scene), np.float64)


def other_value(scene: world.Scene, field: str) -> str:
    values = world.FIELDS[field]
    return values[(values.index(getattr(scene, field)) + 1) % len(values)]


def test_one_seed_is_one_scene_and_one_picture() -> None:
    assert world.sample(7) == world.sample(7)
    assert world.sample(7) != world.sample(8)
    assert np.array_equal(pixels(world.sample(7)), pixels(world.sample(7)))


def test_every_value_of_every_named_field_is_sampled() -> None:
    scenes = [world.sample(seed) for seed in range(400)]
    for field, values in world.FIELDS.items():
        assert {getattr(scene, field) for scene in scenes} == set(values)


@pytest.mark.parametrize("size", [48, 64, 128])
def test_a_picture_is_rgb_of_the_asked_size(size: int) -> None:
    picture = world.draw(world.sample(3), size)
    assert (picture.mode, picture.size) == ("RGB", (size, size))


@pytest.mark.parametrize("field", world.FIELDS)
def test_change_sets_one_field_and_keeps_the_others(field: str) -> None:
    scene = world.sample(5)
    value = other_value(scene, field)
    assert asdict(world.change(scene, field, value)) == asdict(scene) | {field: value}


@pytest.mark.parametrize("field", world.FIELDS)
def test_a_change_is_visible_and_stays_inside_the_masks(field: str) -> None:
    for seed in SEEDS:
        before = world.sample(seed)
        after = world.change(before, field, other_value(before, field))
        moved = np.abs(pixels(before) - pixels(after)).sum(axis=-1)
        owned = world.mask(before, field) | world.mask(after, field)
        assert moved[owned].mean() > 2, f"seed {seed}: {field} barely shows"
        assert moved[owned].sum() > 0.98 * moved.sum(), f"seed {seed}: {field} leaks"


@pytest.mark.parametrize("field", [*world.FIELDS, "companion"])
def test_masks_are_boolean_and_not_empty(field: str) -> None:
    scene = replace(world.sample(1), companion="rock")
    owned = world.mask(scene, field, 32)
    assert owned.dtype == np.bool_ and owned.shape == (32, 32) and owned.any()


def test_no_companion_owns_no_pixel() -> None:
    assert not world.mask(replace(world.sample(1), companion="none"), "companion").any()


def test_the_companion_is_whole_and_clear_of_the_object() -> None:
    for seed in range(150):
        scene = world.sample(seed)
        body = paint.object_cast(scene, 64).body.alpha
        companion = paint.companion_cast(scene, 64).body.alpha
        assert not ((body > 0) & (companion > 0)).any(), seed
        half = paint.COMPANION_HEIGHT / 2
        assert half <= paint.companion_x(scene) <= 1 - half


def test_objects_keep_to_their_bands_below_the_sun() -> None:
    for seed in range(150):
        scene = world.sample(seed)
        assert abs(paint.object_x(scene) - paint.BANDS[scene.position]) <= 0.0501
        disc = landscape.disc_distance(scene, 64) < landscape.DISC
        assert not (disc & (paint.object_cast(scene, 64).body.alpha > 0)).any()


@pytest.mark.parametrize("time", world.FIELDS["time"])
@pytest.mark.parametrize("weather", world.FIELDS["weather"])
def test_object_colours_differ_in_any_light(time: str, weather: str) -> None:
    scene = replace(world.sample(2), object="mushroom", time=time, weather=weather)
    body = paint.object_cast(scene, 64).body.alpha > 0.99
    means = {
        color: pixels(world.change(scene, "color", color))[body].mean(axis=0)
        for color in world.FIELDS["color"]
    }
    for one, other in combinations(means, 2):
        assert np.linalg.norm(means[one] - means[other]) > 20, (one, other)


@pytest.mark.parametrize("time", world.FIELDS["time"])
@pytest.mark.parametrize("weather", world.FIELDS["weather"])
def test_grounds_differ_in_any_light(time: str, weather: str) -> None:
    scene = replace(world.sample(2), time=time, weather=weather)
    values = world.FIELDS["ground"]
    means = {g: pixels(world.change(scene, "ground", g))[40:].mean(axis=(0, 1)) for g in values}
    for one, other in combinations(means, 2):
        assert np.linalg.norm(means[one] - means[other]) > 12, (one, other)


def test_captions_keep_to_the_vocabulary_and_the_length() -> None:
    rng = random.Random(0)
    used: set[str] = set()
    for seed in range(2000):
        scene = world.sample(seed)
        texts = [world.random_caption(scene, rng), world.caption(scene, form="sentence")]
        for text in [*texts, world.caption(scene)]:
            words = text.replace(",", " ,").split()
            assert 0 < len(words) <= 24, text
            used.update(words)
    assert used == set(world.WORDS)
    assert len(world.WORDS) == len(set(world.WORDS)) < 50


def test_a_full_caption_names_all_fields_and_nothing_else() -> None:
    for form in ("comma", "sentence"):
        texts: dict[str, tuple[str, ...]] = {}
        for seed in range(600):
            scene = world.sample(seed)
            named = tuple(getattr(scene, field) for field in world.FIELDS)
            assert texts.setdefault(world.caption(scene, form=form), named) == named


EXAMPLE = replace(
    world.sample(0), object="house", color="red", position="left", ground="grass", time="night",
    weather="foggy", light="shown",
)  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "form", "text"),
    [
        (tuple(world.FIELDS), "comma", "a red house on the left, grass, foggy night with the moon"),
        (
            tuple(world.FIELDS),
            "sentence",
            "on a foggy night with the moon, a red house stands on the left, on the grass",
        ),
        (("object",), "comma", "a house"),
        (("object", "color"), "sentence", "a red house"),
        (("color", "position"), "comma", "something red on the left"),
        (("object", "ground"), "sentence", "a house on the grass"),
        (("object", "time"), "sentence", "a house at night"),
        (("object", "light"), "comma", "a house with a light in the sky"),
        (("object", "ground", "light"), "comma", "a house, grass with a light in the sky"),
        (("ground", "time"), "comma", "grass, night"),
        (("weather",), "sentence", "foggy weather"),
        (("light",), "comma", "a light in the sky"),
    ],
)
def test_captions_read_as_english(fields: tuple[str, ...], form: str, text: str) -> None:
    assert world.caption(EXAMPLE, fields, form) == text


def test_random_captions_name_the_object_in_about_nine_of_ten() -> None:
    rng = random.Random(1)
    texts = [(s.object, world.random_caption(s, rng)) for s in map(world.sample, range(1500))]
    named = sum(name in text.replace(",", "").split() for name, text in texts)
    assert 0.86 < named / len(texts) < 0.94


def test_training_never_sees_about_one_combination_in_twenty() -> None:
    scenes = [world.sample(seed) for seed in range(6000)]
    share = sum(world.is_held_back(scene) for scene in scenes) / len(scenes)
    assert 0.035 < share < 0.065
    assert all(
        world.is_held_back(s) == world.is_held_back(replace(s, dx=0.5)) for s in scenes[:200]
    )


def test_wrong_fields_and_values_are_named() -> None:
    scene = world.sample(0)
    with pytest.raises(ValueError, match="color must be one of red, .*, got 'pink'"):
        world.change(scene, "color", "pink")
    with pytest.raises(ValueError, match="field must be one of object, .*, got 'mood'"):
        world.change(scene, "mood", "calm")
    with pytest.raises(ValueError, match="field must be one of object, .*, got 'mood'"):
        world.mask(scene, "mood")
    with pytest.raises(ValueError, match="fields must be among object, .*, got 'mood'"):
        world.caption(scene, ("mood",))
    with pytest.raises(ValueError, match="at least one field"):
        world.caption(scene, ())
    with pytest.raises(ValueError, match="form must be comma or sentence, got 'poem'"):
        world.caption(scene, form="poem")

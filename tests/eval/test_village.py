"""The village: reproducible scenes, masks that hold what a field changes, colours that differ."""

from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdp_lite.eval.village import casts, world

SEEDS = range(12)
DAYLIGHT = replace(
    world.sample(2), weather="clear", time="day", style="photo", material="plain", count="one",
    friend="none", position="center", ground="meadow", season="summer",
)  # fmt: skip


def pixels(scene: world.VillageScene) -> np.ndarray:
    return np.asarray(world.draw(scene), np.float64)


def difference(one: world.VillageScene, other: world.VillageScene) -> np.ndarray:
    return np.abs(pixels(one) - pixels(other)).sum(axis=-1)


def other_value(scene: world.VillageScene, field: str, step: int = 1) -> str:
    values = world.FIELDS[field]
    return values[(values.index(getattr(scene, field)) + step) % len(values)]


def test_one_seed_is_one_scene_and_one_picture() -> None:
    assert world.sample(7) == world.sample(7)
    assert world.sample(7) != world.sample(8)
    assert np.array_equal(pixels(world.sample(7)), pixels(world.sample(7)))


def test_pictures_are_those_that_the_second_model_is_trained_on() -> None:
    """village.png has the first eight seeds' pictures, reduced to 32 x 32."""
    strip = np.asarray(Image.open(Path(__file__).with_name("village.png")), np.float64)
    for seed in range(8):
        small = np.asarray(world.draw(world.sample(seed)).reduce(4), np.float64)
        off = np.abs(strip[:, 32 * seed : 32 * (seed + 1)] - small)
        assert off.mean() < 0.5, f"seed {seed}: trained weights need the pictures that they saw"


def test_every_value_of_every_named_field_is_sampled() -> None:
    scenes = [world.sample(seed) for seed in range(600)]
    for field, values in world.FIELDS.items():
        assert {getattr(scene, field) for scene in scenes} == set(values)


def test_the_world_is_as_rich_as_its_issue_asks() -> None:
    assert len(world.FIELDS["object"]) >= 14
    assert len(world.WORDS) >= 120
    assert len(world.WORDS) == len(set(world.WORDS))


@pytest.mark.parametrize("size", [64, 128, 192])
def test_a_picture_is_rgb_of_the_asked_size(size: int) -> None:
    picture = world.draw(world.sample(3), size)
    assert (picture.mode, picture.size) == ("RGB", (size, size))


@pytest.mark.parametrize("style", ["photo", "watercolor"])  # lines of others are of pixel width
def test_a_larger_picture_shows_the_same_scene(style: str) -> None:
    scene = replace(world.sample(4), style=style)
    small = np.asarray(world.draw(scene, 64).convert("L"), np.float64)
    large = np.asarray(world.draw(scene, 128).convert("L").reduce(2), np.float64)
    assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("field", world.FIELDS)
def test_change_sets_one_field_and_no_other(field: str) -> None:
    scene = world.sample(5)
    value = other_value(scene, field)
    assert asdict(world.change(scene, field, value)) == asdict(scene) | {field: value}


@pytest.mark.parametrize("field", world.FIELDS)
def test_a_change_is_visible_and_stays_inside_the_masks(field: str) -> None:
    for seed in SEEDS:
        first = world.sample(seed)
        if field == "friend_color" and first.friend == "none":
            continue
        second = world.change(first, field, other_value(first, field))
        moved = difference(first, second)
        owned = world.mask(first, field) | world.mask(second, field)
        assert moved[owned].mean() > 1, f"seed {seed}: {field} barely shows"
        assert moved[owned].sum() > 0.98 * moved.sum(), f"seed {seed}: {field} leaks"


def test_without_a_friend_its_colour_changes_nothing_and_owns_no_pixel() -> None:
    scene = replace(world.sample(1), friend="none")
    other = replace(scene, friend_color=other_value(scene, "friend_color"))
    assert not difference(scene, other).any()
    assert not world.mask(scene, "friend_color").any()
    assert world.is_held_back(scene) == world.is_held_back(other)


@pytest.mark.parametrize("field", world.FIELDS)
def test_masks_are_boolean_and_not_empty(field: str) -> None:
    owned = world.mask(replace(world.sample(1), friend="dog"), field, 64)
    assert owned.dtype == np.bool_ and owned.shape == (64, 64) and owned.any()


@pytest.mark.parametrize("thing", world.FIELDS["object"])
def test_without_its_things_a_scene_differs_inside_their_mask_alone(thing: str) -> None:
    scene = replace(world.sample(9), object=thing, style="photo")
    bare = np.asarray(world.draw_without_object(scene), np.float64)
    moved = np.abs(pixels(scene) - bare).sum(axis=-1)
    owned = world.mask(scene, "object")
    assert moved[owned].mean() > 20
    assert moved[owned].sum() > 0.98 * moved.sum()


@pytest.mark.parametrize("count", world.FIELDS["count"])
def test_things_stand_whole_inside_the_picture(count: str) -> None:
    for seed in range(40):
        scene = replace(world.sample(seed), count=count)
        for spot in (*casts.group_spots(scene), casts.friend_spot(scene)):
            assert spot.height / 2 <= spot.x + 1e-9 and spot.x <= 1 - spot.height / 2 + 1e-9
            assert 1.1 * spot.height <= spot.base - spot.lift and spot.base < 1


def test_the_friend_stays_clear_of_the_group_s_middle() -> None:
    for seed in range(60):
        scene = world.sample(seed)
        spots = casts.group_spots(scene)
        middle = sum(spot.x for spot in spots) / len(spots)
        assert abs(casts.friend_spot(scene).x - middle) > 0.28


@pytest.mark.parametrize("style", world.FIELDS["style"])
@pytest.mark.parametrize("time", world.FIELDS["time"])
def test_colours_of_things_differ_in_any_light_and_style(style: str, time: str) -> None:
    scene = replace(DAYLIGHT, object="balloon", time=time, style=style)
    (cast,) = casts.cast_group(scene, world.SIZE)
    means = {
        color: pixels(world.change(scene, "color", color))[cast.alpha > 0.99].mean(axis=0)
        for color in world.FIELDS["color"]
    }
    for one, other in combinations(means, 2):
        assert np.linalg.norm(means[one] - means[other]) > 8, (one, other)


FIELDS_OF_A_LOOK = ("material", "ground", "backdrop", "season", "time", "weather")


@pytest.mark.parametrize("style", world.FIELDS["style"])
@pytest.mark.parametrize("field", FIELDS_OF_A_LOOK)
def test_values_of_a_field_differ_in_any_style(style: str, field: str) -> None:
    scene = replace(DAYLIGHT, object="house", style=style)
    for one, other in combinations(world.FIELDS[field], 2):
        first, second = (world.change(scene, field, value) for value in (one, other))
        owned = world.mask(first, field) | world.mask(second, field)
        assert difference(first, second)[owned].mean() > 2, (one, other)


@pytest.mark.parametrize("color", world.FIELDS["color"])
@pytest.mark.parametrize("thing", ["house", "cat", "car", "balloon"])
def test_every_material_shows_on_every_colour(color: str, thing: str) -> None:
    scene = replace(DAYLIGHT, object=thing, color=color)
    inside = world.mask(scene, "color")
    for one, other in combinations(world.FIELDS["material"], 2):
        first, second = (world.change(scene, "material", value) for value in (one, other))
        assert difference(first, second)[inside].mean() > 9, (one, other)


def test_training_never_sees_about_one_combination_in_twenty() -> None:
    scenes = [world.sample(seed) for seed in range(6000)]
    share = sum(world.is_held_back(scene) for scene in scenes) / len(scenes)
    assert 0.035 < share < 0.065
    assert all(
        world.is_held_back(s) == world.is_held_back(replace(s, dx=0.5)) for s in scenes[:200]
    )


def test_wrong_fields_and_values_are_named() -> None:
    scene = world.sample(0)
    with pytest.raises(ValueError, match="color must be one of red, .*, got 'black'"):
        world.change(scene, "color", "black")
    with pytest.raises(ValueError, match="field must be one of object, .*, got 'mood'"):
        world.change(scene, "mood", "calm")
    with pytest.raises(ValueError, match="field must be one of object, .*, got 'mood'"):
        world.mask(scene, "mood")

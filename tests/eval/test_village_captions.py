"""Captions of the village: true to the record, of known words, English in three forms."""

import random
from dataclasses import replace

import pytest

from mdp_lite.eval.village import world
from mdp_lite.eval.village.captions import FORMS
from mdp_lite.eval.village.record import USUAL
from train_tiny.small import SMALL

LONGEST = SMALL.length - 2  # tokens of a prompt without its start and end


def split_words(text: str) -> list[str]:
    return text.replace(",", " ,").split()


def named_values(scene: world.VillageScene) -> tuple[str, ...]:
    """All that a full caption says: without a friend there is no colour of it."""
    values = {field: getattr(scene, field) for field in world.FIELDS}
    if scene.friend == "none":
        values["friend_color"] = ""
    return tuple(values.values())


def test_captions_use_every_word_and_no_other_and_fit_the_prompt() -> None:
    rng, used = random.Random(0), set()
    for seed in range(2500):
        scene = world.sample(seed)
        full = [world.caption(scene, form=form, rng=rng) for form in FORMS]
        for text in (world.random_caption(scene, rng), *full):
            words = split_words(text)
            assert 0 < len(words) <= LONGEST, text
            used.update(words)
    assert used == set(world.WORDS)


def test_a_full_caption_names_all_fields_whatever_its_form_and_synonyms() -> None:
    rng, texts = random.Random(1), {}
    for seed in range(1500):
        scene = world.sample(seed)
        for form in FORMS:
            text = world.caption(scene, form=form, rng=rng)
            assert texts.setdefault(text, named_values(scene)) == named_values(scene)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("field", world.FIELDS)
def test_each_value_of_a_field_has_its_own_full_caption(field: str, form: str) -> None:
    scene = replace(world.sample(3), friend="cat")
    scenes = [world.change(scene, field, value) for value in world.FIELDS[field]]
    assert len({world.caption(one, form=form) for one in scenes}) == len(scenes)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("field", world.FIELDS)
def test_one_field_alone_can_be_named(field: str, form: str) -> None:
    for seed in range(20):
        assert world.caption(world.sample(seed), (field,), form)


def test_lengths_run_from_three_words_to_full() -> None:
    rng = random.Random(2)
    scenes = [world.sample_training(s) for s in range(1500)]
    lengths = [len(split_words(world.random_caption(one, rng))) for one in scenes]
    assert sum(length <= 3 for length in lengths) > 20
    assert sum(length >= 30 for length in lengths) > 100


EXAMPLE = replace(
    world.sample(0), object="cat", color="red", material="striped", count="three",
    position="left", friend="windmill", friend_color="blue", ground="meadow", backdrop="hills",
    season="winter", time="night", weather="foggy", light="shown", style="ink",
)  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "form", "text"),
    [
        (
            tuple(world.FIELDS),
            "comma",
            "ink drawing of three red striped cats on the left, beside a blue windmill, "
            "on a meadow, before the hills, foggy winter night with the moon",
        ),
        (
            tuple(world.FIELDS),
            "sentence",
            "on a foggy winter night with the moon, three red striped cats stand on the left, "
            "beside a blue windmill, on a meadow before the hills, as an ink drawing",
        ),
        (
            tuple(world.FIELDS),
            "title",
            "three red striped cats and a blue windmill on a meadow before the hills, winter, "
            "foggy, at night, with the moon, on the left, ink drawing",
        ),
        (
            ("object", "color"),
            "comma",
            "ink drawing of three red striped cats on the left, beside a windmill, foggy winter",
        ),
        (("time",), "sentence", "on a foggy winter night, as an ink drawing"),
        (("ground",), "title", "on a meadow, winter, foggy, ink drawing"),
    ],
)
def test_captions_read_as_english(fields: tuple[str, ...], form: str, text: str) -> None:
    assert world.caption(EXAMPLE, fields, form) == text


PLAIN = replace(EXAMPLE, **USUAL)
UNUSUAL = {
    "material": "metal", "count": "two", "position": "left", "friend": "dog", "season": "winter",
    "weather": "rainy", "light": "none", "style": "neon",
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "form", "text"),
    [
        (("object",), "comma", "a cat"),
        (("object", "color"), "sentence", "a red cat"),
        (("color",), "comma", "something red"),
        (("count", "color"), "comma", "one red thing"),
        (("object", "friend"), "comma", "a cat, alone"),
        (("object", "friend"), "title", "a cat alone"),
        (("object", "season"), "sentence", "in summer, a cat"),
        (("weather", "time"), "sentence", "on a clear night"),
        (("ground", "backdrop"), "comma", "on a meadow, before the hills"),
        (("object", "light"), "comma", "a cat, with a light in the sky"),
        (("style", "object"), "comma", "photo of a cat"),
    ],
)
def test_what_is_usual_may_be_left_out(fields: tuple[str, ...], form: str, text: str) -> None:
    assert world.caption(PLAIN, fields, form) == text


@pytest.mark.parametrize("field", USUAL)
@pytest.mark.parametrize("form", FORMS)
def test_what_is_unusual_is_named_in_any_case(field: str, form: str) -> None:
    scene = replace(PLAIN, **{field: UNUSUAL[field]})
    assert world.caption(scene, ("object",), form) == world.caption(scene, ("object", field), form)
    assert world.caption(scene, ("object",), form) != world.caption(PLAIN, ("object",), form)


def test_a_caption_without_things_leaves_all_of_them_out() -> None:
    scene = replace(PLAIN, count="three", friend="dog", material="metal", position="left")
    assert world.caption(scene, ("ground",)) == "on a meadow"


def test_a_friend_is_named_beside_the_thing() -> None:
    scene = replace(PLAIN, friend="windmill")
    assert world.caption(scene, ("object",), "title") == "a cat and a windmill"
    assert world.caption(scene, ("object", "friend_color")) == "a cat, beside a blue windmill"


def test_a_third_of_the_scenes_of_training_are_calm() -> None:
    scenes = [world.sample_training(seed) for seed in range(3000)]
    calm = [one != world.sample(seed) for seed, one in enumerate(scenes)]
    usual = [all(getattr(one, f) == v for f, v in USUAL.items()) for one in scenes]
    assert 0.30 < sum(calm) / len(calm) < 0.36
    assert 0.08 < sum(usual) / len(usual) < 0.14


def test_wrong_fields_and_forms_are_named() -> None:
    scene = world.sample(0)
    with pytest.raises(ValueError, match="fields must be among object, .*, got 'mood'"):
        world.caption(scene, ("mood",))
    with pytest.raises(ValueError, match="at least one field"):
        world.caption(scene, ())
    with pytest.raises(ValueError, match="form must be one of comma, .*, got 'poem'"):
        world.caption(scene, form="poem")

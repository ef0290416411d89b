"""What a checkpoint says that its model knows: read strictly, and true of the bundled models."""

import json
import shutil
from pathlib import Path

import pytest

from mdp_lite import BadCheckpoint, Editor
from mdp_lite.checkpoint.knowledge import Knowledge, split_settings
from mdp_lite.eval import world
from mdp_lite_weights import locate
from train_tiny.export import defaults
from train_tiny.recipe import TINY as FIRST
from train_tiny.recipe import Recipe
from train_tiny.small import SMALL

TINY = locate("tiny")
WORDS = {"words": ["a", "Red", "blue", "house"]}


@pytest.mark.parametrize("recipe", [FIRST, SMALL], ids=lambda one: one.name)
def test_a_bundled_model_says_what_its_recipe_writes(recipe: Recipe) -> None:
    written = json.loads((locate(recipe.name) / "mdp_lite.json").read_text("utf-8"))
    again = json.loads(json.dumps(defaults(recipe)))
    assert {key: written[key] for key in again} == again


@pytest.mark.parametrize("recipe", [FIRST, SMALL], ids=lambda one: one.name)
def test_its_groups_are_the_worlds_in_their_order(recipe: Recipe) -> None:
    knowledge = Editor.from_pretrained(recipe.name, device="cpu").models.knowledge
    assert list(knowledge.groups) == list(recipe.world.groups.items())
    named = {word for _, words in knowledge.all_groups for word in words}
    assert named == knowledge.words and knowledge.all_groups[-1][0] == ""


def test_the_groups_of_the_first_world_have_its_fields() -> None:
    fields = {
        word for field in ("object", "color", "position", "ground") for word in world.FIELDS[field]
    }
    assert fields <= {word for words in world.GROUPS.values() for word in words}


def test_words_without_groups_are_one_group_without_a_name() -> None:
    others, found = split_settings(WORDS | {"guidance_scale": 2.0})
    assert others == {"guidance_scale": 2.0}
    assert found.all_groups == (("", ("a", "blue", "house", "red")),)
    assert split_settings({}) == ({}, Knowledge()) and Knowledge().all_groups == ()


def test_addons_change_what_is_true() -> None:
    found = Knowledge(frozenset({"a"}), (), "scenes", 20.0)
    assert found.with_addons(loras=False, vae=False) == found
    assert found.with_addons(loras=False, vae=True) == found._replace(least_psnr=None)
    assert found.with_addons(loras=True, vae=True) == Knowledge()


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ({"words": ["a", 1]}, "words must be a list of words, got"),
        (WORDS | {"groups": ["red"]}, "groups must be lists of words by name, got"),
        (WORDS | {"groups": {"colours": "red"}}, "groups must be lists of words by name, got"),
        (WORDS | {"groups": {"colours": ["green"]}}, "only words of the list, each once, got"),
        (WORDS | {"groups": {"one": ["red"], "two": ["RED"]}}, "each once, got 'red'"),
        ({"groups": {"colours": ["red"]}}, "each once, got 'red'"),
        ({"pictures": ["scenes"]}, "pictures must be a text of at most 80 characters, got"),
        ({"pictures": "s" * 81}, "pictures must be a text of at most 80 characters, got"),
        ({"least_psnr": 20.0}, "least_psnr must be 0 to 100 dB, and pictures beside it, got 20.0"),
        ({"pictures": "scenes", "least_psnr": "20"}, "least_psnr must be 0 to 100 dB"),
        ({"pictures": "scenes", "least_psnr": True}, "least_psnr must be 0 to 100 dB"),
        ({"pictures": "scenes", "least_psnr": float("nan")}, "least_psnr must be 0 to 100 dB"),
    ],
)  # fmt: skip
def test_bad_knowledge_is_refused(
    raw: dict[str, object], sentence: str, checkpoint: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "model")
    (folder / "mdp_lite.json").write_text(json.dumps(raw))
    with pytest.raises(BadCheckpoint) as caught:
        Editor.from_pretrained(folder, device="cpu")
    assert "mdp_lite.json: " in str(caught.value) and sentence in str(caught.value)

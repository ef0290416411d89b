"""Edits of the village: unseen answers that differ as the kind says, and prompts that show it."""

from itertools import islice

import pytest

from mdp_lite.eval.cases import EditCase
from mdp_lite.eval.village import edits, world
from mdp_lite.eval.village.record import USUAL

SOME = {kind: tuple(islice(edits.iterate_village_edits(kind, "tune"), 12)) for kind in edits.KINDS}


def changed(case: EditCase) -> set[str]:
    pair = (case.source_scene, case.target_scene)
    return {name for name in world.FIELDS if len({getattr(one, name) for one in pair}) == 2}


@pytest.mark.parametrize("kind", edits.KINDS)
def test_equal_calls_give_equal_edits_of_unseen_scenes(kind: str) -> None:
    assert tuple(islice(edits.iterate_village_edits(kind, "tune"), 12)) == SOME[kind]
    for case in SOME[kind]:
        assert world.is_held_back(case.source_scene) and world.is_held_back(case.target_scene)
        assert case.source_scene == world.sample(case.seed)
        assert case.source != case.target


@pytest.mark.parametrize("kind", edits.KINDS)
def test_an_edit_changes_what_its_kind_says(kind: str) -> None:
    for case in SOME[kind]:
        before_friend = case.source_scene.friend
        if kind == "two":
            assert len(changed(case)) == 2
        elif kind in ("add", "remove"):
            assert changed(case) == {"friend"} and (before_friend == "none") == (kind == "add")
        else:
            assert changed(case) == {kind}


def test_prompts_name_the_object_the_change_and_what_is_unusual() -> None:
    for cases in SOME.values():
        for case in cases:
            for scene, text in ((case.source_scene, case.source), (case.target_scene, case.target)):
                assert scene.object in text.replace("snowmen", "snowman")
                for field in ("material", "season"):
                    value = getattr(scene, field)
                    named = field in changed(case) or value != USUAL[field]
                    assert (value in text.replace(",", "").split()) == named


def test_splits_share_no_scene() -> None:
    seeds = [
        {case.seed for case in islice(edits.iterate_village_edits("color", split), 5)}
        for split in edits.SPLITS
    ]
    assert len(set.union(*seeds)) == 5 * len(seeds)


def test_unknown_kinds_and_splits_are_named() -> None:
    with pytest.raises(ValueError, match="kind must be one of object, .*, got 'mood'"):
        next(edits.iterate_village_edits("mood", "tune"))
    with pytest.raises(ValueError, match="split must be one of tune, .*, got 'all'"):
        next(edits.iterate_village_edits("color", "all"))

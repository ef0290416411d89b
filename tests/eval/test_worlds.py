"""The worlds as records: the benchmark of edits on the village, and its scores."""

import json
from itertools import islice
from pathlib import Path

import pytest
from torch import nn

from mdp_lite.__main__ import main
from mdp_lite.editor import Editor
from mdp_lite.eval import edits_command
from mdp_lite.eval.cases import EditCase
from mdp_lite.eval.edit_batches import CASES
from mdp_lite.eval.edit_scores import edit_regions, lack_change, object_overlap, score_edits
from mdp_lite.eval.edits import KINDS, find_changes
from mdp_lite.eval.score import render
from mdp_lite.eval.worlds import POSTCARDS, VILLAGE, find_world, list_changed_fields
from support.village_model import know_pictures, without_training, write_village_model

FEW = ["bench", "edits", "--pictures", "1", "--steps", "3", "--quiet", "--kinds", "color,add"]
METHODS = "mdp-x-inverted,mdp-local,p2p-replace,pnp-features"
READER = nn.Identity()  # know_pictures asks none


def some(kind: str, count: int = 2) -> list[EditCase]:
    return list(islice(VILLAGE.iterate_edits(kind, "report"), count))


@pytest.fixture(scope="module")
def village_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_village_model(tmp_path_factory.mktemp("village") / "toy", channels=8)


def test_a_model_says_which_world_it_knows(village_model: Path, editor: Editor) -> None:
    village = Editor.from_pretrained(village_model, device="cpu")
    assert find_world(village.models.knowledge.pictures) is VILLAGE
    assert find_world(editor.models.knowledge.pictures) is POSTCARDS  # it says nothing
    tiny = Editor.from_pretrained("tiny", device="cpu").models.knowledge
    assert tiny.pictures == POSTCARDS.pictures and find_world(tiny.pictures) is POSTCARDS
    assert VILLAGE.pictures != POSTCARDS.pictures


def test_worlds_have_the_ten_kinds_and_words_in_one_group_at_most() -> None:
    assert set(KINDS) <= set(VILLAGE.kinds) and POSTCARDS.kinds is KINDS
    for world in (POSTCARDS, VILLAGE):
        words = [word for group in world.groups.values() for word in group]
        assert len(set(words)) == len(words) and set(words) <= set(world.words)


def test_changes_of_the_first_world_are_those_of_its_records() -> None:
    for kind in POSTCARDS.kinds:
        case = next(POSTCARDS.iterate_edits(kind, "report"))
        pair = case.source_scene, case.target_scene
        assert list_changed_fields(POSTCARDS, *pair) == find_changes(*pair)


def test_a_friend_who_comes_or_goes_changes_its_colour_too() -> None:
    for kind in ("add", "remove"):
        pair = (case := some(kind, 1)[0]).source_scene, case.target_scene
        assert list_changed_fields(VILLAGE, *pair) == ("friend", "friend_color")


@pytest.mark.parametrize("kind", ["object", "position", "style", "add", "two"])
def test_in_the_village_doing_nothing_wins_nothing_and_the_truth_wins_all(kind: str) -> None:
    cases = some(kind)
    scenes = [scene for case in cases for scene in (case.source_scene, case.target_scene)]
    world = know_pictures(scenes)
    source, target = (render(scenes[i::2], VILLAGE.draw) for i in (0, 1))
    still, done = (score_edits(READER, cases, source, p, True, world) for p in (source, target))
    assert sum(still["right"]) == sum(still["both"]) == 0
    assert still["fields"] == still["kept"] == done["both"] == [1.0] * 2
    assert min(done["psnr"]) > 100 and min(done["ssim"]) > 0.9999
    assert lack_change(READER, cases, source, world) == [True] * 2
    assert lack_change(READER, cases, target, world) == [False] * 2


def test_in_the_village_answers_differ_inside_the_region_alone() -> None:
    for kind in ("color", "ground", "remove"):
        cases = some(kind, 2)
        source = render((case.source_scene for case in cases), VILLAGE.draw)
        target = render((case.target_scene for case in cases), VILLAGE.draw)
        far = ((source - target).abs().amax(1) > 0.1) & ~edit_regions(cases, VILLAGE)
        assert far.float().mean() < 0.01, kind


def test_in_the_village_things_that_are_gone_are_not_kept() -> None:
    cases = some("color", 2)
    empty = render((case.target_scene for case in cases), VILLAGE.draw_without_object)
    assert object_overlap(cases, empty, VILLAGE) == [0, 0]


@pytest.fixture(scope="module")
def measured(village_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, dict]:
    """The figures of two runs of the command on a random model of the village."""
    found = []
    with pytest.MonkeyPatch.context() as patch:  # the village's reader is trained with its model
        patch.setattr(edits_command, "find_world", lambda pictures: without_training())
        for methods in (METHODS, "mdp-local"):
            file = tmp_path_factory.mktemp("figures") / "edits.json"
            words = ["--methods", methods, "--model", str(village_model), "-o", str(file)]
            assert main([*FEW, *words]) == 0
            found.append(json.loads(file.read_text()))
    return found[0], found[1]


def test_the_benchmark_runs_on_the_village_in_both_cases(measured: tuple[dict, dict]) -> None:
    data, _ = measured
    kinds = ("color", "add")
    assert set(data["figures"]) == {f"{case} {kind}" for case in CASES for kind in kinds}
    for name, section in data["figures"].items():
        missing = {"mdp-x-inverted"} if "real" in name else set()
        more = {"no edit", "vae", *(["truth"] if "real" in name else [])}
        assert set(section) == {*METHODS.split(","), *more} - missing
    assert data["figures"]["real color"]["truth"]["overlap"] == [1]
    assert data["settings"]["backward"] > 0


def test_two_runs_give_the_same_figures(measured: tuple[dict, dict]) -> None:
    first, second = (data["figures"] for data in measured)
    for name, section in second.items():
        for method, figures in section.items():
            for measure in set(figures) - {"seconds"}:
                assert figures[measure] == first[name][method][measure], (name, method, measure)


def test_kinds_of_the_other_world_are_refused(
    village_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(edits_command, "find_world", lambda pictures: without_training())
    words = ["bench", "edits", "--model", str(village_model), "--dry-run", "--kinds"]
    assert main([*words, "season"]) == 0
    assert main([*words, "light"]) == 2
    assert "kinds must be of object, color, material" in capsys.readouterr().err


def test_the_benchmark_of_inversions_refuses_another_world(
    village_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "inversion", "--model", str(village_model), "--dry-run"]) == 2
    want = "wants a model of synthetic scenes, got toy, which was trained on synthetic villages"
    assert want in capsys.readouterr().err

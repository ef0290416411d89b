"""The report on two models: its candidates and choices, its tables, and that two runs are equal."""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from benchmarks import carry_over, preference
from benchmarks.carry_over import choose_settings, list_candidates, name_method, share_of_both
from benchmarks.carry_over_tables import Retuned, compare_models, correlate_ranks, rank
from mdp_lite.cli.console import open_console
from mdp_lite.cli.model_options import RunOptions
from mdp_lite.eval import edits_command
from mdp_lite.eval.edit_batches import CASES
from mdp_lite.eval.edits import KINDS
from mdp_lite.eval.methods import build_candidates, build_methods
from mdp_lite.eval.worlds import POSTCARDS, VILLAGE, find_world
from mdp_lite.names import BadInput
from support.village_model import without_training, write_village_model

QUIET = open_console(RunOptions(quiet=True))
WORDS = [
    "--pictures", "1", "--tuning", "1", "--steps", "3", "--kinds", "color", "--methods",
    "mdp-beta", "sdedit",
]  # fmt: skip


def figures(both: list[float]) -> dict[str, list[float]]:
    return {"both": both, "right": both, "kept": both, "rows": [1.0] * len(both)}


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("label, name", [
    ("mdp-x 12/4 leash", "mdp-x"), ("mdp-x 12/4 leash inverted", "mdp-x-inverted"),
    ("mdp-epsilon 12/4 local leash 0.5 inverted", "mdp-local"), ("sdedit 0.65", "sdedit"),
    ("mdp-epsilon 12/4 leash", "mdp-epsilon"),
])  # fmt: skip
def test_a_candidate_belongs_to_its_method(label: str, name: str) -> None:
    assert name_method(label) == name


@pytest.mark.parametrize("n", [12, 50])
def test_candidates_exist_and_start_from_their_methods_source(n: int) -> None:
    found = list_candidates(n)
    assert {"mdp-epsilon", "mdp-x", "mdp-local", "mdp-c", "sdedit", "edit-friendly"} <= set(found)
    every = {case: (build_methods(case, n), build_candidates(case, n)) for case in CASES}
    for name, settings in found.items():
        assert len(settings) > 1
        for labels in settings.values():
            for case, label in labels.items():
                methods, candidates = every[case]
                assert candidates[label].source == methods[name].source
    assert all(set(labels) == set(CASES) for labels in found["mdp-local"].values())
    assert all(set(labels) == {"synthetic"} for labels in found["mdp-x-inverted"].values())


def test_the_setting_is_the_best_over_both_cases_together() -> None:
    candidates: carry_over.Candidates = {
        "a": {one: {str(case): one for case in CASES} for one in ("a 1", "a 2")}
    }
    first, second = figures([1, 1, 1, 0]), figures([1, 1, 0, 0])
    tuned = {
        "synthetic color": {"a 1": first, "a 2": second},
        "real color": {"a 1": figures([0, 0, 0, 0]), "a 2": second},
    }
    assert share_of_both(tuned, candidates["a"]["a 1"]) == 3 / 8
    assert choose_settings(tuned, candidates) == {"a": "a 2"}
    assert choose_settings({"synthetic color": tuned["synthetic color"]}, candidates) == {
        "a": "a 1"
    }


# --- tables --------------------------------------------------------------------------------------


def test_equal_orders_have_correlation_one_and_ties_share_a_rank() -> None:
    assert rank([3, 1, 1, 2]) == [3, 0.5, 0.5, 2]
    assert correlate_ranks([0.1, 0.5, 0.9], [0.2, 0.3, 0.4]) == pytest.approx(1)
    assert correlate_ranks([0.1, 0.5, 0.9], [0.4, 0.3, 0.2]) == pytest.approx(-1)
    assert correlate_ranks([0.1, 0.1], [0.4, 0.3]) == 0


def test_both_models_stand_beside_each_other_and_retuning_apart() -> None:
    first = {"color": {"mdp-x": figures([1, 1]), "sdedit": figures([0, 1]), "old": figures([1, 1])}}
    second = {"color": {"mdp-x": figures([1, 0]), "sdedit": figures([1, 1])}}
    again = Retuned({"mdp-x": "mdp-x 9/9"}, {"color": {"mdp-x 9/9": figures([1, 1])}})
    table = compare_models(first, second, again)
    assert set(table["methods"]) == {"mdp-x", "sdedit"}  # what both have
    assert [one["both"]["mean"] for one in table["methods"]["mdp-x"]] == [1, 0.5]
    assert table["order"] == -1
    for leads in (table["leads"]["color"], table["leads"]["all"]):
        assert [one["apart"]["mean"] for one in leads] == [0.5, -0.5]
    assert table["retuned"]["mdp-x"]["gain"]["mean"] == 0.5
    assert compare_models(first, second, None)["retuned"] == {}


# --- the whole report on toy models --------------------------------------------------------------


def know_worlds(pictures: str) -> object:
    """The worlds, the village's with an untrained reader: its own comes with its model."""
    return without_training() if find_world(pictures) is VILLAGE else POSTCARDS


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    place = tmp_path_factory.mktemp("models")
    return ["--first", "tiny", "--second", str(write_village_model(place / "toy", channels=8))]


def report(models: list[str], folder: Path, *more: str) -> dict[str, bytes]:
    words = ["--work", str(folder / "work"), "--out", str(folder / "carry_over.json")]
    args = carry_over.make_parser().parse_args([*words, *WORDS, *models, *more])
    paths = carry_over.run(args, QUIET)
    return {path.suffix: path.read_bytes() for path in paths}


def test_two_runs_write_the_same_tables(
    models: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edits_command, "find_world", know_worlds)
    one = report(models, tmp_path / "one")
    assert one == report(models, tmp_path / "other")
    data = json.loads(one[".json"])
    assert [each["model"] for each in data["settings"]] == ["tiny", "toy"]
    for case in CASES:
        table = data["cases"][case]
        assert {"mdp-beta", "sdedit", "no edit"} <= set(table["methods"])
        assert set(table["retuned"]) == {"mdp-beta", "sdedit"}
    page = one[".md"].decode()
    assert "| sdedit" in page and "right and kept, toy" in page and "## real" in page

    def never(*args: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(edits_command, "measure_kind", never)  # a run goes on from its files
    assert report(models, tmp_path / "one") == one


def test_known_figures_of_the_first_model_are_not_measured_again(
    models: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edits_command, "find_world", know_worlds)
    whole = report(models, tmp_path, "--tuning", "0")
    known = tmp_path / "known.json"
    data = json.loads((tmp_path / "work" / "first.json").read_text())
    data["settings"] |= {"sha256": "of other words beside the same weights"}
    for section in data["figures"].values():
        section["mdp-beta"]["both"] = [7.0]  # no measurement gives that
        del section["sdedit"]
    data["figures"]["real style"] = data["figures"]["real color"]  # a kind that is not asked for
    data["figures"]["real color"]["h-edit"] = data["figures"]["real color"]["mdp-beta"]
    known.write_text(json.dumps(data))
    again = report(models, tmp_path / "again", "--tuning", "0", "--known", str(known))
    old, new = (json.loads(one[".json"])["cases"]["real"]["methods"] for one in (whole, again))
    assert new["mdp-beta"][0]["both"]["mean"] == 7 and new["sdedit"] == old["sdedit"]
    assert set(json.loads(again[".json"])["cases"]["real"]["leads"]) == {"all", "color"}
    assert "- tiny: the figures of mdp-beta are those of known.json" in again[".md"].decode()
    data["settings"]["steps"] = 4
    known.write_text(json.dumps(data))
    with pytest.raises(BadInput, match="known.json has figures of another run"):
        report(models, tmp_path / "other", "--tuning", "0", "--known", str(known))


@pytest.mark.parametrize("words, sentence", [
    (["--known", "typo.json"], "known must be a file of figures, got typo.json"),
    (["--tuning", "-1"], "tuning must be 0 or more, got -1"),
])  # fmt: skip
def test_bad_input_is_refused_before_any_work(
    words: list[str], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=sentence):
        report([], tmp_path, *words)
    assert not (tmp_path / "work").exists()


def test_the_kinds_of_the_report_are_those_of_both_worlds() -> None:
    args = carry_over.make_parser().parse_args(["--work", "runs"])
    assert args.kinds == tuple(KINDS) and len(KINDS) == 10 and set(KINDS) <= set(VILLAGE.kinds)
    assert args.pictures >= 64


# --- preference ----------------------------------------------------------------------------------


def test_subjects_are_equal_in_both_worlds_words() -> None:
    subjects = preference.list_subjects(40, seed=1)
    assert subjects == preference.list_subjects(40, seed=1) != preference.list_subjects(40, seed=2)
    assert len({one.postcards for one in subjects}) == 40
    for one in subjects:
        color, thing = one.postcards.split(",")[0].split()[1:]
        for text, world in ((one.postcards, POSTCARDS), (one.village, VILLAGE)):
            assert f"{color} {thing}" in text
            assert set(text.replace(",", " ,").split()) <= set(world.words)


def test_pairs_are_written_blind_and_votes_counted(
    models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["make", str(tmp_path), "--pairs", "6", "--steps", "2", *models]
    preference.make(preference.make_parser().parse_args(words))
    key = json.loads((tmp_path / "key.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {
        "key.json", "votes.txt", "pairs_01.png", "pairs_02.png"
    }  # fmt: skip
    assert set(key["second is"]) == {"left", "right"} and len(key["second is"]) == 6
    votes = [*key["second is"][:3], "equal", *("left" if side == "right" else "right"
             for side in key["second is"][4:])]  # fmt: skip
    text = "".join(f"{k} {vote}\n" for k, vote in enumerate(votes, 1))
    (tmp_path / "votes.txt").write_text(text)
    capsys.readouterr()
    preference.count(argparse.Namespace(folder=tmp_path))
    out = capsys.readouterr().out
    assert "is preferred to tiny in 58% of 6 pairs" in out and "1 equal ones count half" in out


def test_the_second_models_picture_is_left_where_the_key_says_so() -> None:
    def paint(color: str, pictures: str) -> Any:
        def generate(prompt: str, **_: object) -> Any:
            prompts.append(prompt)
            return SimpleNamespace(image=Image.new("RGB", (64, 64), color))

        knowledge = SimpleNamespace(pictures=pictures)
        return SimpleNamespace(generate=generate, models=SimpleNamespace(knowledge=knowledge))

    prompts, [subject] = list[str](), preference.list_subjects(1, seed=1)
    editors = [paint("red", VILLAGE.pictures), paint("blue", POSTCARDS.pictures)]
    for swapped, left in ((False, (255, 0, 0)), (True, (0, 0, 255))):
        pictures = preference.draw_pair(editors, subject, swapped, None)
        assert pictures[0].getpixel((0, 0)) == left != pictures[1].getpixel((0, 0))
        second = pictures[preference.SIDES.index(preference.side_of_second(swapped))]
        assert second.getpixel((0, 0)) == (0, 0, 255)
    assert prompts == [subject.village, subject.postcards] * 2


@pytest.mark.parametrize("pairs", ["0", "-1", str(preference.MOST + 1)])
def test_a_number_of_pairs_that_there_is_not_is_refused(pairs: str, tmp_path: Path) -> None:
    args = preference.make_parser().parse_args(["make", str(tmp_path), "--pairs", pairs])
    with pytest.raises(SystemExit, match=f"pairs must be 1 to {preference.MOST}, got {pairs}"):
        preference.make(args)
    assert len(preference.list_subjects(preference.MOST, seed=3)) == preference.MOST


def test_votes_are_never_overwritten_and_missing_ones_are_said(tmp_path: Path) -> None:
    args = preference.make_parser().parse_args(["make", str(tmp_path)])
    with pytest.raises(SystemExit, match="has no key.json and no votes.txt: make the pairs first"):
        preference.count(args)
    (tmp_path / "votes.txt").write_text("1 left\n")
    with pytest.raises(SystemExit, match="has votes.txt already: name another folder"):
        preference.make(args)
    assert (tmp_path / "votes.txt").read_text() == "1 left\n"


@pytest.mark.parametrize("text, sentence", [
    ("1 left\n", "a line for each of the pairs 1 to 2"),
    ("1 left\n2 both\n", "a vote must be one of left, right, equal, got '2 both'"),
    ("1 left\n2\n", "got '2'"),
])  # fmt: skip
def test_votes_that_cannot_be_counted_are_named(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "votes.txt").write_text(text)
    with pytest.raises(SystemExit, match=sentence):
        preference.read_votes(tmp_path / "votes.txt", 2)


def test_a_vote_for_the_side_of_the_second_model_counts() -> None:
    assert preference.count_votes(["left", "right", "equal"], ["left", "left", "left"]) == [
        1,
        0,
        0.5,
    ]

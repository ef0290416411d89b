"""The card of the second bundled model says what its scores' file says, which can be made again."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.preference import count_votes
from mdp_lite.eval.interval import mean_interval
from mdp_lite.eval.worlds import VILLAGE
from mdp_lite_weights import locate
from support.places import ROOT
from train_tiny.score_pictures import PicturePlan, stage
from train_tiny.small import SMALL

SCORES = json.loads((ROOT / "benchmarks/results/small-scores.json").read_text("utf-8"))
CARD = (locate("small") / "README.md").read_text("utf-8")
TABLES = ("reader on drawings", "reader through the VAE", "text to image")


def read_table() -> dict[str, dict[str, float]]:
    """The card's table of shares in percent: field -> column -> share."""
    lines = [line.strip("| ").split(" | ") for line in CARD.splitlines() if line.startswith("| ")]
    start = next(i for i, line in enumerate(lines) if line[0] == "field")
    rows = lines[start + 1 : start + 2 + len(VILLAGE.reader.heads)]
    heads = lines[start][1:]
    return {
        row[0]: {head: float(cell.rstrip("%")) for head, cell in zip(heads, row[1:], strict=True)}
        for row in rows
    }


def test_the_cards_shares_are_those_of_the_file() -> None:
    table = read_table()
    assert set(table) == {*VILLAGE.reader.heads, "all"}
    for field, shares in table.items():
        assert set(shares) == set(TABLES)
        for name, share in shares.items():
            assert share == pytest.approx(100 * SCORES[name][field], abs=0.051)


def test_the_cards_decibels_are_those_of_the_file() -> None:
    found = re.search(r"([\d.]+) dB on the mean, ([\d.]+) the worst", CARD)
    assert found and [float(one) for one in found.groups()] == list(SCORES["vae dB"].values())


def test_the_cards_number_of_words_is_that_of_the_model() -> None:
    words = json.loads((locate("small") / "mdp_lite.json").read_text("utf-8"))["words"]
    assert f"; {len(words)} words in three forms of caption" in " ".join(CARD.split())


def test_the_cards_preference_is_that_of_the_votes() -> None:
    file = json.loads((ROOT / "benchmarks/results/preference.json").read_text("utf-8"))
    assert (file["first"], file["second"], len(file["second is"])) == ("tiny", "small", 40)
    found = [mean_interval(count_votes(votes, file["second is"])) for votes in file["votes"]]
    said = [f"{one.mean:.0%} [{one.low:.0%}, {one.high:.0%}]" for one in found]
    assert f"preferred `small` in {said[0]} and {said[1]} of them" in " ".join(CARD.split())


def test_the_file_is_of_the_full_plan() -> None:
    plan = PicturePlan()
    assert SCORES["settings"]["captions"] == plan.captions == 256
    assert SCORES["settings"]["pictures"] == plan.pictures


@pytest.mark.slow  # minutes
def test_a_new_scoring_gives_the_same_table(tmp_path: Path) -> None:
    stage(SMALL, locate("small"), tmp_path, PicturePlan(), None)
    again = json.loads((tmp_path / "pictures.json").read_text("utf-8"))
    assert again | {"seconds": 0} == SCORES | {"seconds": 0}

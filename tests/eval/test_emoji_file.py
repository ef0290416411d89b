"""Why the emoji are left out: the page says what the file of the measurement says."""

import json
from typing import Any

import pytest

from support.places import ROOT

FIGURES: dict[str, Any] = json.loads((ROOT / "benchmarks/results/emoji.json").read_text("utf-8"))
PAGE = " ".join((ROOT / "benchmarks/README.md").read_text("utf-8").split())
PSNR, APART = "PSNR in dB", FIGURES["pairs apart, PSNR in dB"]
GROUNDS = [name for name in FIGURES if name.startswith("emoji on ")]


def interval(kind: str) -> str:
    one = FIGURES[kind][PSNR]
    return f"{one['mean']:.1f} dB [{one['low']:.1f}, {one['high']:.1f}]"


@pytest.mark.parametrize("ground", GROUNDS)
def test_the_vae_loses_far_more_of_emoji_than_of_scenes(ground: str) -> None:
    scenes, emoji = FIGURES["scenes"][PSNR], FIGURES[ground][PSNR]
    assert emoji["high"] + 10 < scenes["low"]
    assert emoji["count"] == scenes["count"] == 500


def test_the_round_trip_changes_more_than_another_tone_of_skin() -> None:
    assert FIGURES["emoji on white"][PSNR]["high"] < APART["skin tone"]["low"]
    assert {"skin tone", "hair", "vendor"} == set(APART)


def test_the_page_says_what_the_file_says() -> None:
    for kind in ("scenes", "emoji on white"):
        assert interval(kind) in PAGE.replace("a PSNR of ", "").replace(" with ", " ")
    for ground in ("skyblue", "yellowgreen"):
        assert f"{FIGURES['emoji on ' + ground][PSNR]['mean']:.1f} dB on" in PAGE
    assert f"are {APART['skin tone']['mean']:.1f} dB apart" in PAGE
    assert FIGURES["command"].split(" --count")[0] in PAGE

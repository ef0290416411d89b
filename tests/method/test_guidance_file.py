"""The figures of guidance_every in the page are those of the file."""

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "benchmarks" / "results" / "guidance_every.json"
PAGE = (ROOT / "docs" / "method.md").read_text("utf-8")


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return json.loads(FILE.read_text("utf-8"))


def test_the_table_is_the_files(figures: dict[str, Any]) -> None:
    for section in ("quality generated", "quality inverted"):
        for name, one in figures[section]["summary"].items():
            low, _, middle, _, high = one["psnr at 5, 25, 50, 75, 95%"]
            mean, least, most = one["difference of scores"]
            assert (
                f"| {name.removesuffix(', 2')} | {one['edits']} | {middle:.1f} dB ({low:.1f} to "
                f"{high:.1f}) | {one['exact score']:.3f} | {mean:+.3f} [{least:+.3f}, {most:+.3f}] "
                f"| {one['rows']:.3f} |"
            ) in PAGE


def test_the_targets_are_reached(figures: dict[str, Any]) -> None:
    """50 dB generated, 40 dB inverted, at most 0.05 of the score lost, over 600 edits."""
    for section, least in (("quality generated", 50), ("quality inverted", 40)):
        for one in figures[section]["summary"].values():
            assert one["psnr at 5, 25, 50, 75, 95%"][2] >= least
            assert one["difference of scores"][1] >= -0.05 and one["edits"] >= 600


def test_the_ratio_is_the_files(figures: dict[str, Any]) -> None:
    one = figures["seconds sd15 bfloat16 eager"]["ratios"]["exact / guidance_every 2"]
    assert f"{one['value']:.2f} [{one['low']:.2f}, {one['high']:.2f}] times as fast" in PAGE
    assert one["value"] >= 1.28

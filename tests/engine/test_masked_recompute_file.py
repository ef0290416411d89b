"""The scripts that measure masked edits with recorded layers: their arithmetic, and their files."""

import json
import math
from itertools import islice

import pytest

from benchmarks.masked_quality import SOURCES, make_box, summarise
from benchmarks.masked_recompute import (
    CALLS,
    SHARES,
    add_savings,
    choose_window,
    describe_window,
)
from benchmarks.record import RESULTS
from mdp_lite.engine.flops import WindowCost
from mdp_lite.engine.windows import Window
from mdp_lite.eval.edit_scores import edit_regions
from mdp_lite.eval.edits import iterate_edits
from mdp_lite.pipeline.recompute import HALO
from support.places import ROOT

QUALITY = json.loads((RESULTS / "masked_quality.json").read_text("utf-8"))
FIGURES = json.loads((RESULTS / "masked_recompute.json").read_text("utf-8"))


@pytest.mark.parametrize("share", SHARES)
def test_a_window_has_its_share_and_the_halo(share: float) -> None:
    height, width = choose_window(64, share).size
    assert height == width
    assert (height - 2 * HALO) ** 2 / 64**2 == pytest.approx(share, abs=0.02)


def test_bytes_are_those_of_all_steps_and_rows() -> None:
    one = describe_window(Window(0, 8, 0, 4), 16, WindowCost(0.25, 1000))
    assert one == {"area": 0.125, "flops": 0.25, "bytes_of_edit": 2 * CALLS * 1000}


def test_savings_count_the_recording() -> None:
    windows = {"half": dict[str, float](), "none": dict[str, float]()}
    timed = {"mdp_lite whole": {"p50": 2.0}, "half": {"p50": 1.0}, "none": {"p50": 2.0}}
    add_savings(windows, timed)
    assert windows["half"] == {"times_faster": 2.0, "edits_to_pay": 2.0}
    assert windows["none"]["edits_to_pay"] == math.inf


@pytest.mark.parametrize("share", [0.1, 0.17])
def test_a_box_covers_whole_cells_of_at_most_its_share(share: float) -> None:
    for case in islice(iterate_edits("color", "report"), 3):
        cells = make_box(case, share, 16).view(16, 4, 16, 4).float().mean((1, 3))
        assert set(cells.unique().tolist()) == {0, 1}
        length = math.isqrt(int(cells.sum()))
        assert length**2 == cells.sum() and length**2 / 256 <= share < (length + 1) ** 2 / 256
        middle = (cells * edit_regions([case])[0].view(16, 4, 16, 4).float().mean((1, 3))).sum()
        assert middle > 0


def test_summaries_are_of_each_mask_and_of_each_halo() -> None:
    def figures(psnr: float) -> dict[str, list[float]]:
        return {"psnr": [psnr], "inside": [0], "area": [0.2], "score": [1], "exact": [0]}

    parts = [
        {"generated, 10%, halo 1": figures(a), "inverted, 10%, halo 1": figures(b)}
        for a, b in ((40.0, 50.0), (48.0, 60.0))
    ]
    found = summarise(parts)
    assert found["generated, 10%, halo 1"]["mean"] == 44
    every = found["all, halo 1"]
    assert (every["edits"], every["median"], every["lowest"]) == (4, 49, 40)
    assert every["share of 50 dB"] == 0.5 and every["difference of scores"][0] == 1
    assert every["5th percentile"] == pytest.approx(41.2)


def test_the_page_has_the_seconds_of_the_file() -> None:
    page = (ROOT / "docs" / "speed.md").read_text("utf-8")
    found = FIGURES[f"seconds sd15 halo {HALO}"]
    for share in SHARES:
        name = f"mdp_lite window {share:g}"
        one, seconds = found["windows"][name], found["sides"][name]["p50"]
        gib = one["bytes_of_edit"] / 2**30
        cells = f"{share:.0%} | {one['area']:.0%} | {one['flops']:.0%} | {seconds:.2f}"
        assert f"| {cells} | {one['times_faster']:.1f} | {gib:.1f} GiB |" in page


def test_the_page_has_the_halos_of_the_files() -> None:
    page, near = (ROOT / "docs" / "speed.md").read_text("utf-8"), QUALITY["quality 50 report"]
    for halo in near["settings"]["halos"]:
        cost = FIGURES["flops sd15"]["shares"]["0.17"][f"halo {halo}"]
        cells = [str(halo), f"{cost['area']:.0%}", f"{cost['flops']:.0%}"]
        for how in SOURCES:
            one = near["summary"][f"{how}, 17%, halo {halo}"]
            ends = f"{one['median']:.1f}, {one['5th percentile']:.1f} dB"
            cells.append(f"{ends}, {one['share of 50 dB']:.0%}")
        assert f"| {' | '.join(cells)} |" in page
    every = near["summary"][f"all, halo {HALO}"]
    assert f"{every['share of 50 dB']:.0%} with four, so four are" in " ".join(page.split())
    assert every["edits"] >= 300 and every["median"] >= 50


def test_a_window_of_17_percent_meets_its_goal() -> None:
    """With its halo 1.8 times as fast as the exact step, in 3.5 GiB."""
    one = FIGURES[f"seconds sd15 halo {HALO}"]["windows"]["mdp_lite window 0.17"]
    assert one["area"] > 0.17 and one["times_faster"] >= 1.8
    assert one["bytes_of_edit"] <= 3.5 * 2**30
    assert one["error"] < 0.02

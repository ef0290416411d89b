"""The defaults of edits in few steps are those that benchmarks/results/few_steps.json measured."""

import json

import pytest

from mdp_lite.method.schedule import FEW_PULL, FEW_SHARES
from support.places import ROOT

FILE = json.loads((ROOT / "benchmarks" / "results" / "few_steps.json").read_text("utf-8"))
COUNTS = (1, 2, 4, 8)


def format_interval(values: list[float]) -> str:
    return "{:.2f} ({:.2f} to {:.2f})".format(*values)


@pytest.mark.parametrize("n", COUNTS)
def test_no_other_table_is_clearly_better(n: int) -> None:
    one = FILE[str(n)]
    share = FEW_SHARES[max(steps for steps in FEW_SHARES if steps <= n)]
    assert one["default"] == f"eps {share:g}, pull {FEW_PULL if n > 1 else 0:g}"
    own, best = one["tables"][one["default"]]["both"], best_of_others(n)
    assert own[0] >= best[1]  # the lower end of its interval


def best_of_others(n: int) -> list[float]:
    """The mean and the interval of the best table that is not the default."""
    one = FILE[str(n)]
    others = [table["both"] for name, table in one["tables"].items() if name != one["default"]]
    return max(others)


@pytest.mark.parametrize("n", COUNTS)
def test_the_page_says_what_the_file_says(n: int) -> None:
    one, page = FILE[str(n)], (ROOT / "docs" / "models.md").read_text("utf-8")
    own = one["tables"][one["default"]]["both"]
    cells = (n, one["edits"], format_interval(own), format_interval(best_of_others(n)))
    assert f"| {' | '.join(map(str, cells))} |" in page
    assert "benchmarks.few_steps edits" in one["command"] and f"{n}" in one["command"].split()

"""The cases of tests that run unmarked: together they have every value, or every pair of two."""

from itertools import combinations, product

import pytest

from support.places import ROOT
from support.thinning import cover

SIZES = [(1,), (5,), (2, 3), (4, 4, 2), (3, 1, 6, 2)]
pytest_plugins = ["pytester"]
CASES = """
import pytest

@pytest.mark.covering(1)
@pytest.mark.parametrize("a", "xyz")
@pytest.mark.parametrize("b", [1, 2, 3])
def test_product(a, b): pass

@pytest.mark.representative("b")
@pytest.mark.parametrize("name", "abc")
def test_names(name): pass

@pytest.mark.representative("gone")
@pytest.mark.parametrize("name", "ab")
def test_renamed(name): pass
"""


@pytest.mark.parametrize("strength", [1, 2])
@pytest.mark.parametrize("sizes", SIZES)
def test_a_cover_has_all_combinations(sizes: tuple[int, ...], strength: int) -> None:
    rows = [list(zip("abcd", row, strict=False)) for row in product(*map(range, sizes))]
    chosen = [rows[i] for i in cover(rows, strength)]
    least = min(strength, len(sizes))
    every = {one for row in rows for one in combinations(row, least)}
    assert {one for row in chosen for one in combinations(row, least)} == every
    assert len(chosen) < len(rows) or len(rows) == max(sizes) or strength >= len(sizes)


def test_others_are_slow_and_no_test_is_lost(pytester: pytest.Pytester) -> None:
    pytester.syspathinsert(ROOT / "tests")
    pytester.makeconftest("from support.thinning import pytest_collection_modifyitems")
    pytester.makepyfile(CASES)
    pytester.makeini("[pytest]\nmarkers =\n  slow\n  covering\n  representative")
    assert pytester.inline_run("-m", "not slow").countoutcomes() == [3 + 1 + 2, 0, 0]
    assert pytester.inline_run("-m", "slow").countoutcomes() == [6 + 2, 0, 0]

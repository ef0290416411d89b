"""Which cases of a parametrised test run unmarked; all others are slow and run with `make slow`.

    @pytest.mark.covering(1)             # each value of each parameter in one case at least
    @pytest.mark.covering(2)             # each pair of values of two parameters
    @pytest.mark.representative("a", "b")  # the cases with one of these ids

Only what is collected counts: a case that is asked for by its own id runs, and no test loses all
of its cases because an id has another name now.
"""

from collections import defaultdict
from itertools import combinations
from typing import Any

import pytest

Value = tuple[str, int]


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what is slow
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the cases that neither marker chooses as slow."""
    groups: dict[str, list[Any]] = defaultdict(list)
    for item in items:
        chosen = any(item.get_closest_marker(name) for name in ("covering", "representative"))
        if chosen and hasattr(item, "callspec") and not item.get_closest_marker("slow"):
            groups[item.nodeid.split("[")[0]].append(item)
    for group in groups.values():
        kept = choose_items(group)
        for item in group:
            if item not in kept:
                item.add_marker(pytest.mark.slow)


def choose_items(group: list[Any]) -> list[Any]:
    """The cases of one test that stay unmarked."""
    covering = group[0].get_closest_marker("covering")
    if covering:
        # A value of a parameter is one object in all cases.
        rows = [[(k, id(v)) for k, v in item.callspec.params.items()] for item in group]
        return [group[i] for i in cover(rows, *covering.args)]
    ids = group[0].get_closest_marker("representative").args
    kept = [one for one in group if any(f"-{name}-" in f"-{one.callspec.id}-" for name in ids)]
    return kept or group


def cover(rows: list[list[Value]], strength: int) -> list[int]:
    """Rows, chosen greedily, that have all combinations of so many values which any row has."""
    found = [set(combinations(row, min(strength, len(row)))) for row in rows]
    missing, chosen = set().union(*found), []
    while missing:
        best = max(range(len(rows)), key=lambda i: len(found[i] & missing))
        missing -= found[best]
        chosen.append(best)
    return chosen

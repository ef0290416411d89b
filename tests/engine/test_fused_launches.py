"""What a guided step launches at Stable Diffusion 1.5's size: a change of it must change a file."""

import json

import pytest

from mdp_lite.engine.fusing import Fused
from mdp_lite_kernels import shapes
from support.places import ROOT

FILE = ROOT / "tests" / "engine" / "launches.json"
MOST = 500  # of a whole step
pytestmark = pytest.mark.skipif(not shapes.TRITON, reason="Triton is for Linux alone")


def test_a_step_launches_few_kernels() -> None:
    from support.launches import count_step

    counters = count_step(Fused())
    known = json.loads(FILE.read_text("utf-8"))
    for what, counter in counters.items():
        row = known[f"{what}, all"]
        assert dict(counter.launches) == {name: n for name, (n, _) in row["operators"].items()}
    assert sum(counters["step"].launches.values()) <= MOST


@pytest.mark.slow
def test_every_switch_has_the_launches_and_bytes_of_the_table() -> None:
    from support.launches import tabulate

    found, known = tabulate(), json.loads(FILE.read_text("utf-8"))
    assert found == known, "python -m support.launches writes the table anew"


def test_each_switch_of_the_table_saves_launches_and_bytes() -> None:
    table = json.loads(FILE.read_text("utf-8"))
    order = ("channels last", "with geglu", "with group_norm_silu", "with qkv")
    for what in ("call", "step"):
        counts = [table[f"{what}, {name}"]["launches"] for name in order]
        sizes = [table[f"{what}, {name}"]["megabytes"] for name in order]
        assert counts == sorted(counts, reverse=True) and sizes == sorted(sizes, reverse=True)
        assert table[f"{what}, all"]["launches"] < table[f"{what}, plain"]["launches"]

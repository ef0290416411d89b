"""The script that counts idle pages of mapped weights: its arithmetic, and its figures."""

import json
import mmap
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.record import RESULTS
from benchmarks.resident import KINDS, PAGE, Range, align, count_resident, list_idle, list_mappings
from mdp_lite.models.aligned import ALIGNMENT
from mdp_lite_weights.tensors import read_tensors
from support.places import ROOT

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")


def test_idle_pages_are_those_without_a_weight() -> None:
    mappings = [Range(0, 9), Range(20, 30), Range(40, 50)]
    weights = [Range(2, 4), Range(3, 5), Range(8, 12), Range(40, 50)]
    assert list(list_idle(mappings, weights)) == [(0, 2), (5, 8), (20, 30)]


@needs_proc
def test_resident_pages_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(8 * PAGE))
    with open(path, "rb") as file:
        memory = mmap.mmap(file.fileno(), 8 * PAGE, access=mmap.ACCESS_COPY)
    new = [one for one in list_mappings() if one.end - one.start == 8 * PAGE]
    assert count_resident(new) == 0
    for page in (0, 3, 7):
        memory[page * PAGE] = 1
    assert count_resident(new) == 3 * PAGE


def test_an_aligned_copy_has_the_same_weights(tmp_path: Path) -> None:
    source, target = tmp_path / "plain", tmp_path / "aligned"
    (source / "unet").mkdir(parents=True)
    (source / "unet" / "config.json").write_text("{}")
    name = "unet/model.safetensors"
    weights = {key: torch.randn(n).bfloat16() for key, n in (("a", 3), ("b", 64), ("c", 96))}
    save_file(weights, source / name)
    align(source, target)
    got = read_tensors(target / name)
    assert got.keys() == weights.keys()
    assert all(torch.equal(got[key], one) for key, one in weights.items())
    assert all(got[key].data_ptr() % ALIGNMENT == 0 for key in "bc")
    assert (target / "unet" / "config.json").exists()


def test_no_page_is_held_that_no_weight_needs() -> None:
    """So that giving pages back would save a few percent of what is resident: not the 15% that
    were to justify it.
    """
    figures = json.loads((RESULTS / "resident.json").read_text("utf-8"))
    page = (ROOT / "docs" / "models.md").read_text("utf-8")
    for kind in KINDS:
        stages = figures[kind]["stages"]
        end, after = stages["decode"], stages["given back"]
        assert end["mapped_idle"] < 0.05 * end["resident"] and figures[kind]["same_bits"]
        cells = [f"{one / 1e9:.2f} GB" for one in (stages["load"]["peak"], end["peak"])]
        cells += [f"{end['resident'] / 1e9:.2f} GB", f"{end['mapped_idle'] / 1e6:.0f} MB"]
        assert f"| {' | '.join(cells)} | {after['resident'] / 1e9:.2f} GB |" in page

"""The figures of Zen 5 in README.md and docs/speed.md are those of the files of results."""

import json
from typing import Any

import pytest

from benchmarks.peers.figures import verdict
from benchmarks.peers.peers import PEERS
from mdp_lite.eval.rounds import ratio
from support.places import ROOT

RESULTS = ROOT / "benchmarks" / "results"
README, PAGE = ((ROOT / name).read_text("utf-8") for name in ("README.md", "docs/speed.md"))
ALL = ("mdp_lite eager", "mdp_lite packages", "OpenVINO", "diffusers eager")
WHOLE_EDIT = ("mdp_lite packages", "OpenVINO", "diffusers eager")
COMPILED = ("mdp_lite compiled", "zentorch", "diffusers compiled")
# Of each work: its column in the page's table, its decimals, and who has a figure.
WORKS = {"step 2": (2, 2, (*ALL, *COMPILED, "ONNX Runtime")), "step 1": (4, 2, ALL),
         "step 4": (5, 2, ALL), "encode": (6, 2, ALL), "decode": (7, 2, ALL), "edit": (8, 1, ALL),
         "start": (9, 1, ALL)}  # fmt: skip
LABELS = {"mdp_lite packages": "mdp_lite packages (`mdp-lite compile`)",
          "OpenVINO": "OpenVINO 2026.4.1",
          "zentorch": "zentorch 2.14", "ONNX Runtime": "ONNX Runtime 1.31, float32",
          "diffusers compiled": "diffusers compiled, weights frozen",
          "diffusers eager": "diffusers eager, channels_last"}  # fmt: skip


def read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / name).read_text("utf-8"))


def format_ratio(one: dict[str, float]) -> str:
    return f"{one['value']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"


def find_cells(peer: str) -> list[str]:
    label = LABELS.get(peer, peer)
    (line,) = (one for one in PAGE.splitlines() if one.startswith(f"| {label} |"))
    return [cell.strip() for cell in line.split("|")]


@pytest.mark.parametrize(("work", "peer"), [(w, p) for w, one in WORKS.items() for p in one[2]])
def test_the_page_has_the_peers_seconds(work: str, peer: str) -> None:
    column, digits, _ = WORKS[work]
    side = read("peers.json")[f"{work} sd15"]["sides"][peer]
    cells = find_cells(peer)
    assert cells[column] == f"{side['p50']:.{digits}f} s"
    if work == "step 2" and "ratio" in side:
        assert cells[3] == format_ratio(side["ratio"])


@pytest.mark.parametrize("peer", ["diffusers", "OpenVINO"])
@pytest.mark.parametrize("size", ["tiny", "sd15"])
def test_the_pages_have_the_uploaded_pictures(size: str, peer: str) -> None:
    found = read("upload_edit.json")[f"uploaded picture {size}"]
    one, digits = found["ratios"][f"{peer} script / mdp_lite"], 1 if size == "sd15" else 2
    sides = (found["sides"][name] for name in (f"{peer} script", "mdp_lite"))
    theirs, ours = (f"{side['p50']:.{digits}f} s" for side in sides)
    assert f"| {theirs} | {ours} | {format_ratio(one)} |" in PAGE
    if (size, peer) == ("sd15", "OpenVINO"):
        assert f"| {theirs} | {ours} eager | {format_ratio(one)} |" in README
    assert found["psnr"] == "equal" or found["psnr"] >= found["bound"]


@pytest.mark.parametrize(("size", "digits"), [("tiny", 2), ("sd15", 1)])
def test_the_page_has_the_draft_against_the_published_steps(size: str, digits: int) -> None:
    sides = read("upload_edit.json")[f"draft against published {size}"]["sides"]
    ours, theirs = sides["mdp_lite"]["p50"], sides["diffusers script"]["p50"]
    other = f"{theirs:.0f}" if size == "sd15" else f"{theirs:.2f}"
    assert f"{ours:.{digits}f} against {other} s" in PAGE


def test_readme_has_the_peers() -> None:
    peers = read("peers.json")
    step, decode = peers["step 2 sd15"]["sides"], peers["decode sd15"]["sides"]
    for work in (step, decode):
        one, ours = work["diffusers eager"], work["mdp_lite eager"]["p50"]
        ratio = format_ratio(one["ratio"])
        assert f"| {one['p50']:.2f} s | {ours:.2f} s eager | {ratio} |" in README
    one, ours = step["OpenVINO"], step["mdp_lite packages"]["p50"]
    assert f"| {one['p50']:.2f} s | {ours:.2f} s packages | " in README
    assert one["error"] > one["bound"]  # as README says


@pytest.mark.parametrize("what", ["edits", "sweeps"])
def test_the_page_has_the_growth(what: str) -> None:
    ratios = read("speed_zen5.json")[f"growth of {what} tiny"]["ratios"]
    assert f"{format_ratio(ratios['slope, naive / mdp_lite'])} times" in " ".join(PAGE.split())


def test_the_page_says_how_far_ahead_steps_and_edits_are() -> None:
    peers, text = read("peers.json"), " ".join(PAGE.split())
    times = {}
    for rows in (1, 2, 4):
        found = verdict(peers[f"step {rows} sd15"], PEERS)
        assert found and (found["ours"], found["peer"]) == ("mdp_lite packages", "OpenVINO")
        times[rows] = f"{found['times']:.2f}"
        if rows == 2:
            times[rows] += f" [{found['low']:.2f}, {found['high']:.2f}]"
    assert f"packages are {times[2]} times as fast as OpenVINO in a guided step" in text
    assert f"{times[1]} in a step of one row and {times[4]} in one of four" in text
    side = peers["edit sd15"]["sides"]
    ours, *theirs = (side[name].get("ratio") for name in WHOLE_EDIT)
    shares = [ours["value"] / one["value"] for one in theirs]
    assert f"{shares[0]:.2f} of OpenVINO's time and {shares[1]:.2f} of diffusers'" in text


def test_the_page_has_the_other_ratios_of_the_peers() -> None:
    peers, text = read("peers.json"), " ".join(PAGE.split())
    step = peers["step 2 sd15"]["sides"]
    one = ratio(step["zentorch"]["seconds"], step["mdp_lite compiled"]["seconds"])
    assert f"{format_ratio(one._asdict())} times as fast as zentorch" in text
    vaes = [peers[f"{work} sd15"]["sides"] for work in ("encode", "decode")]
    theirs = [format_ratio(side["diffusers eager"]["ratio"]) for side in vaes]
    assert f"The VAE is {theirs[0]} and {theirs[1]} times as fast as diffusers'" in text
    slower = [f"{1 / side['OpenVINO']['ratio']['value']:.2f}" for side in vaes]
    assert f"and {slower[0]} and {slower[1]} times as slow as OpenVINO's" in text
    small = format_ratio(step["OpenVINO int8"]["ratio"])
    assert (
        f"OpenVINO takes {small} of our time, but is {step['OpenVINO int8']['dB']:.0f} dB" in text
    )
    assert f"ONNX Runtime's 8 bits take {step['ONNX Runtime int8']['p50']:.2f} s" in text

"""The peers' table: its arithmetic, the gate, the groups, the edit that all peers do, the page."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.peers import sides
from benchmarks.peers.__main__ import choose_peers, main, read_options
from benchmarks.peers.environments import ENVIRONMENTS
from benchmarks.peers.figures import describe_processor, merge, summarize, verdict
from benchmarks.peers.job import make_toy_job
from benchmarks.peers.measure import Measured, PeerFailed, distance, split_groups, take_turns
from benchmarks.peers.peers import ANCHOR, PEERS, TOYS, Peer
from benchmarks.peers.table import list_disturbed, list_verdicts
from benchmarks.peers.toy import ToySide

OURS, FAST = Peer("mdp_lite eager", "mdp_lite", "eager"), Peer("mdp_lite fast", "mdp_lite", "aot")
THEIRS, SMALL = Peer("theirs", "toy", ""), Peer("small", "toy", "", dtype="int8", lossy=True)
ALL = (OURS, FAST, THEIRS, SMALL)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a whole run of the toys wrote."""
    folder = tmp_path_factory.mktemp("peers")
    words = ["--size", "toy", "--models", str(folder), "--rounds", "3", "--threads", "1"]
    words += ["--works", "step 2,start", "--output", str(folder / "peers.json"), "--memory", "1"]
    main(words)
    return folder


@pytest.fixture
def data(run: Path) -> dict[str, Any]:
    return json.loads((run / "peers.json").read_text("utf-8"))


def test_the_file_has_every_sample(data: dict[str, Any]) -> None:
    step = data["step 2 toy"]
    side = step["sides"]["slow toy"]
    assert len(side["seconds"]) == side["samples"] == 3
    assert side["ratio"]["low"] <= side["ratio"]["value"] <= side["ratio"]["high"]
    assert side["ratio"]["value"] > 3  # 20 ms against 2
    assert "ratio" not in step["sides"]["mdp_lite toy"] and step["processor"]
    assert step["rounds"] == 3
    command = "python -m benchmarks.peers --size toy --models FOLDER --rounds 3 --threads 1"
    assert step["command"].startswith(command) and str(Path(__file__).parent) not in str(data)


def test_a_peer_that_fails_has_a_reason(data: dict[str, Any]) -> None:
    step, cold = data["step 2 toy"]["missing"], data["start toy"]["missing"]
    assert "exit code 3): out of memory, say" in step["dying toy"] and "dying toy" in cold
    assert step["raising toy"] == "RuntimeError: no kernel for this"
    assert step["absent toy"] == "ModuleNotFoundError: No module named 'toy'"
    assert "0.5 from float32" in step["wrong toy"]
    assert not set(step) & set(data["step 2 toy"]["sides"])


def test_an_output_beyond_its_bound_is_set_apart(run: Path, data: dict[str, Any]) -> None:
    found = data["step 2 toy"]["sides"]
    assert not found["coarse toy"]["within"] and found["coarse toy"]["error"] == pytest.approx(0.05)
    assert found["slow toy"]["within"] and found["slow toy"]["error"] == 0
    page = (run / "peers.md").read_text("utf-8")
    same, _, apart = page.partition("Not the same work")
    assert "| slow toy |" in same and "| coarse toy |" in apart and "| lossy toy |" in apart
    assert "- dying toy (step, 2 rows): its process ended" in page
    assert (run / "peers.png").stat().st_size > 1000


def test_cold_starts_have_memory(data: dict[str, Any]) -> None:
    side = data["start toy"]["sides"]["mdp_lite toy"]
    assert side["p50"] > 0.02 and 5e6 < side["peak"] < 500e6


def test_another_run_replaces_only_its_sections(run: Path) -> None:
    before = json.loads((run / "peers.json").read_text("utf-8"))
    words = ["--size", "toy", "--models", str(run), "--rounds", "2", "--works", "encode"]
    main([*words, "--peers", "slow toy", "--output", str(run / "peers.json")])
    after = json.loads((run / "peers.json").read_text("utf-8"))
    assert set(after["encode toy"]["sides"]) == {"mdp_lite toy", "slow toy"}
    assert {name: after[name] for name in before} == before


def make_measured(**more: Any) -> Measured:
    """Two groups of three rounds; the anchor takes 2 s in the first and 4 s in the second."""
    first = {"mdp_lite eager": [2.0, 2.0, 2.0], "theirs": [3.0, 3.0, 3.3]}
    second = {
        "mdp_lite eager": [4.0, 4.0, 4.0],
        "mdp_lite fast": [2.0, 2.0, 2.0],
        "small": [1.0] * 3,
    }
    facts = {name: {"within": True, "error": 0.01} for name in (*first, *second)}
    return Measured([first, second], facts, {}, **more)


def test_ratios_are_to_the_anchor_of_the_same_group() -> None:
    figures = summarize(make_measured(), ALL, OURS.name)
    ratios = {
        name: side["ratio"]["value"] for name, side in figures["sides"].items() if "ratio" in side
    }
    assert ratios == {"theirs": 1.5, "mdp_lite fast": 0.5, "small": 0.25}
    assert figures["sides"]["mdp_lite eager"]["p50"] == 2 and figures["anchors"][1] == [4.0] * 3


def test_fractions_are_of_the_limit_in_the_peers_dtype() -> None:
    rates = {"bfloat16": 100.0, "float32": 10.0}
    slow = Peer("theirs", "toy", "", dtype="float32")
    sides_ = summarize(make_measured(), (OURS, FAST, slow, SMALL), OURS.name, 60, rates)["sides"]
    assert sides_["mdp_lite eager"]["fraction_of_limit"] == 60 / 2 / 100
    assert sides_["theirs"]["fraction_of_limit"] == 60 / 3 / 10
    assert sides_["small"]["fraction_of_limit"] == 60 / 1 / 100  # 8 bits have no limit here


def test_the_verdict_is_of_the_fastest_and_leaves_8_bits_out() -> None:
    found = verdict(summarize(make_measured(), ALL, OURS.name), ALL)
    assert found == {"ours": "mdp_lite fast", "peer": "theirs", "times": 3}  # of two groups
    measured = make_measured()
    measured.seconds[0]["mdp_lite eager"] = [6.0] * 3
    measured.seconds[1]["mdp_lite fast"] = [8.0] * 3
    figures = {"mean": summarize(measured, ALL, OURS.name)}
    slower = verdict(figures["mean"], ALL)
    assert slower and slower["times"] == 0.5 and slower["low"] <= 0.5 <= slower["high"]
    (line,) = list_verdicts(ALL, {"decode": figures["mean"]})
    assert line == "- VAE decode: mdp_lite eager is 2.00 times [1.82, 2.00] behind theirs"


def test_an_output_of_another_shape_has_no_distance() -> None:
    with pytest.raises(PeerFailed, match=r"shape \(1, 4, 8, 8\), want \(1, 3, 8, 8\)"):
        distance(np.zeros((1, 4, 8, 8), np.float32), np.ones((1, 3, 8, 8), np.float32))


def test_the_verdict_on_the_anchor_is_of_its_own_group_after_a_later_run() -> None:
    measured = make_measured()
    measured.seconds[1]["mdp_lite fast"] = [8.0] * 3
    old = summarize(measured, ALL, OURS.name)
    facts = {name: {"within": True, "error": 0.01} for name in ("mdp_lite eager", "small")}
    later = Measured([{"mdp_lite eager": [5.0] * 5, "small": [1.0] * 5}], facts, {})
    found = verdict(merge(old, summarize(later, ALL, OURS.name), OURS.name), ALL)
    assert found and found["ours"] == "mdp_lite eager" and found["times"] == 1.5
    assert found["low"] <= 1.5 <= found["high"] == pytest.approx(1.65)


def test_a_group_whose_anchor_was_not_steady_is_named() -> None:
    measured = make_measured()
    assert list_disturbed({"decode": summarize(measured, ALL, OURS.name)}) == []
    measured.seconds[0]["mdp_lite eager"] = [2.0, 2.0, 2.6]
    figures = summarize(measured, ALL, OURS.name)
    (line,) = list_disturbed({"decode": figures})
    assert line == "- VAE decode, theirs: the first of its group took 2.00 to 2.60 s"
    assert list_verdicts(ALL, {"decode": figures})[0].endswith("theirs (not quiet)")


def test_turns_flip_and_a_failure_ends_only_its_own() -> None:
    order: list[str] = []

    def call(name: str, failing: bool = False) -> float:
        order.append(name)
        if failing and order.count(name) == 2:
            raise PeerFailed("gone")
        return float(len(order))

    seconds, missing = take_turns(
        3, {"a": lambda: call("a"), "b": lambda: call("b", True), "c": lambda: call("c")}
    )
    assert "".join(order) == "abc" + "cba" + "ac"
    assert set(seconds) == {"a", "c"} and len(seconds["a"]) == 3
    assert missing == {"b": "in round 2: gone"}


@pytest.mark.parametrize(
    ("most", "groups"), [(9, [["a", "b", "c", "d"]]), (6, [["a", "b", "c"], ["a", "d"]]),
                         (4, [["a", "b"], ["a", "c"], ["a", "d"]])]
)  # fmt: skip
def test_groups_fit_and_start_with_the_anchor(most: float, groups: list[list[str]]) -> None:
    peers = [Peer(name, "toy", "") for name in "abcd"]
    sizes = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 3.0}
    found = split_groups(peers, sizes, most)
    assert [[peer.name for peer in group] for group in found] == groups


def test_the_distance_is_relative_and_nan_is_never_near() -> None:
    want = np.array([3.0, 4.0], np.float32)
    assert distance(want * np.float32(1.5), want) == 0.5
    assert math.isnan(distance(np.array([np.nan, 4], np.float32), want))


class CountingSide(ToySide):
    """A toy that writes down its calls."""

    def __init__(self) -> None:
        super().__init__("right")
        self.calls: list[tuple[str, Any]] = []

    def unet(self, x: sides.Array, t: int, c: sides.Array) -> sides.Array:
        self.calls.append(("unet", (len(x), t, c[:, 0, 0].tolist())))
        return np.zeros_like(x)

    def decode(self, latent: sides.Array) -> sides.Array:
        self.calls.append(("decode", latent))
        return super().decode(latent)


def test_every_peer_does_all_of_an_edit(tmp_path: Path) -> None:
    make_toy_job(tmp_path)
    job, side = sides.read_job(tmp_path), CountingSide()
    out = sides.run_work(side, job, "edit")
    names = [name for name, _ in side.calls]
    assert names == ["unet", "decode", "unet", "unet", "decode"]  # one source step, two of the edit
    rows = [value for name, value in side.calls if name == "unet"]
    null, source, target = (ids[0] for ids in job.ids.tolist())
    assert rows[0] == (2, 501, [null, source]) and rows[2] == (2, 1, [null, target])
    # With no noise predicted DDIM only scales: x = sqrt(b / a) x at each of the two steps.
    z, (a, after), (second, last) = side.encode(job.pixels), (0.5, 0.9), (0.9, 1.0)
    x = (a**0.5 * z + (1 - a) ** 0.5 * job.noise) * (after / a * last / second) ** 0.5
    np.testing.assert_allclose(out, x[:, :3], rtol=1e-5)


def test_a_job_comes_back_as_it_was_written(tmp_path: Path) -> None:
    make_toy_job(tmp_path)
    job = sides.read_job(tmp_path)
    sides.write_job(tmp_path / "again", job)
    again = sides.read_job(tmp_path / "again")
    assert again.loop == job.loop and again.sigmas == job.sigmas
    for name in ("x", "c", "ids", "pixels", "noise", "t", "times"):
        np.testing.assert_array_equal(getattr(again, name), getattr(job, name))
    assert isinstance(job.t, int) and isinstance(job.loop.t[0], int) and job.loop.recorded == 1


@pytest.mark.parametrize(("family", "model", "core"), [
    (26, 2, " (Zen 5)"), (25, 17, " (Zen 4)"), (25, 1, " (Zen 3)"), (99, 1, "")
])  # fmt: skip
def test_the_processor_has_its_family(family: int, model: int, core: str) -> None:
    text = f"vendor_id\t: AuthenticAMD\ncpu family\t: {family}\nmodel\t\t: {model}\n"
    text += "model name\t: AMD EPYC\n"
    assert describe_processor(text) == f"AMD EPYC, family {family} model {model}{core}"
    assert describe_processor("") == "unknown"


def test_an_unknown_peer_is_an_error() -> None:
    with pytest.raises(SystemExit, match="Tensorflow"):
        choose_peers(read_options(["--peers", "Tensorflow"]))
    names = [peer.name for peer in choose_peers(read_options(["--peers", "OpenVINO"]))]
    assert names == [ANCHOR.name, "OpenVINO"]


def test_every_environment_is_made() -> None:
    assert {peer.environment for peer in PEERS} == set(ENVIRONMENTS)
    assert any("[bench,peers]" in word for word in ENVIRONMENTS["main"])
    slugs = [peer.slug for peer in (*PEERS, *TOYS)]
    assert len(set(slugs)) == len(slugs)


def test_a_later_run_replaces_what_it_measured_and_keeps_the_rest() -> None:
    old = {
        "sides": {"ours": {"p50": 6.0}, "a": {"p50": 3.0}, "b": {"p50": 4.0}},
        "missing": {"c": "not installed"},
        "groups": [["ours", "a"], ["ours", "b"]],
        "anchors": [[6.0], [6.2]],
    }
    new = {
        "sides": {"ours": {"p50": 2.0}, "a": {"p50": 2.5}},
        "missing": {},
        "groups": [["ours", "a"]],
        "anchors": [[2.0]],
    }
    found = merge(old, new, "ours")
    assert found["sides"] == {"ours": {"p50": 2.0}, "a": {"p50": 2.5}, "b": {"p50": 4.0}}
    assert found["groups"] == [["ours", "b"], ["ours", "a"]] and found["anchors"] == [[6.2], [2.0]]
    assert found["missing"] == {"c": "not installed"}

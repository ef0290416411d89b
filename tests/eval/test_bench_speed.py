"""bench speed: percentiles, intervals, turns and the gate, by hand; and the short command."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks.record import Recorder, enough, summarize, with_fractions
from mdp_lite.__main__ import main
from mdp_lite.editor import Editor
from mdp_lite.eval import speed
from mdp_lite.eval.rounds import (
    DeviceLimit,
    TimedRounds,
    describe_machine,
    find_limit,
    gate,
    matmul_rate,
    percentiles,
    ratio,
    time_in_turns,
)

Says = Callable[[str], None]
CPU = torch.device("cpu")

# --- statistics --------------------------------------------------------------------------------


def test_percentiles_lie_between_samples() -> None:
    assert percentiles([5.0, 1.0, 4.0, 2.0, 3.0]) == pytest.approx((3.0, 4.6, 4.96, 5))
    assert percentiles([2.0]) == (2.0, 2.0, 2.0, 1)


def test_a_ratio_is_that_of_medians() -> None:
    assert ratio([9.0, 1.0, 6.0], [1.0, 3.0, 2.0]).value == 3.0  # 6 / 2


def test_rounds_are_resampled_as_pairs() -> None:
    fast = [float(n) for n in range(1, 21)]  # a machine that slows down
    assert ratio([2 * v for v in fast], fast) == pytest.approx((2.0, 2.0, 2.0))
    alone = ratio([2 * v for v in fast[::-1]], fast)  # each round has its own ratio
    assert alone.value == pytest.approx(2.0) and alone.low < 1.5 < 2.7 < alone.high
    assert ratio(fast[::-1], fast) == ratio(fast[::-1], fast)


def test_an_interval_is_that_of_the_binomial() -> None:
    """Of rounds at 1 and 2, half each, the median is 1 or 2 in half of the resamples each."""
    assert ratio([1.0, 2.0] * 50, [1.0] * 100)[1:] == (1.0, 2.0)
    assert ratio([1.0] * 70 + [2.0] * 30, [1.0] * 100) == (1.0, 1.0, 1.0)  # 4 sigma off


# --- turns -------------------------------------------------------------------------------------


def test_the_order_flips_and_warm_up_does_not_count() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "abc"}
    found = time_in_turns(calls, 3, CPU, warm_up=2)
    assert "".join(order) == "aabbcc" + "abc" + "cba" + "abc"
    assert all(len(one.seconds) == 3 and len(one.warm_up) == 2 for one in found.values())


def test_ratios_are_to_our_fastest_mode() -> None:
    seconds = {"mdp_lite compile": 4.0, "mdp_lite eager": 2.0, "diffusers eager": 1.0}
    found = summarize({name: TimedRounds([s] * 3, []) for name, s in seconds.items()})["ratios"]
    assert {name: one["value"] for name, one in found.items()} == {
        "mdp_lite compile / mdp_lite eager": 2.0,
        "diffusers eager / mdp_lite eager": 0.5,
    }


def test_quick_calls_have_more_rounds() -> None:
    assert [enough(s) for s in (0.01, 2.0, 20.0, 100.0, 1000.0)] == [30, 11, 7, 3, 1]


def test_fractions_are_of_the_dtype_of_a_side() -> None:
    sides = {"one": {"p50": 2.0}, "other": {"p50": 1.0}}
    dtypes = {"one": torch.bfloat16, "other": torch.float32}
    most = {torch.bfloat16: DeviceLimit(1000.0, "a"), torch.float32: DeviceLimit(250.0, "b")}
    found = with_fractions({"sides": sides}, 100, dtypes, most)
    assert [one["fraction_of_limit"] for one in found["sides"].values()] == [0.05, 0.4]
    assert found["limits"]["float32"] == {"rate": 250.0, "name": "b"}


def test_a_matrix_product_is_a_limit_below_any_data_sheet() -> None:
    assert 1e8 < matmul_rate(torch.float32, CPU, tries=1) < 1e15
    assert "best matrix product in float32" in find_limit(torch.float32, CPU).name
    assert {"cpu", "cores", "threads", "torch"} <= set(describe_machine(CPU))


# --- the gate ----------------------------------------------------------------------------------


def test_unequal_outputs_are_refused() -> None:
    want = torch.tensor([3.0, 4.0])
    near, far = want + torch.tensor([0.0, 0.005]), want + torch.tensor([0.0, 0.05])
    bounds = {"near": 2e-3, "far": 2e-3}
    assert gate({"near": near}, want, bounds) == pytest.approx({"near": 1e-3}, rel=1e-3)
    with pytest.raises(RuntimeError, match="far is 0.01 from float32, more than 0.002: no figure"):
        gate({"near": near, "far": far}, want, bounds)
    with pytest.raises(RuntimeError, match="near is nan"):
        gate({"near": want * torch.nan}, want, bounds)


# --- the file of the suites --------------------------------------------------------------------


def test_a_section_takes_the_place_of_its_own(tmp_path: Path) -> None:
    one = Recorder(tmp_path / "speed.json", "python -m pytest", 2, CPU)
    sides = {"ours": lambda: None, "theirs": lambda: torch.randn(200, 200) @ torch.randn(200, 200)}
    one.store("step", one.compare(sides))
    one.store("edit", {"steps": 4})
    one.store("step", one.compare(sides, warm_up=1))
    data = json.loads(one.path.read_text("utf-8"))
    assert set(data) == {"step", "edit"} and data["edit"]["steps"] == 4
    assert {"machine", "command", "commit", "date", "sides", "ratios"} <= set(data["step"])
    assert data["step"]["machine"]["diffusers"] and data["step"]["sides"]["ours"]["samples"] == 2
    assert len(data["step"]["sides"]["theirs"]["warm_up"]) == 1
    assert data["step"]["ratios"]["theirs / ours"]["value"] > 1
    assert list(tmp_path.iterdir()) == [one.path]


# --- the command -------------------------------------------------------------------------------

WHATS = ("step, 1 row", "step, 2 rows", "step, 4 rows", "source, 2 steps", "edit, 2 steps",
         "VAE decode")  # fmt: skip


@pytest.fixture
def words(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[str]]:
    """The command on the tiny random model, two rounds, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(speed, "find_limit", lambda dtype, device: DeviceLimit(1e12, "made up"))
    command = ["bench", "speed", "--model", str(checkpoint), "--device", "cpu", "--steps", "2"]
    return lambda *more: [*command, *(("--rounds", "2") if "--rounds" not in more else ()), *more]


def test_every_workload_has_its_figures(
    words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], editor: Editor
) -> None:
    assert main(words("--json", "--quiet", "-o", "speed.json")) == 0
    data = json.loads(capsys.readouterr().out)
    figures = {one["what"]: one for one in data["figures"]}
    assert tuple(figures) == WHATS and {one["engine"] for one in data["figures"]} == {"eager"}
    for one in data["figures"]:
        assert 0 < one["p50"] <= one["p90"] <= one["p99"] and one["samples"] == 2
        assert len(one["warm_up"]) == 2 and one["fraction_of_limit"] > 0
    file = json.loads(Path("speed.json").read_text("utf-8"))
    assert file["figures"] == data["figures"] and data["files"] == ["speed.json"]
    assert 0 <= data["errors"]["eager"] < 1e-5


def test_fractions_are_of_the_work_that_was_done(editor: Editor) -> None:
    works = {one.what: one for one in speed.build_workloads({"eager": editor}, 2)}
    two, decode = works["step, 2 rows"].flops, works["VAE decode"].flops
    assert works["step, 1 row"].flops * 4 == pytest.approx(two * 2, rel=0.01)  # t is embedded once
    assert works["step, 4 rows"].flops == pytest.approx(two * 2, rel=0.01)
    assert works["source, 2 steps"].flops == 2 * two + decode
    assert works["edit, 2 steps"].flops == two + decode  # of two steps one takes the source's noise
    (line,) = speed.make_figures(
        works["step, 2 rows"], {"eager": TimedRounds([0.5, 0.5], [])}, DeviceLimit(two, "")
    )
    assert line.fraction_of_limit == 2.0


def test_people_get_a_table(
    words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("random, 32x32, float32 on ") and "made up" in lines[1]
    assert [line[:18].strip() for line in lines[-6:]] == list(WHATS)
    assert all(line.endswith("%") and " eager " in line for line in lines[-6:])


def test_a_dry_run_times_nothing(
    words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words("--dry-run", "--json", "-o", "speed.json")) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["dry_run"] and "figures" not in data and not Path("speed.json").exists()


def test_modes_that_disagree_have_no_figure(
    words: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(speed, "BOUNDS", {torch.float32: -1.0})
    assert main(words("--json")) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and "eager is " in captured.err and "no figure" in captured.err


BAD = {
    "rounds": (["--rounds", "0"], "rounds must be 1 or more, got 0"),
    "engine": (["--engines", "eager,warp"], "engine must be one of auto, eager, "),
    "graph": (["--engines", "graph"], "engine graph needs a CUDA device, got cpu"),
    "methods": (["--methods", "replay"], "bench speed takes no pictures and no methods"),
    "pictures": (["--pictures", "3"], "bench speed takes no pictures and no methods"),
    "steps": (["--steps", "0"], "--steps must be from 1 to 1000, got 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_words_are_one_line(
    words: Callable[..., list[str]], says_one_line: Says, name: str
) -> None:
    options, sentence = BAD[name]
    assert main(words(*options)) == 2
    says_one_line(sentence)


def test_an_inversion_takes_no_rounds(says_one_line: Says) -> None:
    assert main(["bench", "inversion", "--rounds", "3"]) == 2
    says_one_line("bench inversion takes no rounds and no engines")

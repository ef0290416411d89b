"""The command for a first GPU: stages that fail or hang, interruption, resumption, options."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks.gpu_first import __main__ as command
from benchmarks.gpu_first import results, running
from benchmarks.gpu_first.findings import Findings
from benchmarks.gpu_first.results import Origin, read_result
from benchmarks.gpu_first.running import Outcome, Run, run_stages
from benchmarks.gpu_first.stages import NAMES, STAGES, Stage
from support.places import ROOT

HERE = Origin("code", "commit", "device")
GOOD = "write({'figures': {'a': 1}})"
SCRIPTS = {  # what the process of a stage does
    "good": GOOD,
    "bad": "write({'checks': [{'what': 'it holds', 'ok': False, 'seen': 7}]}); sys.exit(1)",
    "broken": "write({'figures': {'a': 1}}); raise ValueError('a broken thing')",
    "mute": "os._exit(3)",
    "long": "write({'figures': {'a': 1}}); time.sleep(60)",
    "deaf": "signal.signal(signal.SIGTERM, signal.SIG_IGN); " + GOOD + "; time.sleep(60)",
    "absent": "write({'skipped': 'there is no compiler'})",
    "last": GOOD,
}
START = """import json, os, signal, sys, time
def write(data): open(sys.argv[1], "w").write(json.dumps(data))
open(sys.argv[1] + ".runs", "a").write("x")
print("a line of the log", flush=True)
"""


def stage(name: str, limit: int = 20) -> Stage:
    return Stage(name, "?", limit, lambda setting, findings: None)


def build(one: Stage, findings: Path, limit: float) -> list[str]:
    return [sys.executable, "-c", START + SCRIPTS[one.name], str(findings)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "results", HERE, 100, False, build)


def statuses(outcomes: list[Outcome]) -> dict[str, str]:
    return {one.stage: one.status for one in outcomes}


def runs(run: Run, name: str) -> int:
    """How often the process of a stage was started."""
    return len((run.folder / f"{name}.part.runs").read_text())


def test_a_stage_that_fails_stops_no_other_and_the_summary_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "GRACE", 0.3)
    limits = {"long": 1, "deaf": 1}
    stages = [stage(name, limits.get(name, 20)) for name in SCRIPTS]
    outcomes = list(run_stages(stages, run))
    assert statuses(outcomes) == {
        "good": "passed", "bad": "failed", "broken": "failed", "mute": "failed",
        "long": "timed out", "deaf": "timed out", "absent": "skipped", "last": "passed",
    }  # fmt: skip
    reasons = {one.stage: one.reason for one in outcomes}
    assert reasons["bad"] == "not so: it holds: 7"
    assert reasons["broken"] == "exit code 1: ValueError: a broken thing"
    assert reasons["mute"] == "exit code 3: a line of the log"
    assert reasons["long"] == "it was ended after 1 s"
    assert reasons["absent"] == "there is no compiler"
    summary = command.format_summary(stages, outcomes, False)
    assert summary.endswith("2 passed, 3 failed, 2 timed out, 1 skipped")
    assert all(reason in summary for reason in reasons.values())


def test_what_a_stage_found_before_it_was_ended_is_kept(run: Run) -> None:
    list(run_stages([stage("long", 1)], run))
    stored = read_result(run.folder, "long")
    assert stored is not None and stored.figures == {"a": 1} and stored.limit == 1
    assert (run.folder / "long.log").read_text() == "a line of the log\n"
    assert not (run.folder / "long.part").exists()


@pytest.mark.slow
def test_the_child_of_a_stage_is_ended_with_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    child = "import subprocess; one = subprocess.Popen(['sleep', '60']); "
    monkeypatch.setitem(
        SCRIPTS, "parent", child + "write({'figures': {'id': one.pid}}); one.wait()"
    )
    list(run_stages([stage("parent", 1)], run))
    stored = read_result(run.folder, "parent")
    assert stored is not None
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.kill(stored.figures["id"], 0)
            time.sleep(0.02)


def test_a_stage_that_ended_is_not_run_again(run: Run) -> None:
    stages = [stage("good"), stage("bad"), stage("absent"), stage("long", 1)]
    first = list(run_stages(stages, run))
    again = list(run_stages(stages, run))
    assert statuses(first) == statuses(again)
    assert [runs(run, one.name) for one in stages] == [1, 1, 1, 2]
    list(run_stages(stages[:1], run._replace(again=True)))
    assert runs(run, "good") == 2


@pytest.mark.parametrize("other", [{"code": "new"}, {"device": "another"}])
def test_another_code_or_device_is_run_again(run: Run, other: dict[str, str]) -> None:
    list(run_stages([stage("good")], run))
    list(run_stages([stage("good")], run._replace(origin=HERE._replace(**other))))
    assert runs(run, "good") == 2


def test_another_commit_with_the_same_code_is_not(run: Run) -> None:
    list(run_stages([stage("good")], run))
    list(run_stages([stage("good")], run._replace(origin=HERE._replace(commit="of a page"))))
    assert runs(run, "good") == 1


def test_a_damaged_result_is_made_again(run: Run) -> None:
    list(run_stages([stage("good")], run))
    (run.folder / "good.json").write_text('{"stage": "good"')
    assert statuses(list(run_stages([stage("good")], run))) == {"good": "passed"}
    assert runs(run, "good") == 2


@pytest.mark.slow
def test_the_budget_is_for_all_stages(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LEAST", 1.5)
    outcomes = list(run_stages([stage("long"), stage("good")], run._replace(budget=2)))
    assert statuses(outcomes) == {"long": "timed out", "good": "not run"}
    assert outcomes[0].reason == "it was ended after 2 s"
    assert outcomes[1].reason == "the 2 s are spent"
    assert read_result(run.folder, "good") is None


def test_a_rehearsal_has_more_time(run: Run) -> None:
    [slow] = run_stages([stage("good", 2)], run._replace(slack=10.0))
    assert slow.status == "passed"
    stored = read_result(run.folder, "good")
    assert stored is not None and stored.limit == 20


def wait_for(test: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not test():
        assert time.monotonic() < end
        time.sleep(0.05)


DRIVER = """import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from benchmarks.gpu_first import __main__ as command
scripts = {"environment": sys.argv[2], "limits": sys.argv[3]}
command.build_command = lambda small: lambda one, findings, limit: [
    sys.executable, "-c", sys.argv[4] + scripts[one.name], str(findings)]
words = ["--rehearse", "-o", sys.argv[1], "--stages", "environment,limits"]
sys.exit(command.main(words))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_where_it_stood(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The second stage is stopped as soon as it has begun."""
    folder = tmp_path / "results"
    words = [sys.executable, "-c", DRIVER, str(folder), SCRIPTS["good"], SCRIPTS["long"], START]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: (folder / "limits.part.runs").exists() or process.poll() is not None)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.endswith("1 passed, 1 left: interrupted, the same command goes on\n")
    stored = read_result(folder, "limits")
    assert stored is not None and stored.status == "interrupted"
    for name in ("environment", "limits"):
        monkeypatch.setitem(SCRIPTS, name, GOOD)
    monkeypatch.setattr(command, "build_command", lambda small: build)
    assert command.main(["--rehearse", "-o", str(folder), "--stages", "environment,limits"]) == 0
    said = capsys.readouterr().out
    assert (
        said.endswith("2 passed\n") and said.count("has a result of") == 2
    )  # its line comes twice
    assert len((folder / "environment.part.runs").read_text()) == 1


@pytest.mark.slow
def test_the_whole_command_on_a_cpu(tmp_path: Path) -> None:
    """Every stage that can runs at small size; those that compile too."""
    words = ["-m", "benchmarks.gpu_first", "--rehearse", "-o", str(tmp_path), "--budget", "3000"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.stem for path in tmp_path.glob("*.json")} == set(NAMES)
    assert "no figure here means anything" in done.stdout


def test_without_a_gpu_nothing_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.main(["-o", str(tmp_path / "results")]) == 2
    said = capsys.readouterr()
    assert "needs a CUDA device, and torch sees none: nothing was run" in said.err
    assert said.out == "" and list(tmp_path.iterdir()) == []


def test_a_dry_run_lists_stages_and_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.main(["--dry-run", "-o", str(tmp_path / "results")]) == 0
    said = capsys.readouterr().out
    assert [line.split()[2] for line in said.splitlines()[:-1]] == list(NAMES)
    assert [int(line.split()[0]) for line in said.splitlines()[:-1]] == [s.limit for s in STAGES]
    assert list(tmp_path.iterdir()) == []


def test_stages_are_taken_in_their_order() -> None:
    options = command.read_options(["--stages", "limits,environment"])
    assert [one.name for one in options.stages] == ["environment", "limits"]


@pytest.mark.parametrize("words", [["--stages", "steps"], ["--budget", "0"], ["--budget", "nan"]])
def test_bad_options_end_at_once(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.read_options(words)
    assert ended.value.code == 2 and words[1] in capsys.readouterr().err


def test_all_that_needs_no_compiling_fits_into_the_default_budget() -> None:
    """Even if every stage before took all of its time."""
    budget = command.read_options([]).budget
    assert [one.name for one in STAGES[-2:]] == ["compile-tests", "compiled-step"]
    assert sum(one.limit for one in STAGES[:-2]) <= budget


def test_the_code_of_results_is_all_that_stages_run() -> None:
    files = {file.relative_to(ROOT).as_posix() for file in results.list_code()}
    assert {"mdp_lite/engine/graphs.py", "kernels/mdp_lite_kernels/geglu_jit.py",
            "tests/engine/test_engine_gpu.py", "tests/support/triton_cases.py",
            "benchmarks/kernels.py", "benchmarks/gpu_first/steps.py"} <= files  # fmt: skip
    some = results.list_code()[:3]
    assert results.hash_code(some) != results.hash_code(some[:2])


def test_results_have_a_commit_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert results.find_origin(True).commit == "unknown"
    assert results.find_origin(True, "abc1234").commit == "abc1234"


@pytest.mark.slow
def test_stages_need_no_more_than_the_core_and_pytest() -> None:
    """A machine with a GPU may have nothing else, and its packages are no others' business."""
    absent = ("diffusers", "accelerate", "gradio", "fastapi", "ray", "pytest_benchmark", "xdist")
    block = f"import sys; sys.modules.update(dict.fromkeys({absent}))"
    code = f"{block}; from benchmarks.gpu_first import __main__, stage; print('read')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "read\n", done.stderr


def test_findings_are_on_the_disk_at_once(tmp_path: Path) -> None:
    findings = Findings(tmp_path / "one.part")
    findings.add("ms", 4.5)
    findings.check("graph is eager", False, 0.3)
    assert json.loads((tmp_path / "one.part").read_text()) == {
        "figures": {"ms": 4.5}, "skipped": None,
        "checks": [{"what": "graph is eager", "ok": False, "seen": 0.3}],
    }  # fmt: skip

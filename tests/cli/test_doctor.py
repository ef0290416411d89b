"""`mdp-lite doctor`: the bundled model passes, what is printed, exit codes; faults are apart."""

import json
import math
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mdp_lite.__main__ import BAD_INPUT, FAILED, main
from mdp_lite.cli.application import read_command_line
from mdp_lite.editor import Editor
from mdp_lite.eval.doctor import printed, speed
from mdp_lite.eval.doctor.check import DAMAGED, Check, collect_warnings, judge, run_check
from mdp_lite.eval.doctor.command import MACHINE_CHECKS, MODEL_CHECKS
from mdp_lite.eval.doctor.installed import EXTRAS
from mdp_lite.eval.doctor.model import LoadedModel, describe_model, load_model
from mdp_lite.names import DEFAULT_MODEL, BadInput
from support.doctor import by_name, make_loaded, read_options
from support.places import ENVIRONMENT

NAMES = [*MACHINE_CHECKS, "model", *MODEL_CHECKS, "kernel"]
TIMED = {"speed"}  # it may fail here: other tests use the processor at the same time
LONG = 60  # seconds that it may take, even on one core
TOKEN, PASSWORD = "hf_abcdefghijkl", "open-sesame"


class Run(NamedTuple):
    """A command that ran by itself: its exit code, its texts and its home folder.

    seconds are those of processors, which other programs do not lengthen.
    """

    code: int
    out: str
    err: str
    seconds: float
    home: Path


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The command on the bundled model, with all its folders in a home and secrets around."""
    home = tmp_path_factory.mktemp("somebody")
    (home / "work").mkdir()
    private = {"HOME": str(home), "TMPDIR": str(home), "HF_TOKEN": TOKEN, "HF_HOME": f"{home}/hf",
               "HF_ENDPOINT": f"https://me:{PASSWORD}@hub.example"}  # fmt: skip
    command = [sys.executable, "-m", "mdp_lite", "doctor", "--json", "--device", "cpu"]
    begun = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command, "--cache", f"{home}/sources"], cwd=home / "work", env=ENVIRONMENT | private,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = end.ru_utime - begun.ru_utime + end.ru_stime - begun.ru_stime
    return Run(done.returncode, done.stdout, done.stderr, seconds, home)


def test_a_word_that_is_no_device_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for line in (["doctor"], ["edit", "--source-prompt", "a", "--prompt", "b", "-o", "x.png"]):
        assert main([*line, "--device", "gpu", "--dry-run"]) == BAD_INPUT
        said.append(capsys.readouterr())
    assert said[0] == said[1] and "--device" in said[0].err and not said[0].out


def test_advice_for_a_damaged_model(tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(b"cut")
    options = read_options(str(tmp_path / "cut.safetensors"))
    found = run_check("model", lambda: describe_model(load_model(options)))
    assert found.state == "fail" and found.advice == DAMAGED


def test_every_check_passes_on_the_bundled_model(healthy: Run) -> None:
    found = by_name(json.loads(healthy.out))
    assert list(found) == NAMES
    skipped = [name for name, one in found.items() if one["state"] == "skipped"]
    failed = [name for name, one in found.items() if one["state"] == "fail"]
    assert set(failed) <= TIMED, healthy.out + healthy.err
    assert healthy.code == (FAILED if failed else 0)
    assert set(skipped) <= {"capture", "kernel", "memory"} and "capture" in skipped


def test_it_is_quick(healthy: Run) -> None:
    assert 0 < healthy.seconds <= LONG and json.loads(healthy.out)["seconds"] > 0


def test_the_object_has_one_form(healthy: Run) -> None:
    data = json.loads(healthy.out, parse_constant=lambda name: pytest.fail(name))
    assert list(data) == [
        "command", "dry_run", "model", "seconds", "counts", "checks", "warnings"
    ]  # fmt: skip
    assert (data["command"], data["dry_run"], data["model"]) == ("doctor", False, DEFAULT_MODEL)
    states = [one["state"] for one in data["checks"]]
    assert data["counts"] == {state: states.count(state) for state in ("pass", "fail", "skipped")}
    for one in data["checks"]:
        assert list(one) == ["name", "state", "text", "advice", "figures"] and one["text"]
        assert bool(one["advice"]) == (one["state"] == "fail")
        assert isinstance(one["figures"], dict)


def test_nothing_private_is_printed(healthy: Run) -> None:
    for text in (healthy.out, healthy.err):
        assert str(healthy.home) not in text and TOKEN not in text and PASSWORD not in text
    found = by_name(json.loads(healthy.out))
    assert found["hub"]["figures"]["folder"] == "~/hf/hub" and found["hub"]["figures"]["has_token"]
    assert found["disk"]["figures"]["folders"]["cache of sources"]["folder"] == "~/sources"
    variables = found["environment"]["figures"]["variables"]
    assert variables["HF_ENDPOINT"] == "https://***@hub.example"


def test_it_writes_nothing(healthy: Run) -> None:
    assert [path for path in healthy.home.rglob("*") if path.is_file()] == []


def test_figures_are_those_of_the_texts(healthy: Run) -> None:
    found = by_name(json.loads(healthy.out))
    speed = found["speed"]["figures"]
    assert speed["fraction_of_limit"] == pytest.approx(speed["limit_seconds"] / speed["seconds"])
    assert f"{1e3 * speed['seconds']:.3g} ms a step" in found["speed"]["text"]
    assert speed["limit_seconds"] >= speed["flops"] / speed["flops_per_second"]
    memory = found["memory"]["figures"]
    if memory:
        assert memory["share"] == memory["measured_bytes"] / memory["planned_bytes"]


# --- lines, dry runs, exit codes ---------------------------------------------------------------


def test_a_dry_run_computes_nothing(
    unet_rows: list[int], checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", str(checkpoint), "--device", "cpu", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [line.split()[:2] for line in lines[:-1] if line[:1] != " "]
    assert [name for _, name in heads] == NAMES and unet_rows == []
    assert [name for state, name in heads if state == "skipped"] == [*MODEL_CHECKS, "kernel"]
    assert (
        lines[-1] == f"{len(MACHINE_CHECKS) + 1} passed, 0 failed, {len(MODEL_CHECKS) + 1} skipped"
    )


def test_a_model_that_does_not_load_is_a_failed_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "nothing", "--device", "cpu", "--json", "--dry-run"]) == FAILED
    captured = capsys.readouterr()
    found = by_name(json.loads(captured.out))
    assert found["model"]["state"] == "fail" and "nothing" in found["model"]["text"]
    assert found["model"]["advice"] != "" and captured.err == ""
    assert all(found[name]["text"] == "the model did not load" for name in MODEL_CHECKS)


def test_a_device_that_is_not_there_is_a_failed_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--device", "cuda:99", "--json"]) == FAILED
    found = by_name(json.loads(capsys.readouterr().out))
    for name in ("devices", "model"):
        assert found[name]["state"] == "fail" and "cuda:99 is not there" in found[name]["text"]
    assert found["kernel"]["state"] == "skipped"


def test_what_can_not_be_read_is_bad_input(says_one_line: Callable[[str], None]) -> None:
    assert main(["doctor", "--dtype", "float8"]) == BAD_INPUT
    says_one_line("--dtype must be one of")
    with pytest.raises(BadInput, match="MODEL and --model say the same thing, got 'a' too"):
        read_command_line(["doctor", "a", "--model", "b"])


def test_both_forms_name_the_model() -> None:
    for words in (["a"], ["--model", "a"]):
        assert read_options(*words).chosen_model.name == "a"
    assert read_options().chosen_model.name == DEFAULT_MODEL


def test_a_package_that_does_not_load_is_a_failed_line(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libcudart.so is missing')")
    rooms = f"{tmp_path}:{ENVIRONMENT['PYTHONPATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "mdp_lite", "doctor", "--json"],
        env=ENVIRONMENT | {"PYTHONPATH": rooms}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (FAILED, "")
    found = by_name(json.loads(done.stdout))
    assert list(found) == ["imports", "versions", "extras"]
    assert found["imports"]["text"] == "ImportError: libcudart.so is missing"
    assert found["versions"]["state"] == "pass"


# --- parts -------------------------------------------------------------------------------------


def test_an_error_is_a_failed_check() -> None:
    def stumble(error: Exception) -> Check:
        raise error

    one = run_check("a", lambda: stumble(KeyError("b\nc")))
    assert one[:3] == ("a", "fail", "KeyError: 'b\\nc'") and one.advice
    one = run_check("a", lambda: stumble(BadInput("want b,\n got c")))
    assert one[:3] == ("a", "fail", "want b, got c") and one.advice
    with pytest.raises(KeyboardInterrupt):
        run_check("a", lambda: stumble(KeyboardInterrupt()))  # type: ignore[arg-type]


def test_advice_is_for_what_fails() -> None:
    assert judge("a", True, "text", "advice") == Check("a", "pass", "text", "", {})
    assert judge("a", False, "text", "advice") == Check("a", "fail", "text", "advice", {})


def test_lines_are_short_and_have_their_advice() -> None:
    long = Check("environment", "fail", "word " * 50, "advice " * 30)
    lines = printed.format_check(long)
    assert max(map(len, lines)) <= 100
    assert lines[0].split()[:2] == ["fail", "environment"]
    assert "".join(lines).count("word") == 50 and "".join(lines).count("advice") == 30
    assert [line.split()[0] for line in lines if "->" in line] == ["->"]


def test_home_is_named_by_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home, link = tmp_path / "us er", tmp_path / "link"
    home.mkdir()
    link.symlink_to(home)
    monkeypatch.setenv("HOME", str(link))
    value: Any = {f"{home}/a": [f"at {link}/b.", f"{home}", f"{home}-2", f"/x{home}/c", 1, None]}
    assert printed.clean(value) == {"~/a": ["at ~/b.", "~", f"{home}-2", f"/x{home}/c", 1, None]}
    monkeypatch.setenv("HOME", "/")
    assert printed.clean("/usr/lib") == "/usr/lib"


def test_numbers_that_json_lacks_are_null() -> None:
    assert printed.clean([math.nan, math.inf, 1.5, 2]) == [None, None, 1.5, 2]


def test_warnings_of_the_library_are_in_the_report(caplog: pytest.LogCaptureFixture) -> None:
    import logging

    log = logging.getLogger("mdp_lite")
    with collect_warnings() as outer:
        log.warning("one %s", 1)
        with collect_warnings() as inner:
            log.warning("two")
        log.info("three")
    assert (outer, inner) == (["one 1"], ["two"]) and caplog.text == ""
    log.warning("four")
    assert "four" in caplog.text
    data, lines = printed.print_checks([], outer)
    assert data["warnings"] == outer and lines[0].split() == ["warning", "one", "1"]


def test_extras_are_those_of_the_project() -> None:
    import tomllib

    from support.places import ROOT

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(EXTRAS) == set(project["optional-dependencies"]) - {"dev", "docs", "fuzz"}


# --- every kind of model -----------------------------------------------------------------------

CHECKS: dict[str, Callable[[LoadedModel], Check]] = {
    name: check for name, check in MODEL_CHECKS.items() if name not in ("memory", "capture")
}


@pytest.mark.covering(1)
@pytest.mark.parametrize("name", CHECKS)
def test_every_kind_of_model_passes(
    name: str, every_editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "BUDGET", 0)
    monkeypatch.setattr(speed, "OVERHEAD", 100)  # other programs may slow small models down
    one = run_check(name, lambda: CHECKS[name](make_loaded(every_editor)))
    assert one.state == "pass", one

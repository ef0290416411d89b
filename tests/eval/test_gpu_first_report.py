"""Pages about GPUs are made from results: made-up ones here, and those that are committed."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_first import report, tables
from benchmarks.gpu_first.results import FOLDER, REHEARSAL, Origin, Result, write_result
from benchmarks.gpu_first.stages import NAMES
from support.places import ROOT

MODEL = {"FLOPs of a step": 800e9}
STEP = {"median": 4.0, "low": 3.9, "high": 4.25, "samples": [4.0]}
SLOW = {"median": 8.0, "low": 7.5, "high": 9.0, "samples": [8.0]}
FIGURES: dict[str, dict[str, Any]] = {  # of a GPU that never was
    "environment": {"machine": {"torch": "9.9.0"}},
    "limits": {
        "copy bytes/s": 4e12, "float16 FLOP/s": 500e12, "tf32 FLOP/s": 250e12,
        "float16 limit": {"rate": 990e12, "name": "data sheet"},
    },
    "steps-float16": {
        "model": MODEL, "graph: ms a step": STEP, "eager: ms a step": SLOW,
        "graph: ms a UNet call": STEP, "graph: ms an edit": SLOW,
        "graph: host waits": {"UNet call": 0, "step": 1, "edit": 53},
        "memory, largest first": {
            "reserved before": 2**30, "reserved": 3 * 2**30, "allocated": 0,
            "peak allocated": 2 * 2**30, "graphs": 31,
        },
    },
    "profile": {
        "shares": {"convolution": 0.61, "norm": 0.125}, "kernel launches": 638,
        "operators": {"count": 600, "bytes": 6_400_000_000}, "attention": ["_flash_attention"],
        "kernels": [["a_kernel<x | y>", 12, 1234.5]],
    },
    "cold-start": {"seconds: import torch": 2.0, "seconds: auto": [4.5, 3.25]},
    "settings-float32": {"model": MODEL, "graph: TF32": STEP},
    "kernels": {
        "copy bytes/us": 4e6,
        "geglu 2x4096x2560 float16: eager": {"kernel": 10.0, "eager": 25.0, "of a copy": 0.8},
        "geglu 2x4096x2560 float16: compiled": {"kernel": 10.0, "compiled": 9.0, "of a copy": 0.8},
    },
}  # fmt: skip
ROWS = (
    "| float16, graph | 4.00 ms [3.90, 4.25] | 4.00 ms [3.90, 4.25] | 40% |",
    "| float16, eager | 8.00 ms [7.50, 9.00] |  | 20% |",
    "| float16, graph | 8.00 ms [7.50, 9.00] | 0 | 1 | 53 |",
    "| auto | 4.50 s, 3.25 s |",
    "| copy, read and written | 4.000 TB/s |  |",
    "| product, float16 | 500.00 TFLOP/s | 990 TFLOP/s |",
    "| float32 | graph: TF32 | 4.00 ms [3.90, 4.25] |",
    "| float16 | largest first | 1.00 GiB | 3.00 GiB | 2.00 GiB | 31 |",
    "| convolution | 61.0% |",
    "| `a_kernel<x \\| y>` | 12 | 1,234 |",
    "| geglu 2x4096x2560 float16: eager | 10.0 | 25.0 | 2.50 | 80% |",
    "638 kernels launched, 600 operators that compute, 6.40 GB read and written by them. "
    "At the rate of a copy these bytes take 1.60 ms. Attention: _flash_attention.",
    "Median over the cases: our kernels are 0.90 times as fast as compiled (1 cases), "
    "2.50 times as fast as eager (1 cases).",
    "| steps-float16 | graph is eager | **no** | 0.3 |",
    "| jobs | timed out | 50 s | abc1234 | 2026-12-01 10:00 | it was ended after 50 s |",
)


def make_result(stage: str, figures: dict[str, Any], device: str = "A GPU") -> Result:
    origin, date = Origin("c0de", "abc1234", device), "2026-12-01 10:00"
    wrong = [{"what": "graph is eager", "ok": False, "seen": 0.3}]
    checks = wrong if stage == "steps-float16" else []
    return Result(stage, "passed", "", 12.0, 60, date, origin, figures, checks)


@pytest.fixture
def made_up(tmp_path: Path) -> Path:
    """A folder with results."""
    for stage, figures in FIGURES.items():
        write_result(tmp_path, make_result(stage, figures))
    late = make_result("jobs", {})._replace(
        status="timed out", reason="it was ended after 50 s", seconds=50.0
    )
    write_result(tmp_path, late)
    return tmp_path


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_the_figures_of_the_files(row: str, made_up: Path) -> None:
    assert row in report.render(report.read_all(made_up)).splitlines()


def test_results_come_in_the_order_of_the_stages(made_up: Path) -> None:
    assert list(report.read_all(made_up)) == [name for name in NAMES if name in (*FIGURES, "jobs")]


def test_figures_name_their_device_versions_and_commit(made_up: Path) -> None:
    text = report.render_origin(report.read_all(made_up))
    assert "on A GPU, torch 9.9.0; commit abc1234." in text


def test_every_stage_alone_gives_a_page(made_up: Path) -> None:
    """Whatever is missing: a first run may end anywhere."""
    for stage, result in report.read_all(made_up).items():
        page = report.render({stage: result})
        assert f"| {stage} |" in page and "None" not in page


def test_without_results_the_page_says_that_no_gpu_has_run_it() -> None:
    assert report.NONE in report.render({}) and report.NONE in report.render_quote({})
    assert report.render_sentence({}) == report.NOT_TRIED
    assert "|" not in report.render({})


def test_the_sentence_is_of_the_fastest_step(made_up: Path) -> None:
    results = report.read_all(made_up)
    assert report.render_sentence(results) == (
        "On A GPU, a guided step at SD 1.5's size takes 4.0 ms in float16 "
        "(graph, 40% of its matrix product rate)."
    )
    faster = {"compile: ms a step": STEP | {"median": 3.0}}
    results["compiled-step"] = make_result("compiled-step", faster)
    assert "3.0 ms in float16 (compile, 53% of" in report.render_sentence(results)
    assert "| float16, compile | 3.00 ms" in tables.make_steps(results)


def test_without_a_step_the_sentence_counts_stages() -> None:
    results = {"environment": make_result("environment", {}, "device")}
    assert report.render_sentence(results) == (
        "On device, 1 of 1 stages passed, and no step was timed."
    )


def test_publishing_writes_the_pages(made_up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speed = made_up / "speed.md"
    speed.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "ROOT", made_up)
    monkeypatch.setattr(report, "PAGE", made_up / "page.md")
    monkeypatch.setattr(report, "SPEED", speed)
    said = report.publish(made_up, whole=True)
    assert said.endswith(report.render_sentence(report.read_all(made_up)))
    assert (made_up / "page.md").read_text() == report.render(report.read_all(made_up))
    text = speed.read_text()
    assert text.startswith("before\n") and text.endswith(f"{report.END}\nafter\n")
    assert ROWS[0] in text and "old" not in text
    report.publish(made_up, whole=True)
    assert speed.read_text() == text


def test_another_folder_gets_its_page_inside(made_up: Path) -> None:
    report.publish(made_up, whole=False)
    assert (made_up / "report.md").read_text() == report.render(report.read_all(made_up))


def test_a_rehearsal_is_never_published(made_up: Path) -> None:
    write_result(made_up, make_result("limits", FIGURES["limits"], REHEARSAL))
    assert "no figure here means anything" in report.render(report.read_all(made_up))
    with pytest.raises(SystemExit, match="holds a rehearsal on a CPU"):
        report.publish(made_up, whole=True)


def test_the_pages_are_made_from_the_committed_results() -> None:
    """Run python -m benchmarks.gpu_first report if this fails."""
    results = report.read_all(FOLDER)
    assert report.PAGE.read_text("utf-8") == report.render(results)
    speed = report.SPEED.read_text("utf-8")
    assert report.put_quote(speed, results) == speed


NOT_YET = {  # what pages say until there are results
    "README.md": report.NOT_TRIED, "docs/limits.md": "Nothing has run on a GPU yet",
    "docs/gpu.md": "No GPU has run this code yet", "docs/speed.md": "No GPU has run this code yet",
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_YET)
def test_a_page_says_of_gpus_what_the_committed_results_do(name: str) -> None:
    results = report.read_all(FOLDER)
    page = " ".join((ROOT / name).read_text("utf-8").split())
    assert (NOT_YET[name] in page) == (not results)
    assert name != "README.md" or report.render_sentence(results) in page

"""Pages from the results: no figure of a GPU is typed by hand.

publish writes results/gpu_first.md and the part of docs/speed.md between two marks. What the README
may say of GPUs is render_sentence; a test compares all three with the results.
"""

import re
from pathlib import Path

from benchmarks.gpu_first import tables
from benchmarks.gpu_first.results import FOLDER, REHEARSAL, Result, read_result
from benchmarks.gpu_first.stages import NAMES
from benchmarks.gpu_first.tables import Results
from benchmarks.record import ROOT
from mdp_lite.files import atomic

PAGE, SPEED = FOLDER.parent / "gpu_first.md", ROOT / "docs" / "speed.md"
COMMAND = "python -m benchmarks.gpu_first"
BEGIN, END = "<!-- made by benchmarks.gpu_first -->", "<!-- end -->"
BLOCK = re.compile(f"(?<={re.escape(BEGIN)}\n).*?(?={re.escape(END)})", re.DOTALL)
NONE = f"No GPU has run this code yet. `{COMMAND}` measures one and writes what stands here."
NOT_TRIED = "no GPU has been tried yet"  # what the README says until one has
SECTIONS = (
    ("Stages", (tables.make_stages,)),
    ("A step", (tables.make_steps,)),
    ("An edit", (tables.make_edits,)),
    ("Cold start", (tables.make_cold_starts,)),
    ("Limits", (tables.make_limits,)),
    ("Settings", (tables.make_settings,)),
    ("Memory after a warm-up", (tables.make_memory,)),
    ("Where the time goes", (tables.make_profile, tables.make_profile_notes, tables.make_kernels)),
    ("Our kernels", (tables.summarize_own_kernels, tables.make_own_kernels)),
    ("Checks", (tables.make_checks,)),
)
QUOTED = (tables.make_steps, tables.make_edits, tables.make_cold_starts)  # in docs/speed.md


def read_all(folder: Path) -> dict[str, Result]:
    """The stored results in the order of the stages."""
    found = {name: read_result(folder, name) for name in NAMES}
    return {name: result for name, result in found.items() if result}


def render(results: Results) -> str:
    """The whole page."""
    parts = ["# The first minutes on a GPU", render_origin(results)]
    for title, makers in SECTIONS:
        texts = [text for make in makers if (text := make(results))]
        parts += [f"## {title}", *texts] if texts else []
    return "\n\n".join(parts) + "\n"


def render_origin(results: Results) -> str:
    """What the figures belong to, or that there are none."""
    if not results:
        return NONE
    devices = ", ".join(dict.fromkeys(one.origin.device for one in results.values()))
    commits = ", ".join(dict.fromkeys(one.origin.commit for one in results.values()))
    machine = tables.find(results, "environment", "machine") or {}
    torch = f", torch {machine['torch']}" if "torch" in machine else ""
    if any(is_rehearsal(one) for one in results.values()):
        return f"A rehearsal on a CPU of commit {commits}: no figure here means anything."
    times = "Times are medians of 20 (of an edit: 3) with 95% intervals, by the device's own clock."
    return f"`{COMMAND}` on {devices}{torch}; commit {commits}. {times}"


def is_rehearsal(result: Result) -> bool:
    """Whether a result is of a rehearsal on a CPU."""
    return result.origin.device == REHEARSAL


def render_quote(results: Results) -> str:
    """The part of docs/speed.md: the main tables."""
    texts = [text for make in QUOTED if (text := make(results))]
    link = "All tables: [results/gpu_first.md](../benchmarks/results/gpu_first.md)."
    return (
        "\n" + "\n\n".join([render_origin(results), *texts, *([link] if results else [])]) + "\n\n"
    )


def render_sentence(results: Results) -> str:
    """What the README may say: a step's time on this device, or that no GPU has been tried."""
    times = tables.list_times(results, "step")
    best = min(times, key=lambda one: times[one]["median"], default=None)
    if not results:
        return NOT_TRIED
    if best is None:
        passed = sum(one.status == "passed" for one in results.values())
        device = next(iter(results.values())).origin.device
        return f"On {device}, {passed} of {len(results)} stages passed, and no step was timed."
    mode, dtype = best
    share = tables.find_share(results, dtype, times[best]["median"])
    part = "" if share is None else f", {share:.0%} of its matrix product rate"
    device = results["compiled-step" if mode == "compile" else f"steps-{dtype}"].origin.device
    took = f"{times[best]['median']:.1f} ms in {dtype} ({mode}{part})"
    return f"On {device}, a guided step at SD 1.5's size takes {took}."


def publish(folder: Path, whole: bool) -> str:
    """Write the page of a folder's results; whole: docs/speed.md too. Returns what was done.

    Other folders than the committed one get their page inside. Raises SystemExit for a rehearsal.
    """
    results = read_all(folder)
    if not whole:
        atomic.write(folder / "report.md", render(results).encode())
        return f"wrote {folder / 'report.md'}"
    if any(map(is_rehearsal, results.values())):
        raise SystemExit(f"{folder} holds a rehearsal on a CPU, whose figures are not published")
    atomic.write(PAGE, render(results).encode())
    atomic.write(SPEED, put_quote(SPEED.read_text("utf-8"), results).encode())
    said = f"wrote {PAGE.relative_to(ROOT)} and {SPEED.relative_to(ROOT)}; the README may say:"
    return f"{said}\n{render_sentence(results)}"


def put_quote(page: str, results: Results) -> str:
    """docs/speed.md with the part between its marks made anew."""
    new, count = BLOCK.subn(lambda _: render_quote(results), page)
    assert count == 1, f"the page must have the marks {BEGIN} and {END} once, got {count}"
    return new

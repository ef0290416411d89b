"""Plans in words, for people: which steps call the UNet, and with which rows."""

from mdp_lite.method.mdp import Reads
from mdp_lite.method.plan import Plan, Segment


def describe_plan(plan: Plan) -> list[str]:
    """The segments for people; a run of calls with the same rows is one line."""
    runs: list[list[Segment]] = []
    for segment in plan.segments:
        if runs and segment.kind == "call" and _all_reads(segment) == _all_reads(runs[-1][-1]):
            runs[-1].append(segment)
        else:
            runs.append([segment])
    lines = [_describe_run(run) for run in runs]
    rows, calls = _count("UNet row", plan.unet_rows), _count("call", plan.unet_calls)
    return [*lines, f"{rows} in {calls}"]


def _describe_run(run: list[Segment]) -> str:
    first = run[0]
    last = run[-1].stop - 1
    steps = f"steps {first.start} to {last}" if last > first.start else f"step {last}"
    if first.kind == "call":
        reads, without = _all_reads(first), sum(one.reuses for one in run)
        calls, rows = _count("call", len(run)), _count("UNet row", len(reads))
        each = " each" if len(run) > 1 else ""
        less = f", {without} of them without null" if without else ""
        return f"{steps}: {calls} of {rows}{each} ({' + '.join(reads)}){less}"
    if first.kind == "carry":
        return f"{steps}: the difference from the source is scaled, no UNet call"
    if first.kind == "along":
        return f"{steps}: along the source's noise, no UNet call"
    return f"{steps}: the source itself, no UNet call"


def _all_reads(segment: Segment) -> Reads:
    """The rows of a call, with the null row that it leaves out."""
    return ("null", *segment.reads) if segment.reuses else segment.reads


def _count(word: str, number: int) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")

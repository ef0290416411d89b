"""The memory that a command or a server needs, before it works.

It is the sum that `info` and `plan` state: Python and its libraries, the weights, the activations
of the largest call, and the path of a source.
"""

from collections.abc import Iterable
from typing import Any

from mdp_lite.cli.reports import Report
from mdp_lite.cli.units import SIZES, format_count
from mdp_lite.editor import Editor
from mdp_lite.engine.estimate import Estimate, estimate
from mdp_lite.method.plan import naive_plan
from mdp_lite.method.schedule import zero_weights
from mdp_lite.pictures.fit import Size

# What a process has beside those of an edit; tests/serve and tests/app compare the sums with what
# the operating system counts.
SERVICE_BYTES = 25_000_000  # the libraries of a service, and its threads
PAGE_BYTES = 95_000_000  # gradio's


def estimate_edit(editor: Editor, size: Size, steps: int, rows: int = 0) -> Estimate:
    """The memory of an edit that skips nothing, of a picture of this (width, height).

    rows: the most UNet rows of a call, if that is more than the edit itself takes.
    """
    width, height = size
    return estimate(editor.models, naive_plan(zero_weights(steps), True), height, width, rows)


def estimate_calls(
    editor: Editor, calls: Iterable[tuple[int, ...]], steps: int
) -> Estimate | None:  # fmt: skip
    """The memory of edits whose UNet calls have these shapes (rows, channels, y, x), None of none.

    The largest picture, the most rows and the most steps count.
    """
    some = [(shape[2] * shape[3] * shape[0], shape) for shape in calls]
    if not some:
        return None
    (rows, _, y, x), factor = max(some)[1], editor.runner.factor
    return estimate_edit(editor, (x * factor, y * factor), steps, rows)


def add_memory(report: Report, editor: Editor, calls: list[tuple[int, ...]]) -> Report:
    """The report of a dry run with the memory of a run whose UNet calls have these shapes.

    As report if nothing is called: every source and edit is in the cache then.
    """
    found = estimate_calls(editor, calls, report.data["settings"]["num_inference_steps"])
    if found is None:
        return report
    data = {**report.data, "memory": describe_memory(found)}
    return report._replace(data=data, lines=[*report.lines, format_memory(found)])


def describe_memory(found: Estimate) -> dict[str, Any]:
    """The bytes of each part and of all, for --json."""
    every = found._asdict()
    parts = {name: size for name, size in every.items() if name.endswith("_bytes")}
    return parts | {"peak_bytes": found.peak_bytes}


def format_memory(found: Estimate) -> str:
    """The same as a line for people."""
    parts = (
        ("weights", found.weight_bytes),
        ("activations", found.activation_bytes),
        ("source path", found.path_bytes),
        ("what malloc keeps", found.malloc_bytes),
        ("Python and libraries", found.library_bytes),
    )
    sizes = ", ".join(f"{name} {format_count(size, SIZES)}" for name, size in parts if size)
    return f"memory: {format_count(found.peak_bytes, SIZES)} ({sizes})"

"""The memory that a command or a server needs, before it works.

It is the sum that `info` and `plan` state: Python and its libraries, the weights, the activations
of the largest call, and the path of a source.
"""

from typing import Any

from mdp_lite.cli.reports import Report
from mdp_lite.cli.units import SIZES, format_count
from mdp_lite.editor import Editor
from mdp_lite.engine import flops
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
    models, (width, height), factor = editor.models, size, editor.runner.factor
    found = estimate(models, naive_plan(zero_weights(steps), True), height, width)
    if not rows:
        return found
    weight = next(models.unet.parameters())
    y, x, tokens = height // factor, width // factor, models.c_shape[0]
    call = flops.unet(models.unet.config, y, x, rows, tokens, weight.dtype)
    wide = call.cpu_bytes if weight.device.type == "cpu" else call.peak_bytes
    return found._replace(activation_bytes=max(found.activation_bytes, wide))


def add_memory(report: Report, editor: Editor, calls: list[tuple[int, ...]]) -> Report:
    """The report of a dry run with the memory of a run whose UNet calls have these shapes.

    The largest picture, the most rows and the most steps count. As report if nothing is called:
    every source and edit is in the cache then.
    """
    if not calls:
        return report
    rows, _, y, x = max(calls, key=lambda shape: shape[0] * shape[2] * shape[3])
    factor, steps = editor.runner.factor, report.data["settings"]["num_inference_steps"]
    found = estimate_edit(editor, (x * factor, y * factor), steps, rows)
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
        ("Python and libraries", found.library_bytes),
    )
    sizes = ", ".join(f"{name} {format_count(size, SIZES)}" for name, size in parts if size)
    return f"memory: {format_count(found.peak_bytes, SIZES)} ({sizes})"

"""The doctor on speed: milliseconds a step, and what the machine could do at best."""

import time
from collections.abc import Iterator
from statistics import median

import torch

from mdp_lite.cli.units import FLOPS, SIZES, format_count
from mdp_lite.editor import Editor
from mdp_lite.engine import flops
from mdp_lite.engine.devices import synchronize
from mdp_lite.eval.doctor.check import Check, judge
from mdp_lite.eval.doctor.model import LoadedModel, make_case
from mdp_lite.eval.rounds import copy_rate, matmul_rate
from mdp_lite.method.schedule import zero_weights
from mdp_lite.pipeline.request import Request

BUDGET, MOST = 2.0, 20  # seconds for edits that are timed, and how many at most
# The fastest step is too slow if it takes so many times the limit, and what a small model's step
# takes in any case: hundreds of launches from Python. Steps in the middle depend on other programs.
SLOW, OVERHEAD = 20, 0.1


def check_speed(loaded: LoadedModel) -> Check:
    """The seconds of a step of an edit, against those that its work must take on this machine.

    The limit is max(FLOPs / rate of the best matrix product, bytes of weights / rate of a copy).
    """
    editor, (case, steps) = loaded.editor, make_case(loaded)
    source = editor.generate(case.source, case.seed, steps)
    request = Request(source, case.target, weights=zero_weights(steps))
    times = time_steps(editor, request)
    seconds, fastest = median(times), min(times)
    rows = max(len(one.reads) for one in editor.plan(request).segments)
    limit, figures = find_step_limit(editor, rows)
    figures |= {"seconds": seconds, "fastest_seconds": fastest, "limit_seconds": limit}
    figures |= {"rows": rows, "fraction_of_limit": limit / seconds}
    text = f"{1e3 * seconds:.3g} ms a step of {rows} UNet rows (fastest {1e3 * fastest:.3g} ms); "
    text += f"at best {1e3 * limit:.2g} ms, {limit / seconds:.0%} of the possible speed "
    text += f"({format_count(figures['flops_per_second'], FLOPS)}/s, "
    text += f"{format_count(figures['bytes_per_second'], SIZES)}/s)"
    advice = "is the machine busy, throttled or swapping? See environment and kernel above"
    return judge("speed", fastest <= SLOW * limit + OVERHEAD, text, advice, figures)


def time_steps(editor: Editor, request: Request) -> list[float]:
    """Seconds of the steps of an edit, repeated; the first edit warms up and does not count."""
    list(iterate_steps(editor, request))
    found, end = list[float](), time.perf_counter() + BUDGET
    for _ in range(MOST):
        found += iterate_steps(editor, request)
        if time.perf_counter() > end:
            break
    return found


def iterate_steps(editor: Editor, request: Request) -> Iterator[float]:
    """The seconds of each step but the first, which also prepares the edit."""
    started = None
    for _ in editor.steps([request]):
        synchronize(editor.device)
        now = time.perf_counter()
        if started is not None:
            yield now - started
        started = now


@torch.no_grad()
def find_step_limit(editor: Editor, rows: int) -> tuple[float, dict[str, float]]:
    """The least seconds of a step of so many rows, and the rates that it follows from."""
    unet, runner = editor.models.unet, editor.runner
    dtype, (width, height) = next(unet.parameters()).dtype, runner.size
    y, x = height // runner.factor, width // runner.factor
    work = flops.unet(unet.config, y, x, rows, editor.models.c_shape[0], dtype).flops
    weights = sum(one.numel() * one.element_size() for one in unet.parameters())
    rate, bandwidth = matmul_rate(dtype, editor.device), copy_rate(editor.device)
    limit = max(work / rate, weights / bandwidth)
    return limit, {"flops_per_second": rate, "bytes_per_second": bandwidth, "flops": work}

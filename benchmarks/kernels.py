"""The Triton kernels on a GPU, against their eager references and what torch.compile makes of them.

    python -m benchmarks.kernels          # minutes, then results/kernels.json

The three sides take turns on the same inputs, each in a CUDA graph of its own: launches then cost
what they do within a captured step. Who is first changes every round. Before every sample the L2
cache is written over: a sample reads its inputs from memory, as after a convolution that filled the
cache with something else. Before any clock, each side agrees with the reference in float64.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite_kernels import geglu, group_norm_silu, guided_step, pixels, shapes

RESULTS = Path(__file__).resolve().parent / "results" / "kernels.json"
LAST = torch.channels_last
Run = Callable[[], Tensor]


class Case(NamedTuple):
    """A kernel on one shape: both functions, their inputs, and the bytes they must move."""

    name: str
    kernel: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    inputs: tuple[object, ...]
    bytes: int


def norm_case(b: int, c: int, side: int, dtype: torch.dtype) -> Case:
    """GroupNorm + SiLU: x read once and y written once is the least."""
    x = torch.randn(b, c, side, side, device="cuda").to(dtype, memory_format=LAST)
    inputs = (x, 32, torch.randn_like(x[0, :, 0, 0]), torch.randn_like(x[0, :, 0, 0]), 1e-5, True)
    ours, torchs = group_norm_silu.triton_group_norm_silu, group_norm_silu.group_norm_silu
    return Case(f"group_norm_silu {b}x{c}x{side}x{side}", ours, torchs, inputs, 2 * x.nbytes)


def geglu_case(b: int, n: int, d: int, dtype: torch.dtype) -> Case:
    """GEGLU: u and gate read, their product written."""
    x = torch.randn(b, n, 2 * d, device="cuda").to(dtype)
    name, least = f"geglu {b}x{n}x{2 * d}", x.nbytes * 3 // 2
    return Case(name, geglu.triton_geglu, geglu.geglu, (x,), least)


def step_case(b: int, side: int, dtype: torch.dtype) -> Case:
    """A guided step of MDP-epsilon: two rows of the denoiser and three latents in, two out."""
    x, eps_a, x_a = torch.randn(3, b, 4, side, side, device="cuda")
    out = torch.randn(2 * b, 4, side, side, device="cuda").to(dtype, memory_format=LAST)
    g, half, a, after = torch.tensor([7.5, 0.5, 0.3, 0.4], device="cuda", dtype=torch.float64)
    inputs = (out, x, g, a, after, eps_a, x_a, half, half)
    ours, torchs = guided_step.triton_guided_step, guided_step.guided_step
    least = out.nbytes + 5 * x.nbytes
    first = (lambda *all: ours(*all)[0], lambda *all: torchs(*all)[0])
    return Case(f"guided_step {b}x4x{side}x{side}", *first, inputs, least)


def pixels_case(b: int, side: int, dtype: torch.dtype) -> Case:
    """A decoded picture in, its bytes out."""
    x = torch.randn(b, 3, side, side, device="cuda").to(dtype, memory_format=LAST)
    least = x.nbytes + x.numel()
    return Case(f"pixels {b}x3x{side}x{side}", pixels.triton_pixels, pixels.pixels, (x,), least)


def cases(dtype: torch.dtype) -> list[Case]:
    """The shapes of Stable Diffusion 1.5 at 512x512 with guidance, and of its VAE's decoder."""
    norms = [(2, 320, 64), (2, 640, 64), (2, 960, 64), (2, 640, 32), (2, 1280, 32), (2, 1920, 32)]
    norms += [(2, 1280, 16), (2, 2560, 16), (2, 1280, 8), (2, 2560, 8)]
    norms += [(1, 512, 64), (1, 512, 256), (1, 256, 512), (1, 128, 512)]
    widths = [(2, 4096, 1280), (2, 1024, 2560), (2, 256, 5120), (2, 64, 5120)]
    return [
        *(norm_case(*one, dtype) for one in norms),
        *(geglu_case(*one, dtype) for one in widths),
        *(step_case(b, 64, dtype) for b in (1, 4, 16)),
        *(pixels_case(b, 512, dtype) for b in (1, 4)),
    ]


def capture(function: Callable[..., Tensor], inputs: tuple[object, ...]) -> tuple[Run, Tensor]:
    """Capture a call in a CUDA graph; returns its replay, and the output that it writes."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # compiles, and lets libraries choose and allocate
            function(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = function(*inputs)
    return graph.replay, out


def gate(case: Case, name: str, out: Tensor) -> None:
    """Exit unless a side's output is the reference's in float64, up to its dtype's rounding."""
    wide = [t.double() if isinstance(t, Tensor) else t for t in case.inputs]
    want = case.reference(*wide)
    if out.dtype == torch.uint8:
        apart, bound = float((out.int() - want.int()).abs().max()), 1.0
    else:
        apart = float((out.double() - want).abs().max() / want.abs().max())
        bound = 16 * torch.finfo(out.dtype).eps  # eager rounds between its operations
    if not apart <= bound:
        sys.exit(f"{case.name}: {name} must be within {bound:.1e} of float64, got {apart:.1e}")


def time_in_turns(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Microseconds of each side, round by round, the order turned each time."""
    flush = torch.empty(256 * 2**20, dtype=torch.uint8, device="cuda")
    times: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(rounds):
        for name in sorted(runs, reverse=bool(i % 2)):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            flush.zero_()
            start.record()
            runs[name]()
            end.record()
            end.synchronize()
            times[name].append(1000 * start.elapsed_time(end))
    return times


def bandwidth() -> float:
    """Bytes a microsecond that a copy of 1 GiB reads and writes: the limit of this device."""
    x, y = (torch.empty(2**30, dtype=torch.uint8, device="cuda") for _ in range(2))
    runs: dict[str, Callable[[], object]] = {"copy": partial(y.copy_, x)}
    return 2 * x.nbytes / statistics.median(time_in_turns(runs, 20)["copy"])


def measure(case: Case, rounds: int, speed: float) -> dict[str, object]:
    """Medians of the three sides, the ratios to the kernel, and the kernel's share of a copy."""
    torch._dynamo.reset()
    compiled = torch.compile(case.reference, fullgraph=True, dynamic=False)
    sides = {"kernel": case.kernel, "eager": case.reference, "compiled": compiled}
    runs: dict[str, Callable[[], object]] = {}
    for name, function in sides.items():
        runs[name], out = capture(function, case.inputs)
        runs[name]()
        gate(case, name, out)
    times = {name: statistics.median(each) for name, each in time_in_turns(runs, rounds).items()}
    ratios = {f"{name}/kernel": times[name] / times["kernel"] for name in ("eager", "compiled")}
    share = case.bytes / times["kernel"] / speed
    return {"case": case.name, "microseconds": times, "ratios": ratios, "of_a_copy": share}


def format_line(one: dict[str, object]) -> str:
    """A line of the printed table."""
    ratios = one["ratios"]
    assert isinstance(ratios, dict)
    text = "  ".join(f"{name} {ratio:5.2f}" for name, ratio in ratios.items())
    return f"{one['case']:34}  {text}  of a copy {one['of_a_copy']:4.0%}"


def main() -> None:
    """Measure every case in both 16-bit dtypes; without a GPU print a message and return."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="samples of each side")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    if not (torch.cuda.is_available() and shapes.TRITON):
        print("benchmarks.kernels needs a CUDA device and Triton: nothing was measured")
        return
    torch.manual_seed(0)
    found: dict[str, list[dict[str, object]]] = {}
    speed = bandwidth()
    with torch.no_grad():
        for dtype in (torch.float16, torch.bfloat16):
            found[str(dtype).removeprefix("torch.")] = several = []
            for case in cases(dtype):
                several.append(measure(case, options.rounds, speed))
                print(format_line(several[-1]), flush=True)
    device = {"name": torch.cuda.get_device_name(), "torch": torch.__version__, "copy": speed}
    options.output.write_text(json.dumps({"device": device, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

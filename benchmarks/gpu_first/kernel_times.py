"""Stage "kernels": our Triton kernels against torch's, then against what torch.compile makes."""

import statistics
from collections.abc import Callable
from typing import Any

import torch

from benchmarks import kernels
from benchmarks.gpu_first.findings import Findings, Setting
from benchmarks.gpu_first.pytest_runs import name_lacking_compiler
from mdp_lite_kernels import shapes

ROUNDS = 20
DTYPES = (torch.float16, torch.bfloat16)


@torch.no_grad()
def compare_kernels(setting: Setting, findings: Findings) -> None:
    """Every case of benchmarks/kernels.py, eager first: compiling each takes seconds."""
    reason = "Triton is not installed" if not shapes.TRITON else name_lacking_compiler()
    if setting.device.type != "cuda" or reason:
        return findings.skip(reason or "kernels run on a GPU alone")
    torch.manual_seed(0)
    speed = kernels.bandwidth()
    findings.add("copy bytes/us", speed)
    for dtype in DTYPES:
        for case in kernels.cases(dtype):
            measure_case(findings, case, dtype, speed, {"eager": case.reference})
    for case in kernels.cases(DTYPES[0]):
        torch._dynamo.reset()
        compiled = torch.compile(case.reference, fullgraph=True, dynamic=False)
        measure_case(findings, case, DTYPES[0], speed, {"compiled": compiled})


def measure_case(
    findings: Findings, case: kernels.Case, dtype: torch.dtype, speed: float,
    others: dict[str, Callable[..., Any]],
) -> None:  # fmt: skip
    """Medians of the kernel and of another side in turns, if both are right."""
    runs: dict[str, Callable[[], object]] = {}
    name = f"{case.name} {str(dtype).removeprefix('torch.')}: {', '.join(others)}"
    for side, function in {"kernel": case.kernel, **others}.items():
        try:
            runs[side], out = kernels.capture(function, case.inputs)
            runs[side]()
            kernels.gate(case, side, out)
        except (Exception, SystemExit) as error:
            findings.check(f"{name}, {side} is right", False, str(error)[:300])
            return
    times = {
        side: statistics.median(some) for side, some in kernels.time_in_turns(runs, ROUNDS).items()
    }
    findings.add(name, times | {"of a copy": case.bytes / times["kernel"] / speed})

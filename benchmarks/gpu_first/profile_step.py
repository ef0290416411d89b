"""Stage "profile": what the kernels of one guided step are, and which attention torch chose."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from benchmarks.gpu_first.findings import Findings, Setting
from benchmarks.gpu_first.random_model import build_models
from benchmarks.gpu_first.steps import choose_dtype, iterate_steps, make_source
from mdp_lite.editor import Editor

WARM, SHOWN = 3, 25
KINDS = {  # by parts of the names of ATen's operators; the first that fits counts
    "convolution": ("conv",),
    "norm": ("norm",),
    "attention": ("attention",),
    "matrix product": ("addmm", "::mm", "::bmm", "matmul", "linear"),
    "copy": ("copy", "cat", "clone", "contiguous", "fill", "upsample"),
}
FREE = {  # operators that only look at memory in another way
    "view", "_unsafe_view", "t", "transpose", "permute", "expand", "slice", "split", "chunk",
    "select", "unsqueeze", "squeeze", "as_strided", "alias", "detach", "split_with_sizes",
    "reshape", "empty", "empty_like", "lift_fresh", "narrow", "unbind",
}  # fmt: skip


def profile_step(setting: Setting, findings: Findings) -> None:
    """Profile an eager step, whose operators have names; a graph replays the same kernels."""
    models = build_models(setting, choose_dtype(setting, torch.float16))
    editor = Editor(models, setting.device, engine="eager")
    steps = iterate_steps(editor, make_source(editor, setting))
    for _ in range(WARM):
        next(steps)
    with OperatorCounter() as counter:
        next(steps)
    findings.add("operators", {"count": counter.count, "bytes": counter.bytes})
    findings.add("attention", sorted(name for name in counter.names if "attention" in name))
    on_gpu = setting.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as found:
        next(steps)
        if on_gpu:
            torch.cuda.synchronize()
    report_profile(findings, list(found.key_averages()), on_gpu)


def report_profile(findings: Findings, averages: list[Any], on_gpu: bool) -> None:
    """The shares of each kind of operator, and the kernels that take the most time."""
    operators = [one for one in averages if one.key.startswith("aten::")]
    times: dict[str, float] = {}
    for one in operators:
        kind = find_kind(one.key)
        times[kind] = times.get(kind, 0.0) + find_time(one, on_gpu)
    kernels = [one for one in averages if is_kernel(one)] if on_gpu else operators
    outside = sum(find_time(one, on_gpu) for one in kernels) - sum(times.values())
    if on_gpu and outside > 0:  # kernels of ours, which no operator of ATen launches
        times["outside of ATen"] = outside
    whole = sum(times.values()) or 1.0
    findings.add("microseconds", whole)
    ranked = sorted(times, key=lambda kind: -times[kind])
    findings.add("shares", {kind: times[kind] / whole for kind in ranked})
    findings.add("kernel launches", sum(one.count for one in kernels))
    longest = sorted(kernels, key=lambda one: -find_time(one, on_gpu))[:SHOWN]
    table = [[one.key[:100], one.count, find_time(one, on_gpu)] for one in longest]
    findings.add("kernels", table)


def is_kernel(event: Any) -> bool:
    """Whether an event ran on the GPU."""
    return event.device_type == torch.autograd.DeviceType.CUDA


def find_time(event: Any, on_gpu: bool) -> float:
    """Microseconds of an event without those that it calls."""
    return event.self_device_time_total if on_gpu else event.self_cpu_time_total


def find_kind(name: str) -> str:
    """The kind of an operator by its name."""
    for kind, parts in KINDS.items():
        if any(part in name for part in parts):
            return kind
    return "elementwise and other"


class OperatorCounter(TorchDispatchMode):
    """Counts the operators under it that compute, and the bytes that they read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.count = self.bytes = 0
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call an operator and count it."""
        out = function(*args, **(kwargs or {}))
        name = function.__name__.split(".")[0]
        self.names.add(name)
        if name not in FREE:
            self.count += 1
            self.bytes += sum(one.nbytes for one in _list_tensors((args, kwargs, out)))
        return out


def _list_tensors(tree: Any) -> Iterator[Tensor]:
    return (one for one in tree_flatten(tree)[0] if isinstance(one, Tensor))

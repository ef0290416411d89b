"""What one guided step of Stable Diffusion 1.5 launches on a GPU in 16 bits, without a GPU.

Operators are counted under fake tensors: they say cuda:0, have shapes and layouts and no values. An
operator of torch counts as one launch, though some launch several (a group norm three, a
convolution with a bias two); one of ours counts as what it launches. Views and empty memory count
as none.

    PYTHONPATH=.:kernels:weights:tests python -m support.launches   # rewrite engine/launches.json
"""

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mdp_lite.engine.attention import TABLE, attend_by_shape
from mdp_lite.engine.fusing import PLAIN, Fused, answer_contiguous, fuse, fused_step_output
from mdp_lite.engine.gpu import lay_channels_last
from mdp_lite.engine.step_graphs import CapturedStep, StepTables
from mdp_lite.engine.unet_calls import SplitUNet
from mdp_lite.method.execute import EditTask
from mdp_lite.method.mdp import Guidance, step_output
from mdp_lite.method.plan import Plan
from mdp_lite.method.sample import Trajectory
from mdp_lite.method.schedule import Grid, Weights
from mdp_lite.models.config import UNetConfig
from mdp_lite.models.unet import UNet
from support.rehearsed_ops import FREE, count_bytes, list_tensors
from support.rehearsing import add_guard
from support.triton_launches import Launch, watch_launches

FILE = Path(__file__).resolve().parents[1] / "engine" / "launches.json"
SD15 = UNetConfig(cross_attention_dim=768, sample_size=64)
READS = ("null", "c")
HOPPER = (9, 0)  # compute capability
LAST = torch.channels_last
# By their names in the file: what is fused, and whether weights lie channels last.
FUSED = {
    "plain": (PLAIN, False),
    "channels last": (PLAIN, True),
    "with geglu": (replace(PLAIN, geglu=True), True),
    "with group_norm_silu": (replace(PLAIN, geglu=True, group_norm_silu=True), True),
    "with qkv": (replace(PLAIN, geglu=True, group_norm_silu=True, qkv=True), True),
    "all": (Fused(), True),
}


class LaunchCounter(TorchDispatchMode):
    """Counts launches and the bytes of all tensors that they read and write, by operator."""

    def __init__(self) -> None:
        super().__init__()
        self.launches, self.bytes = Counter[str](), Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if name == "convolution":
            out = _lay_out_as_cudnn(out, *args[:2])
        if func.namespace == "aten" and name not in FREE:
            self.add(name, (args, kwargs), out)
        return out

    def add(self, name: str, *tensors: Any) -> None:
        """Count a launch that reads or writes these tensors, each place of memory once."""
        self.launches[name] += 1
        self.bytes[name] += count_bytes({id(one): one for one in list_tensors(tensors)}.values())


def _lay_out_as_cudnn(out: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """What a convolution on a GPU answers: channels last if x or the weight lies so.

    Without CUDA torch can't ask cuDNN and would answer another layout.
    """
    last = any(one.is_contiguous(memory_format=LAST) and not one.is_contiguous()
               for one in (x, weight))  # fmt: skip
    return torch.empty_like(out, memory_format=LAST) if last else out


@contextlib.contextmanager
def counting() -> Iterator[LaunchCounter]:
    """Counts what is launched on fake tensors of a GPU in the block; our kernels do not run."""
    counter = LaunchCounter()

    def add(launch: Launch) -> None:
        counter.add(f"mdp_lite::{launch.kernel.__name__}", launch.values)

    with watch_launches(add), counter:
        yield counter


def count_step(fused: Fused, last: bool = True) -> dict[str, LaunchCounter]:
    """A call of the UNet with two rows at 512x512 in float16, and a whole step of an edit."""
    add_guard("cuda")
    with torch.device("meta"):
        unet = UNet(SD15).half().eval().requires_grad_(False)
    counters: dict[str, LaunchCounter] = {}

    def record(name: str, work: Callable[[], Sequence[Tensor]]) -> Any:
        with counting() as counters[name]:
            return work(), lambda: None

    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"), torch.no_grad():
        unet.to_empty(device="cuda")
        if last:
            lay_channels_last(unet)
        own = fuse(unet, fused)
        attend = partial(attend_by_shape, TABLE, HOPPER)
        output = fused_step_output if fused.guided_step else step_output
        predict = partial(answer_contiguous, partial(own.predict, attend=attend))
        split = SplitUNet(predict, own.times, own.text, 0, output)
        x, task = torch.empty(1, 4, 64, 64, dtype=torch.float64), _build_task()
        times, text = own.times(task.grid.t[0], task.guidance.c), own.text(task.guidance.c)
        both = text.expand(2, -1, -1).contiguous()
        rows = torch.empty(2, 4, 64, 64, dtype=torch.float16)
        record("call", lambda: (split.predict(rows, times, both),))
        now = StepTables(split).cut(task, 0, READS)
        CapturedStep(partial(record, "step"), split, now, READS, x, False)
    return counters


def _build_task() -> EditTask:
    """An edit of two steps, as tensors without values."""
    double = partial(torch.empty, dtype=torch.float64)
    c = torch.empty(1, 77, 768, dtype=torch.float16)
    grid = Grid(torch.empty(2, dtype=torch.long), double(2), double(2))
    source = Trajectory(double(3, 1, 4, 64, 64), double(2, 1, 4, 64, 64), c)
    guidance = Guidance(c, torch.empty_like(c), torch.empty(()))
    return EditTask(grid, guidance, source, Weights(*double(4, 2)), Plan((), 2))


def tabulate() -> dict[str, Any]:
    """What the file holds."""
    table: dict[str, Any] = {}
    for name, how in FUSED.items():
        for what, counter in count_step(*how).items():
            launches, size = counter.launches, counter.bytes
            table[f"{what}, {name}"] = {
                "launches": sum(launches.values()),
                "megabytes": round(sum(size.values()) / 1e6),
                "operators": {one: [launches[one], round(size[one] / 1e6)] for one in sorted(size)},
            }
    return table


def write(table: dict[str, Any]) -> None:
    """Write the table, a line for each operator."""
    lines = []
    for name, row in table.items():
        operators = (f"   {json.dumps(k)}: {json.dumps(v)}" for k, v in row["operators"].items())
        head = f'  "launches": {row["launches"]}, "megabytes": {row["megabytes"]}, "operators": {{'
        lines.append(f' "{name}": {{\n{head}\n' + ",\n".join(operators) + "\n  }\n }")
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    write(tabulate())

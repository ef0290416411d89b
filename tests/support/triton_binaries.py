"""The Triton kernels as machine code for five GPUs: registers, shared memory, spilled bytes.

PYTHONPATH=.:kernels:weights:tests python -m support.triton_binaries   # rewrite the table
"""

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget

from mdp_lite_kernels import geglu_jit, group_norm_silu_jit, guided_step_jit, pixels_jit
from support.triton_launches import Launch, compile_for, watch_launches

FILE = Path(__file__).resolve().parents[1] / "kernels" / "binaries.json"
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
# A100, RTX 30, RTX 40, H100, RTX 50; the last two with the features of that GPU alone.
TARGETS = {80: "sm_80", 86: "sm_86", 89: "sm_89", 90: "sm_90a", 120: "sm_120a"}
LAST = torch.channels_last
MAP_SHAPES = {  # a group in one launch, in two, and the largest of a VAE
    "small map": (2, 1280, 16, 16), "smallest map": (2, 2560, 8, 8),
    "large map": (2, 320, 64, 64), "picture": (1, 128, 512, 512),
}  # fmt: skip


def list_launches() -> dict[str, Launch]:
    """Every kernel, in the forms that SD 1.5 at 512x512 launches, by what it is for."""
    found: dict[str, Launch] = {}
    what = ""
    add = lambda one: found.update({f"{one.kernel.__name__} {what}": one})  # noqa: E731
    with watch_launches(add):
        for dtype in (torch.float16, torch.float32):
            for name, shape in MAP_SHAPES.items():
                what = f"{name} {dtype}".replace("torch.", "")
                x = torch.empty(shape, dtype=dtype).to(memory_format=LAST)
                scale, shift = x.new_empty(shape[1]), x.new_empty(shape[:2])
                shift = None if name == "picture" else shift
                group_norm_silu_jit.group_norm_silu_op(x, 32, scale, scale, 1e-5, True, shift)
            what = f"{dtype}".replace("torch.", "")
            geglu_jit.geglu_op(torch.empty(2, 4096, 2560, dtype=dtype))
        for what, dtype in (("float64", torch.float64), ("float32", torch.float32)):
            _take_step(dtype, full=False)
            what += ", beta, v, noise"
            _take_step(dtype, full=True)
        what = "float16"
        pixels_jit.pixels_op(torch.empty(1, 3, 512, 512, dtype=torch.float16))
    return found


def _take_step(dtype: torch.dtype, full: bool) -> None:
    x, one, size = torch.empty(1, 4, 64, 64, dtype=dtype), torch.empty(()), (1, 1, 64, 64)
    w, level = x.new_empty(size), one.double()
    out = torch.empty(2 + full, 4, 64, 64, dtype=torch.float16)
    rest = (w, x, x, True, True) if full else ()
    guided_step_jit.guided_step_op(out, x, one, level, level, x, x, w, w, *rest)


def measure(launch: Launch, capability: int) -> dict[str, int]:
    """Registers of a thread, bytes of shared memory, and bytes that were spilled."""
    code = compile_for(launch, GPUTarget("cuda", capability, 32))
    assembler = TOOLS / ("ptxas-blackwell" if capability >= 100 else "ptxas")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(code.asm["ptx"])
        command = [assembler, "-v", f"--gpu-name={TARGETS[capability]}", path, "-o", "/dev/null"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    (registers,) = re.findall(r"Used (\d+) registers", done.stderr)
    spilled = re.findall(r"(\d+) bytes spill (?:stores|loads)", done.stderr)
    (stack,) = re.findall(r"(\d+) bytes stack frame", done.stderr)
    return {
        "registers": int(registers), "shared": code.metadata.shared,
        "spilled": sum(map(int, spilled)) + int(stack), "warps": code.metadata.num_warps,
    }  # fmt: skip


def tabulate() -> dict[str, Any]:
    """What the file holds: the version of Triton, and each kernel on each GPU."""
    launches = list_launches()
    kernels = {
        name: {sm: measure(launch, capability) for capability, sm in TARGETS.items()}
        for name, launch in launches.items()
    }
    return {"triton": triton.__version__, "kernels": kernels}


def write(table: dict[str, Any]) -> None:
    """Write the table, a line for each kernel and GPU."""
    lines = [
        f'  "{name}": {{\n' + ",\n".join(f'   "{sm}": {json.dumps(one)}' for sm, one in row.items())
        + "\n  }"
        for name, row in table["kernels"].items()
    ]  # fmt: skip
    head = f'{{\n "triton": "{table["triton"]}",\n "kernels": {{\n'
    FILE.write_text(head + ",\n".join(lines) + "\n }\n}\n", "utf-8")


if __name__ == "__main__":
    write(tabulate())

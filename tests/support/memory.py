"""The memory of a process that inverts a picture and edits it, as the operating system counts it.

`python tests/support/memory.py MODEL [DTYPE] [STEPS] [SIDE]` prints the most resident bytes of each
phase and of the whole process as JSON, with a hash of the picture's pixels. It needs Linux.
"""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


def resident_bytes(field: str) -> int:
    """Resident bytes of this process: now (VmRSS), or the most since the last reset (VmHWM)."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def measure_edit(
    name: str, dtype: str = "auto", steps: int = 2, side: int | None = None
) -> dict[str, Any]:
    """Load, invert, edit and decode in this process: {"peak", "phases": {phase: bytes}, ...}.

    side: pixels of the picture's sides, by default the model's own.
    """
    import torch

    from mdp_lite import Editor

    phases: dict[str, int] = {"import": resident_bytes("VmHWM")}

    def run(phase: str, work: Callable[[], T]) -> T:
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
        out = work()
        phases[phase] = resident_bytes("VmHWM")
        return out

    editor = run("load", lambda: Editor.from_pretrained(name, device="cpu", dtype=dtype))
    runner = editor.runner
    width, height = (side, side) if side else runner.size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    run("text", lambda: runner.condition("a red house"))
    with torch.no_grad():
        picture = torch.zeros(1, 3, height, width, dtype=next(editor.models.vae.parameters()).dtype)
        run("encode", lambda: editor.models.vae.encode(picture))
    how = {"num_inference_steps": steps, "guidance_scale": 7.5, "width": width, "height": height}
    source = run("invert", lambda: editor.invert(pixels, "a red house", "replay", **how))
    edit = run("edit", lambda: editor.edit(source, "a blue house", t_max=steps, t_m=1))
    return {
        "peak": max(phases.values()),
        "phases": phases,
        "end": resident_bytes("VmRSS"),
        "picture": hashlib.sha256(edit.image.tobytes()).hexdigest(),
        "latent": hashlib.sha256(edit.latent.numpy().tobytes()).hexdigest(),
        "steps": steps,
        "side": side,
    }


def measure_in_process(
    name: str, dtype: str = "auto", steps: int = 2, side: int | None = None
) -> dict[str, Any]:
    """The same in a new process, whose peak is its own."""
    command = [sys.executable, __file__, name, dtype, str(steps), str(side or 0)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    name, dtype, steps, side = [*sys.argv[1:], *("tiny", "auto", "2", "0")[len(sys.argv) - 1 :]]
    print(json.dumps(measure_edit(name, dtype, int(steps), int(side) or None)))

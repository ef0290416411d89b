"""Null-text inversion at the size of Stable Diffusion 1.5: the memory that a step takes.

    python -m pytest -m slow -rP tests/pipeline/test_full_size_null_text.py

Another process builds the UNet with random weights and tunes one step of a 512x512 picture.
Its highest resident memory, counted from its own start, is compared with the size of the weights,
and with the memory after a step that is not tuned.
"""

import json
import os
import subprocess
import sys

import pytest
import torch

from support.places import ROOT

ROOMS = (".", "kernels", "weights", "tests")
GIB = 2**30
# GiB that a tuned step may take beside the weights and what torch itself does (0.6).
ROOM = {"float32": 1.8, "bfloat16": 1.0}

pytestmark = pytest.mark.slow

STEP = """
import json, re, sys, time
from pathlib import Path
import torch
from support.full_size import fill
from mdp_lite.models.config import SchedulerConfig, UNetConfig
from mdp_lite.method.null_text import null_text
from mdp_lite.method.mdp import Guidance
from mdp_lite.method.sample import Trajectory
from mdp_lite.method.schedule import ddim_grid
from mdp_lite.models.unet import UNet

def highest():
    found = re.search("VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024

Path("/proc/self/clear_refs").write_text("5")  # a fork inherits its parent's peak

with torch.device("meta"):
    unet = UNet(UNetConfig(cross_attention_dim=768, attention_head_dim=8))
unet = fill(unet.to(getattr(torch, sys.argv[1])), 0)
weights = sum(p.numel() * p.element_size() for p in unet.parameters())
random = torch.Generator().manual_seed(1)
x = torch.randn((3, 1, 4, 64, 64), generator=random, dtype=torch.float64)
c, null = (torch.randn((1, 77, 768), generator=random).to(unet.conv_in.weight) for _ in range(2))
grid = ddim_grid(SchedulerConfig(steps_offset=1, set_alpha_to_one=False), 2)
to = Guidance(c, null, torch.tensor(7.5))
seconds, peaks = [], [highest()]
for inner_steps in (0, 2):
    began = time.perf_counter()
    tuned = next(null_text(unet, grid, Trajectory(x, x[1:], c), to, False, inner_steps, -1.0, (0,)))
    seconds.append(time.perf_counter() - began)
    peaks.append(highest())
    assert tuned.backward == inner_steps
    assert torch.equal(tuned.null, null.float()) == (inner_steps == 0)
print(json.dumps({"weights": weights, "seconds": seconds, "peaks": peaks}))
"""


@pytest.mark.parametrize("dtype", ROOM)
def test_a_step_keeps_one_row_of_activations(dtype: str) -> None:
    if torch.accelerator.is_available():
        pytest.skip("resident memory says nothing of a GPU's")
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("the peak of a process is reset in Linux's /proc")
    paths = os.environ | {"PYTHONPATH": os.pathsep.join(ROOMS)}
    command = [sys.executable, "-c", STEP, dtype]
    done = subprocess.run(command, cwd=ROOT, env=paths, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    built, plain, tuned = printed["peaks"]
    print(
        f"{dtype}: weights {printed['weights'] / GIB:.2f} GiB; most memory once built "
        f"{built / GIB:.2f}, after a step that is not tuned {plain / GIB:.2f}, tuned "
        f"{tuned / GIB:.2f} GiB; {printed['seconds'][1]:.0f} s with 2 iterations"
    )
    assert plain < tuned <= printed["weights"] + GIB * (ROOM[dtype] + 0.6)

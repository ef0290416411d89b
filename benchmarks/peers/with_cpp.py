"""stable-diffusion.cpp as a peer: its interface makes whole pictures, so parts are timed in these.

A picture of the empty prompt (the one text that any CLIP vocabulary reads in the same way) in two
Euler steps; a guided step is two calls of one row. A row or a step is the second step's seconds,
decoding what is left after it. Its picture is compared with sides.make_picture.
"""

import os
import time
from pathlib import Path

import numpy as np
from stable_diffusion_cpp import StableDiffusion

from benchmarks.peers.sides import GUIDANCE, SINGLE, Array, Job


class CppSide:
    """A loaded model that makes pictures."""

    def __init__(self, mode: str, folder: Path) -> None:
        self.pipeline = StableDiffusion(
            str(folder / SINGLE), wtype=mode, rng_type="cpu", sampler_rng_type="cpu",
            n_threads=int(os.environ["OMP_NUM_THREADS"]), verbose=False,
        )  # fmt: skip

    def run_own(self, job: Job, work: str) -> tuple[Array, float]:
        """The picture, and the seconds of the part. Raises ValueError for another part."""
        if work not in ("step 1", "step 2", "decode"):
            raise ValueError("its interface makes whole pictures, this part is in none of them")
        ends: list[float] = []
        height, width = job.pixels.shape[2:]
        (picture,) = self.pipeline.generate_image(
            "", width=width, height=height, sample_steps=len(job.sigmas) - 1, seed=0,
            cfg_scale=1.0 if work == "step 1" else GUIDANCE, sample_method="euler",
            sigmas=",".join(map(str, job.sigmas)),
            progress_callback=lambda step, steps, seconds: ends.append(time.perf_counter()),
        )  # fmt: skip
        ends.append(time.perf_counter())
        seconds = ends[-1] - ends[-2] if work == "decode" else ends[-2] - ends[-3]
        pixels = (
            np.asarray(picture.convert("RGB"), np.float32).transpose(2, 0, 1)[None]
            / np.float32(127.5)
            - 1
        )
        return pixels, seconds


def load(mode: str, model: Path, folder: Path) -> CppSide:
    """mode: the type of its weights, "f16" or "q8_0"."""
    if not (folder / SINGLE).exists():
        raise FileNotFoundError("this model has no form as one file in the LDM layout")
    return CppSide(mode, folder)

"""A peer without a library, for tests of the table: a UNet that multiplies."""

import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.sides import Array


class ToySide:
    """mode: "right", "slow" (20 ms), "coarse" (0.05 off), "wrong"; "dies", "raises" when called."""

    def __init__(self, mode: str) -> None:
        self.mode = mode

    def unet(self, x: Array, t: int, c: Array) -> Array:
        if self.mode == "dies":
            print("out of memory, say", flush=True)
            os._exit(3)
        if self.mode == "raises":
            raise RuntimeError("no kernel for this")
        time.sleep(0.02 if self.mode == "slow" else 0.002)
        return {"wrong": 0.5, "coarse": 0.95}.get(self.mode, 1) * x

    def text(self, ids: NDArray[np.int64]) -> Array:
        return ids[..., None].astype(np.float32)

    def encode(self, pixels: Array) -> Array:
        return np.repeat(pixels[:, :1], 4, 1)

    def decode(self, latent: Array) -> Array:
        return latent[:, :3]


def load(mode: str, model: Path, folder: Path) -> ToySide:
    """A toy; "absent" is a library that is not there."""
    if mode == "absent":
        raise ModuleNotFoundError("No module named 'toy'")
    return ToySide(mode)

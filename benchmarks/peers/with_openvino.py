"""OpenVINO as a peer: bfloat16, or the UNet in 8 bits; every shape is compiled for itself."""

import json
import os
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from benchmarks.peers.openvino_models import convert, give_shapes, quantize
from benchmarks.peers.sides import Array


class OpenVINOSide:
    """Models that are compiled at their first call of a shape; OpenVINO keeps them on disk."""

    def __init__(self, mode: str, model: Path, folder: Path, scale: float) -> None:
        self.core, self.scale = ov.Core(), scale
        self.core.set_property({"CACHE_DIR": str(folder / "openvino-cache")})
        self.settings = {
            "INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": int(os.environ["OMP_NUM_THREADS"]),
        }  # fmt: skip
        self.files = {name: convert(name, model, folder / "openvino")
                      for name in ("text", "encoder", "decoder", "unet")}  # fmt: skip
        if mode == "int8":
            self.files["unet"] = quantize(model, folder / "openvino")
        self.compiled: dict[tuple[str, tuple[int, ...]], ov.CompiledModel] = {}

    def _call(self, name: str, *inputs: NDArray) -> Array:
        key = (name, inputs[0].shape)
        if key not in self.compiled:
            model = give_shapes(self.core.read_model(self.files[name]), inputs)
            self.compiled[key] = self.core.compile_model(model, "CPU", self.settings)
        return self.compiled[key](inputs)[0]

    def unet(self, x: Array, t: int, c: Array) -> Array:
        return self._call("unet", x, np.array(t), c)

    def text(self, ids: NDArray[np.int64]) -> Array:
        return self._call("text", ids)

    def encode(self, pixels: Array) -> Array:
        return self._call("encoder", pixels) * np.float32(self.scale)

    def decode(self, latent: Array) -> Array:
        return self._call("decoder", latent / np.float32(self.scale))


def load(mode: str, model: Path, folder: Path) -> OpenVINOSide:
    """mode: "bfloat16" or "int8"."""
    scale = json.loads((model / "vae" / "config.json").read_text())["scaling_factor"]
    return OpenVINOSide(mode, model, folder, scale)

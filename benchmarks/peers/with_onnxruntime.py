"""ONNX Runtime as a peer: float32, or the UNet's weights and activations in 8 bits.

Its CPU kernels have no bfloat16 convolution or matrix product, so that it is not the same dtype.
"""

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from benchmarks.peers.parts import NAMES, load_part
from benchmarks.peers.sides import Array


@torch.no_grad()
def export(name: str, model: Path, target: Path) -> Path:
    """Write one part as an ONNX file with any number of rows, if it is not there."""
    path = target / name / "model.onnx"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = load_part(name, model)
    names = [f"input{i}" for i in range(len(part.inputs))]
    free = {one: {0: "rows"} for one, shape in zip(names, part.shapes, strict=True) if shape}
    torch.onnx.export(
        part.module, part.inputs, str(path.with_name("part.onnx")), input_names=names,
        output_names=["out"], dynamic_axes=free, dynamo=False, opset_version=17,
    )  # fmt: skip
    path.with_name("part.onnx").rename(path)
    return path


def quantize(name: str, model: Path, target: Path) -> Path:
    """The same with 8-bit weights, and activations that are quantised as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = target / f"{name}-int8" / "model.onnx"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    quantize_dynamic(
        export(name, model, target), path.with_name("part.onnx"), weight_type=QuantType.QUInt8,
        use_external_data_format=True,
    )  # fmt: skip
    path.with_name("part.onnx").rename(path)
    return path


class ONNXSide:
    """A session for each part."""

    def __init__(self, mode: str, model: Path, folder: Path) -> None:
        config = json.loads((model / "vae" / "config.json").read_text())
        self.scale = np.float32(config["scaling_factor"])
        target = folder / "onnx"
        files = {name: export(name, model, target) for name in NAMES}
        if mode == "int8":
            files["unet"] = quantize("unet", model, target)
        self.files, self.sessions = files, dict[str, ort.InferenceSession]()

    def _call(self, name: str, *inputs: NDArray) -> Array:
        if name not in self.sessions:
            options = ort.SessionOptions()
            options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
            self.sessions[name] = ort.InferenceSession(
                self.files[name], options, providers=["CPUExecutionProvider"]
            )
        session = self.sessions[name]
        names = [one.name for one in session.get_inputs()]
        return session.run(None, dict(zip(names, inputs, strict=True)))[0]

    def unet(self, x: Array, t: int, c: Array) -> Array:
        return self._call("unet", x, np.array(t), c)

    def text(self, ids: NDArray[np.int64]) -> Array:
        return self._call("text", ids)

    def encode(self, pixels: Array) -> Array:
        return self._call("encoder", pixels) * self.scale

    def decode(self, latent: Array) -> Array:
        return self._call("decoder", latent / self.scale)


def load(mode: str, model: Path, folder: Path) -> ONNXSide:
    """mode: "float32" or "int8"."""
    return ONNXSide(mode, model, folder)

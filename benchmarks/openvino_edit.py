"""An MDP-epsilon edit of a picture as a script on OpenVINO: the other peer of upload_edit.py.

    python benchmarks/openvino_edit.py MODEL CONVERTED OUT.png "a red house" "a blue house" \\
        --picture FILE --steps 8 --guidance 7.5 --precision bf16

CONVERTED holds what `python -m benchmarks.peers.openvino_models` wrote, and OpenVINO's cache of
compiled models. The flow is `diffusers_edit.py`'s with --skip. The script imports neither diffusers
nor mdp_lite, and compiled models come from OpenVINO's cache, so that it starts as fast as it can.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPTokenizer

Array = NDArray[np.floating]
TRAINED = 1000  # timesteps


def read_config(model: Path, part: str, name: str = "config.json") -> dict[str, Any]:
    """The settings of a part of a folder in the diffusers layout."""
    return json.loads((model / part / name).read_text("utf-8"))


class Models:
    """The parts of a model, each compiled for the shape of its calls, from OpenVINO's cache."""

    def __init__(self, converted: Path, precision: str) -> None:
        self.folder, self.core = converted, ov.Core()
        self.core.set_property({"CACHE_DIR": str(converted / "cache")})
        self.settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        self.compiled: dict[tuple[str, tuple[int, ...]], ov.CompiledModel] = {}

    def call(self, name: str, *inputs: NDArray) -> Array:
        """The output of a part."""
        key = (name, inputs[0].shape)
        if key not in self.compiled:
            model = self.core.read_model(self.folder / f"{name}.xml")
            model.reshape({i: list(one.shape) for i, one in enumerate(inputs)})
            self.compiled[key] = self.core.compile_model(model, "CPU", self.settings)
        return self.compiled[key](inputs)[0]

    def noise(self, x: Array, t: int, c: Array) -> Array:
        """The predicted noise of every row."""
        return self.call("unet", x.astype(np.float32), np.array(t), c)


def read_tokens(model: Path, prompts: list[str]) -> NDArray[np.int64]:
    """Token ids (b, l)."""
    tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
    return tokenizer(prompts, padding="max_length", truncation=True, return_tensors="np").input_ids


def read_levels(model: Path, steps: int) -> list[tuple[int, float, float]]:
    """From noise to picture: a timestep, abar there and at the next lower one of the grid."""
    config = read_config(model, "scheduler", "scheduler_config.json")
    start, end = (float(config[f"beta_{name}"]) ** 0.5 for name in ("start", "end"))
    abar = np.cumprod(1 - np.linspace(start, end, TRAINED) ** 2)
    stride, offset = TRAINED // steps, int(config.get("steps_offset", 0))
    times = [i * stride + offset for i in range(steps)][::-1]
    return [(t, abar[t], abar[t - stride] if t >= stride else abar[0]) for t in times]


def step(x: Array, e: Array, a: float, b: float) -> Array:
    """DDIM from the level a to the level b."""
    return b**0.5 * (x - (1 - a) ** 0.5 * e) / a**0.5 + (1 - b) ** 0.5 * e


def edit(models: Models, args: argparse.Namespace) -> Array:
    """The pixels (1, 3, h, w) of the edit of a picture."""
    levels = read_levels(args.model, args.steps)
    c = models.call("text", read_tokens(args.model, ["", args.prompt, args.target]))
    scale = float(read_config(args.model, "vae")["scaling_factor"])
    x, noises = models.call("encoder", read_pixels(args.picture)) * scale, []
    for t, a, b in reversed(levels):
        noises.insert(0, models.noise(x, t, c[1:2]))
        x = step(x, noises[0], b, a)
    start = args.steps - round(0.94 * args.steps)
    window = range(start, start + round(0.52 * args.steps))  # the authors' 47 and 26 of 50 steps
    for i, (t, a, b) in enumerate(levels):
        e = noises[i] if i in window else guide(models, x, t, c[[0, 2]], args.guidance)
        x = step(x, e, a, b)
    return models.call("decoder", (x / scale).astype(np.float32))


def guide(models: Models, x: Array, t: int, c: Array, g: float) -> Array:
    """Classifier-free guidance, both rows in one call."""
    null, e = np.split(models.noise(np.concatenate([x, x]), t, c), 2)
    return null + g * (e - null)


def read_pixels(path: Path) -> NDArray[np.float32]:
    """A picture of the model's own size as (1, 3, h, w) in [-1, 1]."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), np.float32)
    return pixels.transpose(2, 0, 1)[None] / 127.5 - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("converted", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("prompt")
    parser.add_argument("target")
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--guidance", type=float, default=7.5)
    parser.add_argument("--precision", choices=("f32", "bf16"), default="bf16")
    args = parser.parse_args()
    pixels = edit(Models(args.converted, args.precision), args)
    bytes_of = np.rint((pixels[0] / 2 + 0.5).clip(0, 1) * 255).astype(np.uint8)
    Image.fromarray(bytes_of.transpose(1, 2, 0)).save(args.output)


if __name__ == "__main__":
    main()

"""A diffusers folder as OpenVINO models on disk: converted, and quantised to 8 bits by NNCF.

    python -m benchmarks.peers.openvino_models MODEL FOLDER        # UNet, VAE, text encoder
    python -m benchmarks.peers.openvino_models MODEL FOLDER --int8 # and the UNet in 8 bits

Models are traced in float32 with any number of rows; who compiles one gives it the shapes of its
calls first, because OpenVINO plans static shapes better. The files hold float16 weights, or 8 bits.
Converting the UNet of SD 1.5's size takes 8 GB of memory, quantising it more.
"""

import argparse
import gc
from pathlib import Path

import numpy as np
import openvino as ov
import torch

from benchmarks.peers.parts import NAMES, PROMPTS, load_part, make_calls


@torch.no_grad()
def convert(name: str, folder: Path, target: Path) -> Path:
    """Write one part as OpenVINO's files, if they are not there; the path of its XML file."""
    path = target / f"{name}.xml"
    if path.exists():
        return path
    target.mkdir(parents=True, exist_ok=True)
    part = load_part(name, folder)
    model = ov.convert_model(
        part.module, example_input=part.inputs, input=[ov.PartialShape(one) for one in part.shapes]
    )
    del part
    ov.save_model(model, target / f"{name}.part.xml", compress_to_fp16=True)
    (target / f"{name}.part.bin").rename(path.with_suffix(".bin"))
    (target / f"{name}.part.xml").rename(path)
    return path


def give_shapes(model: ov.Model, inputs: tuple[np.ndarray, ...]) -> ov.Model:
    """The model for inputs of exactly these shapes."""
    model.reshape({i: list(one.shape) for i, one in enumerate(inputs)})
    return model


def quantize(folder: Path, target: Path, count: int = len(PROMPTS)) -> Path:
    """Write the UNet with weights and activations in 8 bits; the path of its XML file."""
    import nncf

    path = target / "unet-int8.xml"
    if path.exists():
        return path
    calls = list(make_calls(folder, count))
    gc.collect()
    model = give_shapes(ov.Core().read_model(target / "unet.xml"), calls[0])
    small = nncf.quantize(
        model, nncf.Dataset(calls, lambda one: one), subset_size=count,
        model_type=nncf.ModelType.TRANSFORMER,
    )  # fmt: skip
    small.reshape({0: [-1, *calls[0][0].shape[1:]], 2: [-1, *calls[0][2].shape[1:]]})
    ov.save_model(small, target / "unet-int8.part.xml", compress_to_fp16=True)
    (target / "unet-int8.part.bin").rename(path.with_suffix(".bin"))
    (target / "unet-int8.part.xml").rename(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a folder in the diffusers layout")
    parser.add_argument("folder", type=Path, help="where the files go")
    parser.add_argument("--int8", action="store_true")
    args = parser.parse_args()
    for name in NAMES:
        print(convert(name, args.model, args.folder), flush=True)
        gc.collect()
    if args.int8:
        print(quantize(args.model, args.folder))


if __name__ == "__main__":
    main()

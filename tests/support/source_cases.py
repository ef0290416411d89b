"""For tests of saved sources: pictures, an altered model, a comparison of all bits."""

from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from mdp_lite.editor import Source

STEPS = 4


def picture(seed: int = 0, size: tuple[int, int] = (40, 28)) -> Image.Image:
    pixels = torch.randint(
        256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(seed)
    )
    return Image.fromarray(pixels.to(torch.uint8).numpy())


def same_bits(one: Source, other: Source) -> bool:
    tensors = [(*source.path, *source.grid) for source in (one, other)]
    pictures = [(source.image.tobytes(), source.picture.tobytes()) for source in (one, other)]
    settings = [
        (s.prompt, s.negative_prompt, s.guidance_scale, s.fit, s.seed, s.inversion, s.truncated,
         s.tuning, s.cost, s.origin, s.image.size, s.picture.size,
         s.mask and (s.mask.size, s.mask.tobytes()))
        for s in (one, other)
    ]  # fmt: skip
    equal = all(
        a is b is None or (a.dtype == b.dtype and torch.equal(a, b))
        for a, b in zip(*tensors, strict=True)
    )
    return equal and pictures[0] == pictures[1] and settings[0] == settings[1]


def change_unet(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["conv_in.bias"][0] += 1
    save_file(tensors, path)

"""Random TAESDs by diffusers' AutoencoderTiny, and their files in every form that people have."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny
from safetensors.torch import save_file
from torch import Tensor, nn

from support.diffusers_pipelines import randomise

Tensors = dict[str, Tensor]


def draw(seed: int) -> AutoencoderTiny:
    """One of a random shape; seed 0 has the published stages."""
    rng = random.Random(seed)
    stages = 4 if seed == 0 else 2 + seed % 3
    blocks = [tuple(rng.choice((0, 1, 2)) for _ in range(stages)) for _ in range(2)]
    encoder, decoder = ((1, 3, 3, 3), (3, 3, 3, 1)) if seed == 0 else blocks
    return small(
        num_encoder_blocks=encoder,
        num_decoder_blocks=decoder,
        encoder_block_out_channels=(rng.choice((4, 6, 8)),) * stages,
        decoder_block_out_channels=(rng.choice((4, 6, 8)),) * stages,
        act_fn=("relu", "silu", "gelu", "mish")[seed % 4],
        scaling_factor=(1.0, 0.7, 1.3)[seed % 3],
        seed=seed,
    )


def small(seed: int = 0, **options: object) -> AutoencoderTiny:
    """One of 8 channels and three stages, as the random model of tests/conftest.py has."""
    shape: dict[str, object] = {
        "encoder_block_out_channels": (8, 8, 8),
        "decoder_block_out_channels": (8, 8, 8),
        "num_encoder_blocks": (1, 2, 2),
        "num_decoder_blocks": (2, 2, 1),
    }
    torch.manual_seed(seed)
    model = randomise(AutoencoderTiny(**shape | options), seed)  # type: ignore[arg-type]
    assert isinstance(model, AutoencoderTiny)
    return model


def write_folder(folder: Path, model: AutoencoderTiny) -> Path:
    """diffusers' own form."""
    model.save_pretrained(folder)
    return folder


def split(model: AutoencoderTiny) -> dict[str, Tensors]:
    """The tensors of the author's two files: layers have numbers, and his decoder one more."""
    halves: dict[str, Tensors] = {"encoder": {}, "decoder": {}}
    for key, tensor in model.state_dict().items():
        half, _, rest = key.partition(".layers.")
        number, _, name = rest.partition(".")
        halves[half][f"{int(number) + (half == 'decoder')}.{name}"] = tensor.contiguous()
    return halves


def write_pair(folder: Path, model: AutoencoderTiny, name: str = "taesd") -> Path:
    """The author's form; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for half, tensors in split(model).items():
        save_file(tensors, folder / f"{name}_{half}.safetensors")
    return folder


def write_comfy(path: Path, model: AutoencoderTiny) -> Path:
    """ComfyUI's form: both in one file, with what unscaled latents need."""
    tensors = {f"taesd_{h}.{k}": t for h, one in split(model).items() for k, t in one.items()}
    scales = {"vae_scale": torch.tensor(0.18215), "vae_shift": torch.tensor(0.0)}
    save_file(tensors | scales, path)
    return path


def write_file(path: Path, model: AutoencoderTiny) -> Path:
    """diffusers' weights without the config."""
    save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, path)
    return path


class Squeeze(nn.Module):
    """The layer without weights that begins the author's decoder."""

    def forward(self, z: Tensor) -> Tensor:
        return 3 * torch.tanh(z / 3)


class Residual(nn.Module):
    """A block in the author's names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        conv = lambda: nn.Conv2d(width, width, 3, padding=1)  # noqa: E731
        self.conv = nn.Sequential(conv(), nn.ReLU(), conv(), nn.ReLU(), conv())

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv(x) + x).relu()


def author_decoder(width: int, latent: int = 4) -> nn.Sequential:
    """The published decoder by its description: 3, 3, 3 and 1 blocks, pictures in [0, 1]."""
    layers = [Squeeze(), nn.Conv2d(latent, width, 3, padding=1), nn.ReLU()]
    for _ in range(3):
        layers += [Residual(width) for _ in range(3)]
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1, bias=False)]
    return nn.Sequential(*layers, Residual(width), nn.Conv2d(width, 3, 3, padding=1))


def author_encoder(width: int, latent: int = 4) -> nn.Sequential:
    """The published encoder by its description: 1, 3, 3 and 3 blocks, pictures in [0, 1]."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), Residual(width)]
    for _ in range(3):
        layers += [nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False)]
        layers += [Residual(width) for _ in range(3)]
    return nn.Sequential(*layers, nn.Conv2d(width, latent, 3, padding=1))


FORMS: dict[str, Callable[[Path, AutoencoderTiny], Path]] = {
    "diffusers folder": write_folder,
    "diffusers file": lambda at, one: write_file(at / "small.safetensors", one),
    "vae of a folder": lambda at, one: write_folder(at / "vae", one).parent,
    "pair, by its folder": write_pair,
    "pair, by its encoder": lambda at, one: write_pair(at, one) / "taesd_encoder.safetensors",
    "pair, by its decoder": lambda at, one: write_pair(at, one) / "taesd_decoder.safetensors",
    "pair of another name": lambda at, one: write_pair(at, one, "my small"),
    "ComfyUI's file": lambda at, one: write_comfy(at / "taesd.safetensors", one),
}


def changed(**options: Any) -> Callable[[Path, AutoencoderTiny], Path]:
    """Writes a folder whose config has other options."""

    def write(at: Path, model: AutoencoderTiny) -> Path:
        config = write_folder(at, model) / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | options))
        return at

    return write

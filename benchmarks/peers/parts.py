"""The parts of a diffusers folder as functions of tensors, to be traced by other libraries."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

NAMES = ("text", "encoder", "decoder", "unet")
PROMPTS = (
    "a red house on the grass", "a blue house by a lake at night", "a photo of a cat",
    "an oil painting of mountains, snow, fog", "", "two people on a street, city lights, rain",
    "a bowl of fruit on a table", "a portrait of an old man with a beard, studio light",
)  # fmt: skip
TIMES = (981, 841, 701, 561, 421, 281, 141, 1)


class Traced(nn.Module):
    """A function of a model that is traced: tensors in, one tensor out."""

    def __init__(self, model: nn.Module, call: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self.call = model, call

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.call(self.model, *inputs)


class Part(NamedTuple):
    """A part of a model to convert: the traced function, inputs to trace it with, and its axes."""

    module: nn.Module
    inputs: tuple[Tensor, ...]
    shapes: list[tuple[int, ...]]  # -1: any number


def load_part(name: str, folder: Path) -> Part:
    """One part of a diffusers folder in float32."""
    if name == "unet":
        unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
        channels, side, width = (
            unet.config[key] for key in ("in_channels", "sample_size", "cross_attention_dim")
        )
        tokens = CLIPTokenizer.from_pretrained(folder / "tokenizer").model_max_length
        call = lambda m, x, t, c: m(x, t, c, return_dict=False)[0]  # noqa: E731
        inputs = (
            torch.randn(2, channels, side, side),
            torch.tensor(501),
            torch.randn(2, tokens, width),
        )
        return Part(
            Traced(unet.eval(), call), inputs, [(-1, channels, side, side), (), (-1, tokens, width)]
        )
    if name == "text":
        text = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
        tokens = text.config.max_position_embeddings
        ids = torch.zeros(1, tokens, dtype=torch.long)
        call = lambda m, ids: m(ids)[0]  # noqa: E731
        return Part(Traced(text.eval(), call), (ids,), [(-1, tokens)])
    vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()
    side, cells = vae.config.sample_size, vae.config.latent_channels
    if name == "encoder":
        call = lambda m, x: m.encode(x).latent_dist.mean  # noqa: E731
        return Part(Traced(vae, call), (torch.zeros(1, 3, side, side),), [(-1, 3, side, side)])
    side //= 2 ** (len(vae.config.block_out_channels) - 1)
    call = lambda m, z: m.decode(z, return_dict=False)[0]  # noqa: E731
    return Part(Traced(vae, call), (torch.zeros(1, cells, side, side),), [(-1, cells, side, side)])


def make_calls(folder: Path, count: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Inputs of UNet calls for the calibration: noise, all levels, and conditions of prompts."""
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    text = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
    config = UNet2DConditionModel.load_config(folder / "unet")
    side, generator = config["sample_size"], torch.Generator().manual_seed(1)
    for i in range(count):
        ids = tokenizer(["", PROMPTS[i % len(PROMPTS)]], padding="max_length", truncation=True,
                        return_tensors="pt").input_ids  # fmt: skip
        with torch.no_grad():
            c = text(ids)[0]
        x = torch.randn(1, config["in_channels"], side, side, generator=generator).expand(
            2, -1, -1, -1
        )
        yield x.numpy(), np.array(TIMES[i % len(TIMES)]), c.numpy()

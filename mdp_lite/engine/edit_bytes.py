"""The bytes of an edit on a GPU, part by part, from configs: nothing is loaded or computed."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import nn

from mdp_lite.engine import flops, stripes, waiting
from mdp_lite.engine.gpu import DEFAULT, HALVES, GpuSettings
from mdp_lite.engine.memory import path_bytes
from mdp_lite.engine.placement import EditBytes
from mdp_lite.models.clip import CLIPTextEncoder, CLIPTextEncoders
from mdp_lite.models.config import AnyVAEConfig, CLIPConfig, UNetConfig, VAEConfig

_unet, _text = lru_cache(flops.unet), lru_cache(flops.text)
_encode, _decode = lru_cache(flops.encode), lru_cache(flops.decode)


class ModelFacts(NamedTuple):
    """What counts of a model: configs, numbers of weights, tokens of a condition, and dtypes.

    weights are the numbers of the UNet, the text encoders and the VAE; text_layer is that of the
    largest layer of a text encoder.
    """

    unet: UNetConfig
    vae: AnyVAEConfig
    texts: tuple[CLIPConfig, ...]
    weights: tuple[int, int, int]
    text_layer: int
    tokens: int
    dtype: torch.dtype
    vae_dtype: torch.dtype


class EditSize(NamedTuple):
    """A picture's height and width in pixels, the rows of the largest UNet call, and the steps."""

    height: int
    width: int
    rows: int = 2
    steps: int = 50


def read_facts(
    unet: nn.Module, texts: Sequence[CLIPTextEncoder], vae: nn.Module, tokens: int,
    dtype: torch.dtype, vae_dtype: torch.dtype,
) -> ModelFacts:  # fmt: skip
    """The facts of models, which may be on the meta device."""
    u: Any = unet
    v: Any = vae
    layers = [one for text in texts for one in text.modules() if isinstance(one, waiting.LAYERS)]
    counts = _count(unet), sum(map(_count, texts)), _count(vae)
    configs = tuple(one.config for one in texts)
    largest = max(map(_count, layers), default=0)
    return ModelFacts(u.config, v.config, configs, counts, largest, tokens, dtype, vae_dtype)


def list_encoders(encoder: Any) -> list[CLIPTextEncoder]:
    """The text encoder of a model, or both of one with two; none of what stands for one."""
    both = [encoder.first, encoder.second] if isinstance(encoder, CLIPTextEncoders) else [encoder]
    return [one for one in both if isinstance(one, CLIPTextEncoder)]


def count_edit_bytes(
    model: ModelFacts, size: EditSize, settings: GpuSettings = DEFAULT, records: bool = True
) -> EditBytes:
    """The bytes of an edit of this size, and of inverting its picture.

    Each recorded graph keeps what its largest call takes (records). Attention stores no matrix.
    """
    y, x = size.height // model.vae.factor, size.width // model.vae.factor
    call = _unet(model.unet, y, x, size.rows, model.tokens, model.dtype)
    unet_call = _choose(call, model.dtype, settings)
    texts = [_text(one, one.max_position_embeddings, 1, model.dtype) for one in model.texts]
    unet, text, vae = model.weights
    width = model.dtype.itemsize
    return EditBytes(
        unet=unet * width, text_encoder=text * width, vae=vae * model.vae_dtype.itemsize,
        text_layer=model.text_layer * width, unet_call=unet_call,
        text_call=max((one.peak_bytes for one in texts), default=0),
        vae_calls=count_vae_bytes(model.vae, model.vae_dtype, size.height, size.width, settings),
        path=2 * path_bytes(model.vae, size.height, size.width, size.steps),  # while it is made
        recorded=unet_call if records else 0,
    )  # fmt: skip


def count_vae_bytes(
    config: AnyVAEConfig, dtype: torch.dtype, height: int, width: int,
    settings: GpuSettings = DEFAULT,
) -> tuple[int, int, int]:  # fmt: skip
    """The most of encoding or decoding one picture: whole, in stripes, and with maps elsewhere."""
    names, size = ("encode", "decode"), (height, width)
    calls = [one(config, *size, 1, dtype) for one in (_encode, _decode)]
    whole = max(_choose(one, dtype, settings) for one in calls)
    if not isinstance(config, VAEConfig):
        return whole, whole, whole  # TAESD has few channels
    some = [
        max(stripes.count_bytes(config, name, *size, dtype, streamed) for name in names)
        for streamed in (False, True)
    ]
    return whole, min(whole, some[0]), min(whole, *some)


def _count(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def _choose(cost: flops.CallCost, dtype: torch.dtype, settings: GpuSettings) -> int:
    laid = settings.channels_last and (settings.tf32 or dtype in HALVES)
    return cost.channels_last_bytes if laid else cost.peak_bytes

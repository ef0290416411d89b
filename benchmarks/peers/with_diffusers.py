"""diffusers as a peer: float32 as the reference, eager in channels_last, compiled, by zentorch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from numpy.typing import NDArray
from transformers import CLIPTextModel

from benchmarks.peers.sides import Array

Compile = Callable[[Callable[..., Any]], Callable[..., Any]]


def as_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def compile_frozen(function: Callable[..., Any]) -> Callable[..., Any]:
    """One graph for each shape, with the weights as constants."""
    import torch._inductor.config as inductor

    inductor.freezing = True  # of the process: tracing asks it too, an option is not enough
    return torch.compile(function, fullgraph=True, dynamic=False)


def compile_zentorch(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same through AMD's backend."""
    import torch._inductor.config as inductor
    import zentorch  # noqa: F401  it registers its backend

    inductor.freezing = True
    return torch.compile(function, backend="zentorch", fullgraph=True, dynamic=False)


class DiffusersSide:
    """UNet, VAE and text encoder in one dtype, channels_last unless it is the reference."""

    def __init__(
        self, model: Path, dtype: torch.dtype, layout: torch.memory_format, wrap: Compile
    ) -> None:
        self.dtype, self.layout = dtype, layout
        unet = UNet2DConditionModel.from_pretrained(model / "unet", torch_dtype=dtype)
        vae = AutoencoderKL.from_pretrained(model / "vae", torch_dtype=dtype)
        text = CLIPTextModel.from_pretrained(model / "text_encoder", dtype=dtype)
        unet, vae = (
            one.eval().requires_grad_(False).to(memory_format=layout) for one in (unet, vae)
        )
        if wrap is not as_is:
            unet.fuse_qkv_projections()
        self._text, self.scale = text.eval().requires_grad_(False), vae.config.scaling_factor
        self._unet, self._encode, self._decode = wrap(unet), wrap(vae.encode), wrap(vae.decode)

    def _put(self, x: Array) -> torch.Tensor:
        tensor = torch.from_numpy(x).to(self.dtype)
        return tensor.to(memory_format=self.layout) if x.ndim == 4 else tensor

    @torch.no_grad()
    def unet(self, x: Array, t: int, c: Array) -> Array:
        out = self._unet(self._put(x), torch.tensor(t), self._put(c), return_dict=False)
        return out[0].float().numpy()

    @torch.no_grad()
    def text(self, ids: NDArray[np.int64]) -> Array:
        return self._text(torch.from_numpy(ids))[0].float().numpy()

    @torch.no_grad()
    def encode(self, pixels: Array) -> Array:
        (found,) = self._encode(self._put(pixels), return_dict=False)
        return (found.mean * self.scale).float().numpy()

    @torch.no_grad()
    def decode(self, latent: Array) -> Array:
        z = self._put(latent / np.float32(self.scale))
        return self._decode(z, return_dict=False)[0].float().numpy()


def load(mode: str, model: Path, folder: Path) -> DiffusersSide:
    """mode: "float32", "eager", "compiled" or "zentorch"."""
    last, bf16 = torch.channels_last, torch.bfloat16
    if mode == "float32":
        return DiffusersSide(model, torch.float32, torch.contiguous_format, as_is)
    wraps: dict[str, Compile] = {
        "eager": as_is, "compiled": compile_frozen, "zentorch": compile_zentorch
    }  # fmt: skip
    return DiffusersSide(model, bf16, last, wraps[mode])

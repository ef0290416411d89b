"""Advice on the dtype for a CPU: what float16 became there, and when bfloat16 is the better one."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mdp_lite.checkpoint.config_files import is_taesd

LARGE = 10**9  # bytes of weights in float32, from which memory and time matter
GOOD = ("amx_bf16", "avx512_bf16")  # what a processor with fast bfloat16 products can do


def advise_dtype(
    tensors: Mapping[str, Mapping[str, Tensor]], models: Mapping[str, nn.Module], dtype: torch.dtype
) -> tuple[str, ...]:
    """Sentences on a large model that a CPU computes in float32, or none.

    tensors are those of the files, by part; models may be on the meta device.
    """
    count = sum(weight.numel() for one in models.values() for weight in one.parameters())
    if dtype != torch.float32 or 4 * count < LARGE:
        return ()
    stored = {tensor.dtype for tensor in tensors["unet"].values()}
    sentences = []
    if torch.float16 in stored:
        sentences.append("float16 becomes float32 on a CPU, where it gives the same pictures")
    if is_good_at_bfloat16():
        sentences.append(
            f"dtype bfloat16 takes {2 * count / 1e9:.1f} GB less memory and is faster on this kind "
            "of processor; pictures differ a little (`mdp-lite bench speed` times both)"
        )
    return tuple(sentences)


def is_good_at_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16. Others only store it, and gain no time."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) is True for name in GOOD)


def needs_wide_vae(configs: Mapping[str, dict[str, Any]], dtype: torch.dtype) -> dict[str, str]:
    """A note for the part vae if that overflows in float16, as SDXL's does unless it was mended."""
    vae = configs["vae"]
    upcast = not is_taesd(vae) and vae.get("force_upcast", True)
    if dtype != torch.float16 or "text_encoder_2" not in configs or not upcast:
        return {}
    return {"vae": "the VAE of Stable Diffusion XL overflows in float16: it runs in float32"}

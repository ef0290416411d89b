"""Advice on the dtype: what the checkpoint's became by default, and when another is better."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mdp_lite.checkpoint.assign import auto_dtype, stored_dtype
from mdp_lite.checkpoint.config_files import is_taesd
from mdp_lite.files import atomic

LARGE = 10**9  # bytes of weights in float32, from which memory and time matter
GOOD = ("amx_bf16", "avx512_bf16")  # what a processor with fast bfloat16 products can do


def list_advice(
    tensors: Mapping[str, Mapping[str, Tensor]], models: Mapping[str, nn.Module],
    device: torch.device, dtype: torch.dtype,
) -> tuple[str, ...]:  # fmt: skip
    """Sentences on the default dtype of a model on a device, or none.

    tensors are those of the files, by part; models may be on the meta device.
    """
    if device.type == "cpu":
        return advise_dtype(tensors, models, dtype)
    return describe_default(tensors, device, dtype)


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


def describe_default(
    tensors: Mapping[str, Mapping[str, Tensor]], device: torch.device, dtype: torch.dtype
) -> tuple[str, ...]:
    """A sentence on a dtype that is narrower than the UNet's in the file, and how to keep that.

    dtype is the default on the device, see auto_dtype; on a CPU it is never narrower.
    """
    stored = stored_dtype(dict(tensors["unet"]))
    if device.type != "cuda" or dtype == stored or stored not in (torch.float32, torch.bfloat16):
        return ()
    old, new = (str(one).removeprefix("torch.") for one in (stored, dtype))
    return (
        f"{old} becomes {new} on a GPU by default: pictures differ a little; "
        'dtype="float32" (--dtype float32) loses nothing',
    )


def choose_default(
    tensors: Mapping[str, Mapping[str, Tensor]], device: torch.device
) -> torch.dtype:  # fmt: skip
    """The dtype of auto_dtype; if it loses something, a warning says so once in a process."""
    dtype = auto_dtype(device, dict(tensors["unet"]))
    for sentence in describe_default(tensors, device, dtype):
        atomic.warn_once(sentence)
    return dtype


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

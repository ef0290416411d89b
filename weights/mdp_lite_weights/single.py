"""Single-file checkpoints in the LDM layout, as CompVis, Stability and the community write them."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from mdp_lite_weights import keys
from mdp_lite_weights.families import (
    refuse_channels,
    refuse_foreign,
    text_config,
    unet_config,
    vae_config,
)
from mdp_lite_weights.folder import flatten_attention, prefix_text_keys
from mdp_lite_weights.tensors import list_keys, read_metadata, read_tensors, short

Tensors = dict[str, Tensor]
Config = dict[str, Any]

# A tensor that shows how SD 2.x was trained: only v-prediction models have a larger spread.
PREDICTION_KEY = "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias"
MAX_SPREAD = 0.09
# Metadata: the prediction by its standard name, and the scheduler options that `convert` keeps.
PREDICTION, SCHEDULER = "modelspec.prediction_type", "mdp_lite.scheduler"
ABAR_END = 0.0046601  # abar at the last of Stable Diffusion's 1000 timesteps


class SingleFile(NamedTuple):
    """Configs and tensors by part in the diffusers layout; notes say what was inferred."""

    configs: dict[str, Config]
    tensors: dict[str, Tensors]
    notes: tuple[str, ...]
    openclip: bool


def read_single(path: Path, ema: bool = False, prediction_type: str | None = None) -> SingleFile:
    """Read an SD 1.x or 2.x file; raises ValueError for any other, and says what it is."""
    raw = read_tensors(path)
    return from_tensors(short(path), raw, read_metadata(path), ema, prediction_type)


def from_tensors(
    name: str, raw: Tensors, metadata: dict[str, str], ema: bool, prediction_type: str | None
) -> SingleFile:
    """The same for tensors that are already read: those of a .ckpt that is converted."""
    openclip = any(key.startswith(keys.OPENCLIP_AT) for key in raw)
    _check(name, raw, openclip)
    tensors = _split_parts(name, raw, openclip, ema)
    scheduler, notes = _infer_scheduler(raw, metadata, tensors["unet"], openclip, prediction_type)
    large = openclip and scheduler["prediction_type"] == "v_prediction"
    side = 768 if large else 512
    try:
        configs = {
            "text_encoder": text_config(tensors["text_encoder"], openclip),
            "unet": unet_config(tensors["unet"], openclip, side // 8),
            "vae": vae_config(tensors["vae"], side),
            "scheduler": scheduler,
        }
    except (KeyError, StopIteration, IndexError, ValueError) as error:
        raise ValueError(f"{name} is incomplete: it lacks {error or 'attention'}") from None
    return SingleFile(configs, tensors, notes, openclip)


def read_vae(path: Path) -> tuple[Config, Tensors]:
    """Read a VAE from a file, alone or in a whole checkpoint, under LDM's or diffusers' names."""
    raw = read_tensors(path)
    inside = keys.strip_prefix(raw, keys.VAE_AT) or raw
    inside = {k: v for k, v in inside.items() if not k.startswith(("loss.", "model_ema."))}
    tensors = flatten_attention(
        keys.rename_keys(keys.rename_keys(inside, keys.vae_key), keys.modern_vae_key)
    )
    needed = ("encoder.conv_in.weight", "decoder.conv_in.weight", "decoder.conv_out.weight")
    if any(key not in tensors for key in needed):
        raise ValueError(f"{short(path)} holds no VAE{list_keys(sorted(raw))}")
    return vae_config(tensors), tensors


def _check(name: str, raw: Tensors, openclip: bool) -> None:
    """Raises ValueError unless this is a whole SD 1.x or 2.x checkpoint without unknown keys."""
    refuse_foreign(name, raw)
    text_at = keys.OPENCLIP_AT if openclip else keys.CLIP_AT
    parts = {"UNet": keys.UNET_AT, "VAE": keys.VAE_AT, "text encoder": text_at}
    lacks = [p for p, at in parts.items() if not any(key.startswith(at) for key in raw)]
    if len(lacks) == len(parts):
        raise ValueError(
            f"{name} is no Stable Diffusion checkpoint in the LDM layout{list_keys(list(raw))}"
        )
    if lacks:
        raise ValueError(f"{name} holds no {' and no '.join(lacks)}: want a whole checkpoint")
    odd = [k for k in raw if not k.startswith((*parts.values(), *keys.UNUSED))]
    if odd:
        raise ValueError(f"{name}: {len(odd)} unexpected keys{list_keys(sorted(odd))}")
    start = raw.get(f"{keys.UNET_AT}input_blocks.0.0.weight")
    refuse_channels(name, start.shape[1] if start is not None and start.ndim == 4 else None)


def _split_parts(name: str, raw: Tensors, openclip: bool, ema: bool) -> dict[str, Tensors]:
    """The three models under their diffusers names; the tensors are views."""
    unet = keys.strip_prefix(raw, keys.UNET_AT)
    unet = keys.rename_keys(select_ema(name, raw, unet) if ema else unet, keys.unet_key)
    used = {key: tensor for key, tensor in raw.items() if not key.startswith(keys.UNUSED)}
    vae = flatten_attention(keys.rename_keys(keys.strip_prefix(used, keys.VAE_AT), keys.vae_key))
    if openclip:
        text = keys.unpack(
            keys.rename_keys(keys.strip_prefix(used, keys.OPENCLIP_AT), keys.openclip_key)
        )
        return {"text_encoder": prefix_text_keys(text), "unet": unet, "vae": vae}
    return {
        "text_encoder": prefix_text_keys(keys.strip_prefix(used, keys.CLIP_AT)),
        "unet": unet,
        "vae": vae,
    }


def select_ema(name: str, raw: Tensors, unet: Tensors) -> Tensors:
    """The UNet's exponential moving average, whose keys are the weights' without their dots."""
    pairs = {key: f"model_ema.diffusion_model{key.replace('.', '')}" for key in unet}
    if any(average not in raw for average in pairs.values()):
        raise ValueError(f"{name} holds no whole model_ema: load it without ema")
    return {key: raw[average] for key, average in pairs.items()}


def _infer_scheduler(
    raw: Tensors,
    metadata: dict[str, str],
    unet: Tensors,
    openclip: bool,
    prediction_type: str | None,
) -> tuple[Config, tuple[str, ...]]:
    """The scheduler; what the file does not say is inferred, with a note."""
    try:
        saved = dict(json.loads(metadata.get(SCHEDULER, "{}")))
    except (ValueError, TypeError):
        raise ValueError(f"{SCHEDULER} in the header must be a JSON object") from None
    zero = "ztsnr" in raw or _ends_in_noise(raw)
    prediction, why = _infer_prediction(raw, metadata, unet, openclip, zero)
    notes = [] if prediction_type else [f"prediction type {prediction}: {why}"]
    if zero:
        notes.append("zero terminal SNR: the file's own noise schedule ends in pure noise")
    scheduler = {
        "_class_name": "DDIMScheduler",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "prediction_type": prediction,
        "rescale_betas_zero_snr": zero,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "timestep_spacing": "trailing" if zero else "leading",
    }
    if prediction_type:
        saved["prediction_type"] = prediction_type
    return scheduler | saved, tuple(notes)


def _infer_prediction(
    raw: Tensors, metadata: dict[str, str], unet: Tensors, openclip: bool, zero: bool
) -> tuple[str, str]:
    """The prediction type and the reason for it: metadata, a marker, or the weights."""
    recorded = metadata.get(PREDICTION)
    if recorded is not None:
        return "v_prediction" if recorded.startswith("v") else "epsilon", "from the file's metadata"
    if "v_pred" in raw:
        return "v_prediction", "marked so in the file"
    if zero:
        return "v_prediction", "its schedule ends in noise alone, which epsilon can't predict"
    if not openclip or PREDICTION_KEY not in unet:
        return "epsilon", "as all of Stable Diffusion 1.x"
    spread = unet[PREDICTION_KEY].float().std(correction=0).item()
    inferred = f"inferred from the weights (spread {spread:.3f} of norm1.bias, limit {MAX_SPREAD})"
    return "v_prediction" if spread > MAX_SPREAD else "epsilon", inferred


def _ends_in_noise(raw: Tensors) -> bool:
    """Whether the file's abar ends at 0; raises ValueError if it is not SD's schedule either."""
    abar = raw.get("alphas_cumprod")
    if abar is None:
        return False
    end = abar.flatten()[-1].item()
    if abar.numel() != 1000 or not (abs(end) < 1e-4 or abs(end - ABAR_END) < 2e-4):
        raise ValueError(
            "its alphas_cumprod is not Stable Diffusion's schedule: want 1000 steps down to "
            f"{ABAR_END} or 0, got {abar.numel()} down to {end:.6f}"
        )
    return abs(end) < 1e-4

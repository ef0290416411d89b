"""Single-file checkpoints in the LDM layout, as CompVis, Stability and the community make them."""

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
from mdp_lite_weights.folder import flat_attention, text_keys
from mdp_lite_weights.tensors import first, read_metadata, read_tensors, short

Tensors = dict[str, Tensor]
Config = dict[str, Any]

# A tensor that tells how SD 2.x was trained: spread above LIMIT in v-prediction models alone.
TELLS = "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias"
LIMIT = 0.09
# Metadata: the prediction by its standard name, and what `convert` keeps of the scheduler.
PREDICTION, SCHEDULER = "modelspec.prediction_type", "mdp_lite.scheduler"
ABAR_END = 0.0046601  # abar at the last of Stable Diffusion's 1000 timesteps


class Single(NamedTuple):
    """Configs and tensors by part, in the diffusers layout, and sentences on what was inferred."""

    configs: dict[str, Config]
    tensors: dict[str, Tensors]
    notes: tuple[str, ...]
    openclip: bool


def read_single(path: Path, ema: bool = False, prediction_type: str | None = None) -> Single:
    """Read an SD 1.x or 2.x file; anything else is a ValueError that says what it is."""
    found = read_tensors(path)
    return from_tensors(short(path), found, read_metadata(path), ema, prediction_type)


def from_tensors(
    name: str, found: Tensors, metadata: dict[str, str], ema: bool, prediction_type: str | None
) -> Single:
    """The same for tensors that are already at hand: those of a .ckpt that is converted."""
    openclip = any(key.startswith(keys.OPENCLIP_AT) for key in found)
    _check(name, found, openclip)
    tensors = _parts(name, found, openclip, ema)
    scheduler, notes = _scheduler(found, metadata, tensors["unet"], openclip, prediction_type)
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
    return Single(configs, tensors, notes, openclip)


def read_vae(path: Path) -> tuple[Config, Tensors]:
    """A VAE from a file: alone or in a whole checkpoint, under LDM's names or diffusers'."""
    found = read_tensors(path)
    inside = keys.below(found, keys.VAE_AT) or found
    inside = {k: v for k, v in inside.items() if not k.startswith(("loss.", "model_ema."))}
    tensors = flat_attention(keys.renamed(keys.renamed(inside, keys.vae_key), keys.modern_vae_key))
    needed = ("encoder.conv_in.weight", "decoder.conv_in.weight", "decoder.conv_out.weight")
    if any(key not in tensors for key in needed):
        raise ValueError(f"{short(path)} holds no VAE{first(sorted(found))}")
    return vae_config(tensors), tensors


def _check(name: str, found: Tensors, openclip: bool) -> None:
    """A whole checkpoint of a family that is read, and nothing that has no place in it."""
    refuse_foreign(name, found)
    text_at = keys.OPENCLIP_AT if openclip else keys.CLIP_AT
    parts = {"UNet": keys.UNET_AT, "VAE": keys.VAE_AT, "text encoder": text_at}
    lacks = [p for p, at in parts.items() if not any(key.startswith(at) for key in found)]
    if len(lacks) == len(parts):
        raise ValueError(
            f"{name} is no Stable Diffusion checkpoint in the LDM layout{first(list(found))}"
        )
    if lacks:
        raise ValueError(f"{name} holds no {' and no '.join(lacks)}: want a whole checkpoint")
    odd = [k for k in found if not k.startswith((*parts.values(), *keys.UNUSED))]
    if odd:
        raise ValueError(f"{name}: {len(odd)} unexpected keys{first(sorted(odd))}")
    start = found.get(f"{keys.UNET_AT}input_blocks.0.0.weight")
    refuse_channels(name, start.shape[1] if start is not None and start.ndim == 4 else None)


def _parts(name: str, found: Tensors, openclip: bool, ema: bool) -> dict[str, Tensors]:
    """The three models under their names in the diffusers layout; the tensors are views."""
    unet = keys.below(found, keys.UNET_AT)
    unet = keys.renamed(averaged(name, found, unet) if ema else unet, keys.unet_key)
    used = {key: tensor for key, tensor in found.items() if not key.startswith(keys.UNUSED)}
    vae = flat_attention(keys.renamed(keys.below(used, keys.VAE_AT), keys.vae_key))
    if openclip:
        text = keys.unpack(keys.renamed(keys.below(used, keys.OPENCLIP_AT), keys.openclip_key))
        return {"text_encoder": text_keys(text), "unet": unet, "vae": vae}
    return {"text_encoder": text_keys(keys.below(used, keys.CLIP_AT)), "unet": unet, "vae": vae}


def averaged(name: str, found: Tensors, unet: Tensors) -> Tensors:
    """The UNet's exponential moving average, whose keys are the weights' without their dots."""
    pairs = {key: f"model_ema.diffusion_model{key.replace('.', '')}" for key in unet}
    if any(average not in found for average in pairs.values()):
        raise ValueError(f"{name} holds no whole model_ema: load it without ema")
    return {key: found[average] for key, average in pairs.items()}


def _scheduler(
    found: Tensors, metadata: dict[str, str], unet: Tensors, openclip: bool, asked: str | None
) -> tuple[Config, tuple[str, ...]]:
    """Stable Diffusion's scheduler, with what a file does not say inferred and noted."""
    try:
        kept = dict(json.loads(metadata.get(SCHEDULER, "{}")))
    except (ValueError, TypeError):
        raise ValueError(f"{SCHEDULER} in the header must be a JSON object") from None
    zero = "ztsnr" in found or _ends_in_noise(found)
    prediction, why = _prediction(found, metadata, unet, openclip, zero)
    notes = [] if asked else [f"prediction type {prediction}: {why}"]
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
    return scheduler | kept | ({"prediction_type": asked} if asked else {}), tuple(notes)


def _prediction(
    found: Tensors, metadata: dict[str, str], unet: Tensors, openclip: bool, zero: bool
) -> tuple[str, str]:
    """The prediction type and where it comes from: metadata, a marker, or the weights."""
    said = metadata.get(PREDICTION)
    if said is not None:
        return "v_prediction" if said.startswith("v") else "epsilon", "said by the file"
    if "v_pred" in found:
        return "v_prediction", "marked so in the file"
    if zero:
        return "v_prediction", "its schedule ends in noise alone, which epsilon can't predict"
    if not openclip or TELLS not in unet:
        return "epsilon", "as all of Stable Diffusion 1.x"
    spread = unet[TELLS].float().std(correction=0).item()
    inferred = f"inferred from the weights (spread {spread:.3f} of norm1.bias, limit {LIMIT})"
    return "v_prediction" if spread > LIMIT else "epsilon", inferred


def _ends_in_noise(found: Tensors) -> bool:
    """Whether the file's own abar ends at 0; another schedule than that or SD's is refused."""
    abar = found.get("alphas_cumprod")
    if abar is None:
        return False
    end = abar.flatten()[-1].item()
    if abar.numel() != 1000 or not (abs(end) < 1e-4 or abs(end - ABAR_END) < 2e-4):
        raise ValueError(
            "its alphas_cumprod is not Stable Diffusion's schedule: want 1000 steps down to "
            f"{ABAR_END} or 0, got {abar.numel()} down to {end:.6f}"
        )
    return abs(end) < 1e-4

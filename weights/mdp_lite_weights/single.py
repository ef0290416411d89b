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
from mdp_lite_weights.leftovers import describe_leftovers, is_leftover
from mdp_lite_weights.tensors import list_keys, read_metadata, read_tensors, short

Tensors = dict[str, Tensor]
Config = dict[str, Any]

# A tensor that shows how SD 2.x was trained: only v-prediction models have a larger spread.
PREDICTION_KEY = "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias"
MAX_SPREAD = 0.09
SD1_WIDTH, SD2_WIDTH = 768, 1024  # of the text that the UNet attends to
LAST_LAYER = "text_model.encoder.layers.23."
# Metadata: the prediction by its standard name, and the scheduler options that `convert` keeps.
PREDICTION, SCHEDULER = "modelspec.prediction_type", "mdp_lite.scheduler"
ABAR_END = 0.0046601  # abar at the last of Stable Diffusion's 1000 timesteps


class SingleFile(NamedTuple):
    """Configs and tensors by part in the diffusers layout; notes say what was inferred.

    openclip: the text encoder is OpenCLIP's, so this is SD 2.x.
    """

    configs: dict[str, Config]
    tensors: dict[str, Tensors]
    notes: tuple[str, ...]
    openclip: bool


class TextPlace(NamedTuple):
    """Where a file has its text encoder: the prefix of its keys, and whose names they are."""

    at: str
    openclip_names: bool


def read_single(
    path: Path, ema: bool = False, prediction_type: str | None = None, own_vae: bool = True
) -> SingleFile:
    """Read an SD 1.x or 2.x file; raises ValueError for any other, and says what it is.

    Without own_vae the file's VAE is not read, and need not be there.
    """
    raw = read_tensors(path)
    return from_tensors(short(path), raw, read_metadata(path), ema, prediction_type, own_vae)


def from_tensors(
    name: str,
    raw: Tensors,
    metadata: dict[str, str],
    ema: bool,
    prediction_type: str | None,
    own_vae: bool = True,
) -> SingleFile:
    """The same for tensors that are already read: those of a .ckpt that is converted."""
    text = _find_text(name, raw)
    _check(name, raw, text, own_vae)
    openclip = text.openclip_names or _is_sd2(raw)
    tensors = _split_parts(name, raw, text, openclip, ema)
    left = describe_leftovers(raw, (keys.UNET_AT, keys.VAE_AT, text.at))
    scheduler, notes = _infer_scheduler(raw, metadata, tensors["unet"], openclip, prediction_type)
    large = openclip and scheduler["prediction_type"] == "v_prediction"
    side = 768 if large else 512
    try:
        configs = {
            "text_encoder": text_config(tensors["text_encoder"], openclip),
            "unet": unet_config(tensors["unet"], openclip, side // 8),
            "scheduler": scheduler,
        }
        if own_vae:
            configs["vae"] = vae_config(tensors["vae"], side)
    except (KeyError, StopIteration, IndexError, ValueError) as error:
        raise ValueError(f"{name} is incomplete: it lacks {error or 'attention'}") from None
    if openclip and not text.openclip_names:
        notes += ("Stable Diffusion 2.x: known by its shapes, its text encoder has other names",)
    return SingleFile(configs, tensors, (*notes, *left), openclip)


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


def _find_text(name: str, raw: Tensors) -> TextPlace:
    """Where the text encoder lies: around its token table, under whatever prefix a tool wrote."""
    end, found = "token_embedding.weight", set()
    for key in raw:
        if key.startswith(keys.TEXT_AT) and key.endswith(end):
            at = key.removesuffix(end)
            inner = at.removesuffix("embeddings.")
            found.add(TextPlace(inner.removesuffix("text_model."), inner == at))
    if len(found) > 1:
        places = ", ".join(sorted(place.at for place in found))
        raise ValueError(f"{name} holds {len(found)} text encoders ({places}): want one")
    openclip = any(key.startswith(keys.OPENCLIP_AT) for key in raw)
    default = TextPlace(keys.OPENCLIP_AT if openclip else keys.CLIP_AT, openclip)
    return found.pop() if found else default


def _is_sd2(raw: Tensors) -> bool:
    """Whether a UNet is Stable Diffusion 2's, by its shapes: its width, or linear projections."""
    unet = keys.strip_prefix(raw, keys.UNET_AT)
    widths = (t.shape[1] for k, t in unet.items() if k.endswith("attn2.to_k.weight"))
    projections = (t.ndim for k, t in unet.items() if k.endswith(".proj_in.weight"))
    width, ndim = next(widths, None), next(projections, None)
    return width == SD2_WIDTH or (width != SD1_WIDTH and ndim == 2)


def _check(name: str, raw: Tensors, text: TextPlace, own_vae: bool) -> None:
    """Raises ValueError unless this is a whole SD 1.x or 2.x checkpoint without unknown keys."""
    refuse_foreign(name, raw)
    parts = {"UNet": keys.UNET_AT, "VAE": keys.VAE_AT, "text encoder": text.at}
    lacks = [p for p, at in parts.items() if not any(key.startswith(at) for key in raw)]
    if len(lacks) == len(parts):
        raise ValueError(
            f"{name} is no Stable Diffusion checkpoint in the LDM layout{list_keys(list(raw))}"
        )
    if lacks == ["VAE"]:
        if own_vae:
            raise ValueError(f"{name} holds no VAE: give one beside it (vae=)")
    elif lacks:
        raise ValueError(f"{name} holds no {' and no '.join(lacks)}: want a whole checkpoint")
    models = tuple(parts.values())
    odd = [k for k, t in raw.items() if not (k.startswith(models) or is_leftover(k, t))]
    if odd:
        raise ValueError(f"{name}: {len(odd)} unexpected keys{list_keys(sorted(odd))}")
    start = raw.get(f"{keys.UNET_AT}input_blocks.0.0.weight")
    refuse_channels(name, start.shape[1] if start is not None and start.ndim == 4 else None)


def _split_parts(
    name: str, raw: Tensors, place: TextPlace, openclip: bool, ema: bool
) -> dict[str, Tensors]:
    """The three models under their diffusers names; the tensors are views."""
    unet = keys.strip_prefix(raw, keys.UNET_AT)
    unet = keys.rename_keys(select_ema(name, raw, unet) if ema else unet, keys.unet_key)
    used = {key: tensor for key, tensor in raw.items() if not key.startswith(keys.UNUSED)}
    vae = flatten_attention(keys.rename_keys(keys.strip_prefix(used, keys.VAE_AT), keys.vae_key))
    text = keys.strip_prefix(used, place.at)
    if place.openclip_names:
        text = keys.unpack(keys.rename_keys(text, keys.openclip_key))
    text = prefix_text_keys(text)
    if openclip:  # SD 2.x reads the layer before the last
        text = {k: t for k, t in text.items() if not k.startswith(LAST_LAYER)}
    return {"text_encoder": text, "unet": unet, "vae": vae}


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

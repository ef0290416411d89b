"""The noise schedule of a single file, which says little of it, and its prediction type."""

import json
from typing import Any

from torch import Tensor

from mdp_lite_weights.families import INPAINTING, SD1, SDXL

Tensors = dict[str, Tensor]
Config = dict[str, Any]

# A tensor that shows how SD 2.x was trained: only v-prediction models have a larger spread.
PREDICTION_KEY = "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias"
MAX_SPREAD = 0.09
# Metadata: the prediction by its standard name, and the scheduler options that `convert` keeps.
PREDICTION, SCHEDULER = "modelspec.prediction_type", "mdp_lite.scheduler"
ABAR_END = 0.0046601  # abar at the last of Stable Diffusion's 1000 timesteps


def infer_scheduler(
    raw: Tensors,
    metadata: dict[str, str],
    unet: Tensors,
    family: str,
    prediction_type: str | None,
) -> tuple[Config, tuple[str, ...]]:
    """The scheduler; what the file does not say is inferred, with a note."""
    try:
        saved = dict(json.loads(metadata.get(SCHEDULER, "{}")))
    except (ValueError, TypeError):
        raise ValueError(f"{SCHEDULER} in the header must be a JSON object") from None
    zero = "ztsnr" in raw or _ends_in_noise(raw)
    prediction, why = _infer_prediction(raw, metadata, unet, family, zero)
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
    raw: Tensors, metadata: dict[str, str], unet: Tensors, family: str, zero: bool
) -> tuple[str, str]:
    """The prediction type and the reason for it: metadata, a marker, or the weights."""
    recorded = metadata.get(PREDICTION)
    if recorded is not None:
        known = {"v": "v_prediction", "s": "sample", "x": "sample"}  # by their first letter
        return known.get(recorded[:1], "epsilon"), "from the file's metadata"
    if "v_pred" in raw:
        return "v_prediction", "marked so in the file"
    if zero:
        return "v_prediction", "its schedule ends in noise alone, which epsilon can't predict"
    if family == SDXL:
        return "epsilon", "as nearly all of Stable Diffusion XL"
    if "conv_in.weight" in unet and unet["conv_in.weight"].shape[1] == INPAINTING:
        return "epsilon", "as the inpainting models of all families"
    if family == SD1 or PREDICTION_KEY not in unet:
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

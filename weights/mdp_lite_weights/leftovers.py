"""Leftovers in single files: what lies beside the three models, and the sentences on it.

A key beside the models is a leftover if its name says so (UNUSED), or if it is a bare name
(without a dot: no layer of a network) of one number or of one number for each timestep. Anything
else may be weights of another architecture, and is refused.
"""

from torch import Tensor

from mdp_lite_weights.tensors import list_keys

Tensors = dict[str, Tensor]

MARKERS = ("v_pred", "ztsnr", "alphas_cumprod")  # these are read
# Keys of single files that are not read: the schedule's buffers (they follow from the scheduler),
# the average of the weights (see ema), heads of the text encoder, the picture half of a CLIP,
# leftovers of training (optimizers, copies of the text encoder) and of tools.
UNUSED = (
    "embedding_manager.embedder.",
    "safety_checker.",
    "optimizer",
    "lr_scheduler",
    "callbacks.",
    "loops.",
    "first_stage_model.model_ema.",
    "cond_stage_model.model.visual.",
    "cond_stage_model.transformer.vision_model.",
    "cond_stage_model.transformer.visual_projection.",
    "model_ema.",
    "betas",
    "alphas_cumprod",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_",
    "lvlb_weights",
    "logvar",
    "denoiser.sigmas",
    "v_pred",
    "ztsnr",
    "first_stage_model.loss.",
    "cond_stage_model.logit_scale",
    "cond_stage_model.text_projection",
    "cond_stage_model.transformer.text_projection.",
    "cond_stage_model.transformer.logit_scale",
    "cond_stage_model.transformer.text_model.embeddings.position_ids",
    "cond_stage_model.transformer.embeddings.position_ids",
    "cond_stage_model.model.logit_scale",
    "cond_stage_model.model.attn_mask",
    "cond_stage_model.model.text_projection",
    "cond_stage_model.model.transformer.resblocks.23.",  # SD 2.x reads the layer before the last
    "conditioner.embedders.0.logit_scale",
    "conditioner.embedders.0.text_projection",
    "conditioner.embedders.0.transformer.text_projection.",
    "conditioner.embedders.0.transformer.logit_scale",
    "conditioner.embedders.0.transformer.vision_model.",
    "conditioner.embedders.0.transformer.visual_projection.",
    "conditioner.embedders.0.transformer.text_model.embeddings.position_ids",
    "conditioner.embedders.0.transformer.embeddings.position_ids",
    "conditioner.embedders.1.logit_scale",
    "conditioner.embedders.1.model.logit_scale",
    "conditioner.embedders.1.model.attn_mask",
    "conditioner.embedders.1.model.visual.",
    "conditioner.embedders.1.model.text_model.embeddings.position_ids",
)


def is_leftover(key: str, tensor: Tensor) -> bool:
    """Whether a tensor beside the models changes no picture."""
    counts = tensor.numel() <= 1 or (tensor.ndim == 1 and tensor.numel() == 1000)
    return key.startswith(UNUSED) or ("." not in key and counts)


def describe_leftovers(raw: Tensors, parts: tuple[str, ...], scale: float) -> list[str]:
    """Sentences on the tensors of a file that are not read.

    parts are the models' prefixes, scale is that of the latents.
    """
    left = [
        key
        for key, tensor in raw.items()
        if key not in MARKERS
        and (key.startswith(UNUSED) or not key.startswith(parts))
        and is_leftover(key, tensor)
    ]
    left.sort(key=lambda key: (key.count("."), key))  # single numbers first
    notes = [f"{len(left)} tensors of the file are not read{list_keys(left)}"] if left else []
    own = raw["scale_factor"].flatten().tolist() if "scale_factor" in raw else []
    if own and abs(own[0] - scale) > 1e-3 * scale and own[0] != 1:
        notes.append(f"scale_factor {own[0]:.5g} of the file is not used: latents have {scale}")
    return notes

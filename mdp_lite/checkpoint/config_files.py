"""Reading config files: which options are known, and their types, ranges and supported values."""

import dataclasses
import math
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

from mdp_lite.models.config import CLIPConfig, SchedulerConfig, UNetConfig, VAEConfig
from mdp_lite.names import BadCheckpoint

T = TypeVar("T")
Raw = dict[str, Any]

MAX_INT = 2**20  # the largest whole number in a config; a larger one means a damaged file
MAY_BE_ZERO = ("steps_offset", "freq_shift")
ACTIVATIONS = ("silu", "swish", "gelu", "relu", "mish")
# Options of diffusers or transformers that this code supports only at these values.
UNET_ONLY: dict[str, tuple[Any, ...]] = {
    "addition_embed_type": (None,),
    "addition_embed_type_num_heads": (64,),
    "addition_time_embed_dim": (None,),
    "attention_type": ("default",),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "class_embeddings_concat": (False,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "cross_attention_norm": (None,),
    "downsample_padding": (1,),
    "dropout": (0, 0.0),
    "dual_cross_attention": (False,),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "mid_block_only_cross_attention": (None,),
    "mid_block_scale_factor": (1, 1.0),
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "num_attention_heads": (None,),
    "num_class_embeds": (None,),
    "only_cross_attention": (False,),
    "projection_class_embeddings_input_dim": (None,),
    "resnet_out_scale_factor": (1, 1.0),
    "resnet_skip_time_act": (False,),
    "resnet_time_scale_shift": ("default",),
    "reverse_transformer_layers_per_block": (None,),
    "time_cond_proj_dim": (None,),
    "time_embedding_act_fn": (None,),
    "time_embedding_dim": (None,),
    "time_embedding_type": ("positional",),
    "timestep_post_act": (None,),
    # A hint for attention in half precision; scaled_dot_product_attention accumulates in fp32.
    "upcast_attention": (False, True, None),
}
VAE_ONLY: dict[str, tuple[Any, ...]] = {
    "force_upcast": (False, True),
    "latents_mean": (None,),
    "latents_std": (None,),
    "shift_factor": (None, 0, 0.0),
}
# Further options that transformers writes; those in CLIP_UNUSED do not change the model.
CLIP_ONLY: dict[str, tuple[Any, ...]] = {
    "attention_dropout": (0, 0.0),
    "dropout": (0, 0.0),
    "model_type": ("clip_text_model",),
}
CLIP_UNUSED = (
    "architectures bos_token_id chunk_size_feed_forward dtype eos_token_id id2label "
    "initializer_factor initializer_range is_encoder_decoder label2id output_attentions "
    "output_hidden_states pad_token_id problem_type projection_dim return_dict torch_dtype "
    "transformers_version use_cache"
).split()
SCHEDULER_ONLY: dict[str, tuple[Any, ...]] = {"thresholding": (False,), "trained_betas": (None,)}
# Options of other schedulers than DDIM, and of clipping, which latent models never use.
SCHEDULER_UNUSED = (
    "clip_sample_range dynamic_thresholding_ratio sample_max_value skip_prk_steps solver_order "
    "variance_type algorithm_type solver_type lower_order_final euler_at_final use_karras_sigmas "
    "interpolation_type use_exponential_sigmas use_beta_sigmas sigma_min sigma_max "
    "final_sigmas_type timestep_type"
).split()


def read_clip_config(raw: Raw) -> CLIPConfig:
    """Read transformers' config; raises BadCheckpoint for an option that is not implemented."""
    config = read_config(CLIPConfig, "text_encoder", raw, CLIP_ONLY, CLIP_UNUSED)
    check_one_of("text_encoder", "hidden_act", config.hidden_act, ("quick_gelu", "gelu"))
    check_divides(
        "text_encoder", "num_attention_heads", config.num_attention_heads, config.hidden_size
    )
    return config


def read_unet_config(raw: Raw) -> UNetConfig:
    """Read diffusers' config; raises BadCheckpoint for an option that is not implemented."""
    config = read_config(UNetConfig, "unet", raw, UNET_ONLY)
    check_one_of("unet", "act_fn", config.act_fn, ACTIVATIONS)
    down, up = ("DownBlock2D", "CrossAttnDownBlock2D"), ("UpBlock2D", "CrossAttnUpBlock2D")
    check_same_length("unet", config, "block_out_channels", "down_block_types", "up_block_types")
    for kind in config.down_block_types:
        check_one_of("unet", "down_block_types", kind, down)
    for kind in config.up_block_types:
        check_one_of("unet", "up_block_types", kind, up)
    for channels in config.block_out_channels:
        check_divides("unet", "norm_num_groups", config.norm_num_groups, channels)
    for heads, channels in zip(config.heads, config.block_out_channels, strict=True):
        check_divides("unet", "attention_head_dim (the number of heads)", heads, channels)
    return config


def read_vae_config(raw: Raw) -> VAEConfig:
    """Read diffusers' config; raises BadCheckpoint for an option that is not implemented."""
    config = read_config(VAEConfig, "vae", raw, VAE_ONLY)
    check_one_of("vae", "act_fn", config.act_fn, ACTIVATIONS)
    for kinds in ("down_block_types", "up_block_types"):
        if kinds in raw:
            check_same_length("vae", config, "block_out_channels", kinds)
    for kind in config.down_block_types:
        check_one_of("vae", "down_block_types", kind, ("DownEncoderBlock2D",))
    for kind in config.up_block_types:
        check_one_of("vae", "up_block_types", kind, ("UpDecoderBlock2D",))
    for channels in config.block_out_channels:
        check_divides("vae", "norm_num_groups", config.norm_num_groups, channels)
    return config


def read_scheduler_config(raw: Raw) -> SchedulerConfig:
    """Read diffusers' config of any scheduler as DDIM; clip_sample must be off for latents."""
    # PNDM, which most SD 1.x files use, has no clip_sample: then it is off.
    default = raw.get("_class_name", "DDIMScheduler") == "DDIMScheduler"
    if raw.get("clip_sample", default):
        raise BadCheckpoint("scheduler: clip_sample must be false for a latent model, got true")
    unused = [*SCHEDULER_UNUSED, "clip_sample"]
    config = read_config(SchedulerConfig, "scheduler", raw, SCHEDULER_ONLY, unused)
    check_one_of("scheduler", "beta_schedule", config.beta_schedule, ("linear", "scaled_linear"))
    check_one_of(
        "scheduler", "prediction_type", config.prediction_type, ("epsilon", "v_prediction")
    )
    if not config.beta_start <= config.beta_end < 1:
        pair = (config.beta_start, config.beta_end)
        raise BadCheckpoint(f"scheduler: beta_start and beta_end must rise below 1, got {pair}")
    spacings = ("leading", "trailing", "linspace")
    check_one_of("scheduler", "timestep_spacing", config.timestep_spacing, spacings)
    return config


def read_config(
    cls: type[T], part: str, raw: Raw, only: dict[str, tuple[Any, ...]], unused: Any = ()
) -> T:
    """Read a config; raises BadCheckpoint for an option that is unknown, missing or unsupported."""
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    options: Raw = {}
    for key, value in raw.items():
        if key in fields:
            options[key] = tuple(value) if isinstance(value, list) else value
            _check(part, key, options[key], fields[key].type)
        elif key in only:
            check_one_of(part, key, value, only[key])
        elif key not in unused and not key.startswith("_"):
            raise BadCheckpoint(f"{part}: unknown option {key!r}, got {value!r}")
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in options:
            raise BadCheckpoint(f"{part}: the config has no {name!r}")
    return cls(**options)


def _check(part: str, key: str, value: Any, kind: Any) -> None:
    if not _is_a(value, kind):
        want = kind.__name__ if isinstance(kind, type) and not get_args(kind) else kind
        raise BadCheckpoint(f"{part}: {key} must be of type {want}, got {value!r}")
    least = 0 if key in MAY_BE_ZERO else 1
    for number in value if isinstance(value, tuple) else (value,):
        if type(number) is int and not least <= number <= MAX_INT:
            raise BadCheckpoint(f"{part}: {key} must be from {least} to {MAX_INT}, got {number}")
        if type(number) is float and not 0 < number < math.inf:
            raise BadCheckpoint(f"{part}: {key} must be above 0 and finite, got {number}")


def _is_a(value: Any, kind: Any) -> bool:
    if isinstance(kind, UnionType):
        return any(_is_a(value, one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        listed = isinstance(value, tuple) and len(value) > 0
        return listed and all(_is_a(part, get_args(kind)[0]) for part in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def check_one_of(part: str, key: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Raises BadCheckpoint for a value that this code does not support."""
    if value not in allowed:
        want = " or ".join(repr(one) for one in allowed)
        raise BadCheckpoint(f"{part}: {key} {value!r} is not supported, want {want}")


def check_divides(part: str, key: str, number: int, whole: int) -> None:
    """Raises BadCheckpoint for a number of groups or heads that does not divide its channels."""
    if number < 1 or whole % number:
        raise BadCheckpoint(f"{part}: {key} must divide {whole}, got {number}")


def check_same_length(part: str, config: Any, *keys: str) -> None:
    """Raises BadCheckpoint for lists that should have one entry a block, but differ in length."""
    lengths = {key: len(getattr(config, key)) for key in keys}
    if len(set(lengths.values())) > 1:
        raise BadCheckpoint(
            f"{part}: {', '.join(keys)} must have one entry a block each, got {lengths}"
        )

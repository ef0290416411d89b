"""Reading config files: types, ranges and supported values (which keys count: config_keys.py)."""

import dataclasses
import math
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

from mdp_lite.checkpoint.config_keys import SCHEDULER, TAESD, TEXT_ENCODER, UNET, VAE, Keys
from mdp_lite.checkpoint.samplers import check_sampler
from mdp_lite.models.config import (
    AnyVAEConfig,
    CLIPConfig,
    SchedulerConfig,
    TAESDConfig,
    UNetConfig,
    VAEConfig,
)
from mdp_lite.models.unet import MID_BLOCKS
from mdp_lite.names import PREDICTION_TYPES, SAMPLERS, SPACINGS, BadCheckpoint, BadInput

T = TypeVar("T")
Raw = dict[str, Any]

MAX_INT = 2**20  # the largest whole number in a config; a larger one means a damaged file
DEPTHS = ("transformer_layers_per_block", "reverse_transformer_layers_per_block")
MAY_BE_ZERO = (
    "steps_offset", "freq_shift", "eta", "num_encoder_blocks", "num_decoder_blocks",
    *DEPTHS,  # of blocks without attention
)  # fmt: skip
ACTIVATIONS = ("silu", "swish", "gelu", "relu", "mish")
# Options that diffusers also reads as a list of one number a block; here all must be the same.
PER_BLOCK = ("cross_attention_dim", "layers_per_block", "only_cross_attention")
# What belongs to addition_embed_type text_time, SDXL's.
ADDED = ("addition_time_embed_dim", "projection_class_embeddings_input_dim")
PROJECTED = ("text_encoder_2",)
TINY = "AutoencoderTiny"  # diffusers' class of TAESD
# transformers' defaults for a text encoder; only dumps of a whole CLIP may leave them out.
CLIP_DEFAULTS = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
}


def read_clip_config(part: str, raw: Raw) -> CLIPConfig:
    """Read transformers' config; raises BadCheckpoint for an option that is not implemented.

    Of the part text_encoder_2 the projection is read too; other text encoders have none.
    """
    raw = unwrap_clip(raw)
    raw = raw | {"projection_dim": raw.get("projection_dim", 512) if part in PROJECTED else None}
    config = read_config(CLIPConfig, part, raw, TEXT_ENCODER)
    check_one_of(part, "hidden_act", config.hidden_act, ("quick_gelu", "gelu"))
    check_divides(part, "num_attention_heads", config.num_attention_heads, config.hidden_size)
    return config


def unwrap_clip(raw: Raw) -> Raw:
    """The text encoder's part of a config; transformers also reads the config of a whole CLIP."""
    inner = raw.get("text_config")
    if raw.get("model_type") != "clip" or not isinstance(inner, dict):
        return raw
    return CLIP_DEFAULTS | inner


def read_unet_config(raw: Raw) -> UNetConfig:
    """Read diffusers' config; raises BadCheckpoint for an option that is not implemented."""
    if raw.get("addition_embed_type") is None:
        raw = {key: value for key, value in raw.items() if key not in ADDED}
    config = read_config(UNetConfig, "unet", raw, UNET)
    check_one_of("unet", "addition_embed_type", config.addition_embed_type, (None, "text_time"))
    if config.addition_embed_type and config.pooled_dim < 1:
        raise BadCheckpoint(f"unet: {' and '.join(ADDED)} must leave room for a pooled state")
    if config.time_cond_proj_dim is not None and config.time_cond_proj_dim < 4:
        got = config.time_cond_proj_dim
        raise BadCheckpoint(f"unet: time_cond_proj_dim must be 4 or more, got {got}")
    check_one_of("unet", "act_fn", config.act_fn, ACTIVATIONS)
    down, up = ("DownBlock2D", "CrossAttnDownBlock2D"), ("UpBlock2D", "CrossAttnUpBlock2D")
    check_same_length("unet", config, "block_out_channels", "down_block_types", "up_block_types")
    for kind in config.down_block_types:
        check_one_of("unet", "down_block_types", kind, down)
    for kind in config.up_block_types:
        check_one_of("unet", "up_block_types", kind, up)
    _check_depths(config)
    for channels in config.block_out_channels:
        check_divides("unet", "norm_num_groups", config.norm_num_groups, channels)
    for heads, channels in zip(config.heads, config.block_out_channels, strict=True):
        check_divides("unet", "attention_head_dim (the number of heads)", heads, channels)
    return config


def _check_depths(config: UNetConfig) -> None:
    """Raises BadCheckpoint for transformers that some block would lack."""
    check_one_of("unet", "mid_block_type", config.mid_block_type, tuple(MID_BLOCKS))
    try:
        _ = config.depths, config.up_depths
    except BadInput as error:
        raise BadCheckpoint(str(error)) from None
    if MID_BLOCKS[config.mid_block_type] > 1 and config.mid_depth < 1:
        raise BadCheckpoint("unet: transformer_layers_per_block must end in 1 or more, got 0")


def read_vae_config(raw: Raw) -> AnyVAEConfig:
    """Read diffusers' config; raises BadCheckpoint for an option that is not implemented."""
    if is_taesd(raw):
        return _read_taesd_config(raw)
    config = read_config(VAEConfig, "vae", {"layers_per_block": 1} | raw, VAE)  # as diffusers
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


def is_taesd(raw: Raw) -> bool:
    """Whether the config of a VAE is of TAESD."""
    return raw.get("_class_name") == TINY


def _read_taesd_config(raw: Raw) -> TAESDConfig:
    config = read_config(TAESDConfig, "vae", raw, TAESD)
    check_one_of("vae", "act_fn", config.act_fn, ACTIVATIONS)
    widths = ("encoder_block_out_channels", "decoder_block_out_channels")
    check_same_length("vae", config, *widths, "num_encoder_blocks", "num_decoder_blocks")
    for key in widths:
        if len(set(getattr(config, key))) > 1:
            got = getattr(config, key)
            raise BadCheckpoint(f"vae: {key} must be equal in all stages of a TAESD, got {got}")
    for key in ("in_channels", "out_channels"):
        check_one_of("vae", key, getattr(config, key), (3,))
    return config


def read_scheduler_config(raw: Raw) -> SchedulerConfig:
    """Read diffusers' config of any scheduler as DDIM; clip_sample must be off for latents."""
    check_sampler(raw)
    # PNDM, which most SD 1.x files use, has no clip_sample: then it is off.
    default = raw.get("_class_name", "DDIMScheduler") == "DDIMScheduler"
    if raw.get("clip_sample", default):
        raise BadCheckpoint("scheduler: clip_sample must be false for a latent model, got true")
    config = read_config(SchedulerConfig, "scheduler", raw, SCHEDULER)
    check_one_of("scheduler", "beta_schedule", config.beta_schedule, ("linear", "scaled_linear"))
    check_one_of("scheduler", "prediction_type", config.prediction_type, PREDICTION_TYPES)
    check_one_of("scheduler", "sampler", config.sampler, SAMPLERS)
    if not config.beta_start <= config.beta_end < 1:
        pair = (config.beta_start, config.beta_end)
        raise BadCheckpoint(f"scheduler: beta_start and beta_end must rise below 1, got {pair}")
    check_one_of("scheduler", "timestep_spacing", config.timestep_spacing, SPACINGS)
    total, first = config.num_train_timesteps, config.first_timestep
    if not 0 <= config.eta <= 1 or (first is not None and not 0 <= first < total):
        got = f"{config.eta} and {first}"
        raise BadCheckpoint(f"scheduler: want eta to 1 and first_timestep below {total}, got {got}")
    return config


def read_config(cls: type[T], part: str, raw: Raw, keys: Keys) -> T:
    """Read the fields of a config; raises BadCheckpoint for one that is missing or unsupported."""
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    options: Raw = {}
    for key, value in raw.items():
        if key in fields:
            options[key] = _tidy(key, value, fields[key].type)
            _check(part, key, options[key], fields[key].type)
        elif key in keys.only:
            check_one_of(part, key, _tidy(key, value, object), keys.only[key])
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in options:
            raise BadCheckpoint(f"{part}: the config has no {name!r}")
    return cls(**options)


def _tidy(key: str, value: Any, kind: Any) -> Any:
    """A value as the dataclass has it: null for a flag is false, a list is a tuple."""
    if value is None and kind is bool:
        return False
    if key in PER_BLOCK and isinstance(value, list) and value and value == value[:1] * len(value):
        return value[0]
    return _freeze(value)


def _freeze(value: Any) -> Any:
    """Lists as tuples, also those inside lists."""
    return tuple(_freeze(one) for one in value) if isinstance(value, list) else value


def _check(part: str, key: str, value: Any, kind: Any) -> None:
    if not _is_a(value, kind):
        want = kind.__name__ if isinstance(kind, type) and not get_args(kind) else kind
        raise BadCheckpoint(f"{part}: {key} must be of type {want}, got {value!r}")
    least = 0 if key in MAY_BE_ZERO else 1
    for number in _flatten(value):
        if type(number) is int and not least <= number <= MAX_INT:
            raise BadCheckpoint(f"{part}: {key} must be from {least} to {MAX_INT}, got {number}")
        if type(number) is float and not (0 < number < math.inf or number == least == 0):
            raise BadCheckpoint(f"{part}: {key} must be above 0 and finite, got {number}")


def _flatten(value: Any) -> list[Any]:
    return [n for one in value for n in _flatten(one)] if isinstance(value, tuple) else [value]


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

"""Frozen settings of the parts of a Stable Diffusion checkpoint, read from its config files."""

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
Raw = dict[str, Any]

# Options that exist in diffusers or transformers and that this code runs at these values only.
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
    "sample_max_value": (1.0,),
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
# What transformers writes beside the numbers that matter, and what only generation heads use.
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
# Read by other schedulers than DDIM, and the options of clipping, which latent models never use.
SCHEDULER_UNUSED = (
    "clip_sample_range dynamic_thresholding_ratio sample_max_value skip_prk_steps solver_order "
    "variance_type algorithm_type solver_type lower_order_final euler_at_final use_karras_sigmas "
    "interpolation_type use_exponential_sigmas use_beta_sigmas sigma_min sigma_max "
    "final_sigmas_type timestep_type"
).split()


@dataclass(frozen=True)
class CLIPConfig:
    """Settings of a CLIP text encoder (transformers' text_encoder/config.json)."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5

    @classmethod
    def from_dict(cls, raw: Raw) -> "CLIPConfig":
        """Read transformers' config; an option that is not implemented is a ValueError."""
        config = _read(cls, "text_encoder", raw, CLIP_ONLY, CLIP_UNUSED)
        _one_of("text_encoder", "hidden_act", config.hidden_act, ("quick_gelu", "gelu"))
        _divides(
            "text_encoder", "num_attention_heads", config.num_attention_heads, config.hidden_size
        )
        return config


@dataclass(frozen=True)
class UNetConfig:
    """Settings of a UNet2DConditionModel (diffusers' unet/config.json).

    attention_head_dim is the number of heads, per block, as diffusers reads it in SD 1.x and 2.x.
    """

    cross_attention_dim: int
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    down_block_types: tuple[str, ...] = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    up_block_types: tuple[str, ...] = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3
    in_channels: int = 4
    out_channels: int = 4
    layers_per_block: int = 2
    transformer_layers_per_block: int | tuple[int, ...] = 1
    attention_head_dim: int | tuple[int, ...] = 8
    act_fn: str = "silu"
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    use_linear_projection: bool = False
    flip_sin_to_cos: bool = True
    freq_shift: int = 0
    sample_size: int | None = None

    @classmethod
    def from_dict(cls, raw: Raw) -> "UNetConfig":
        """Read diffusers' config; an option that is not implemented is a ValueError."""
        config = _read(cls, "unet", raw, UNET_ONLY)
        _one_of("unet", "act_fn", config.act_fn, ACTIVATIONS)
        down, up = ("DownBlock2D", "CrossAttnDownBlock2D"), ("UpBlock2D", "CrossAttnUpBlock2D")
        _same_length("unet", config, "block_out_channels", "down_block_types", "up_block_types")
        for kind in config.down_block_types:
            _one_of("unet", "down_block_types", kind, down)
        for kind in config.up_block_types:
            _one_of("unet", "up_block_types", kind, up)
        for channels in config.block_out_channels:
            _divides("unet", "norm_num_groups", config.norm_num_groups, channels)
        for heads, channels in zip(config.heads, config.block_out_channels, strict=True):
            _divides("unet", "attention_head_dim (the number of heads)", heads, channels)
        return config

    @property
    def heads(self) -> tuple[int, ...]:
        """Attention heads per block."""
        return _per_block(
            "attention_head_dim", self.attention_head_dim, len(self.block_out_channels)
        )

    @property
    def depths(self) -> tuple[int, ...]:
        """Transformer layers per block."""
        blocks = len(self.block_out_channels)
        return _per_block("transformer_layers_per_block", self.transformer_layers_per_block, blocks)


@dataclass(frozen=True)
class VAEConfig:
    """Settings of an AutoencoderKL (diffusers' vae/config.json)."""

    block_out_channels: tuple[int, ...]
    down_block_types: tuple[str, ...] = ()
    up_block_types: tuple[str, ...] = ()
    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 4
    layers_per_block: int = 2
    act_fn: str = "silu"
    norm_num_groups: int = 32
    scaling_factor: float = 0.18215
    sample_size: int | None = None
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True

    @classmethod
    def from_dict(cls, raw: Raw) -> "VAEConfig":
        """Read diffusers' config; an option that is not implemented is a ValueError."""
        config = _read(cls, "vae", raw, VAE_ONLY)
        _one_of("vae", "act_fn", config.act_fn, ACTIVATIONS)
        for kind in config.down_block_types:
            _one_of("vae", "down_block_types", kind, ("DownEncoderBlock2D",))
        for kind in config.up_block_types:
            _one_of("vae", "up_block_types", kind, ("UpDecoderBlock2D",))
        for channels in config.block_out_channels:
            _divides("vae", "norm_num_groups", config.norm_num_groups, channels)
        return config

    @property
    def factor(self) -> int:
        """Pixels per latent cell along a side."""
        return 2 ** (len(self.block_out_channels) - 1)


@dataclass(frozen=True)
class SchedulerConfig:
    """Noise schedule and DDIM flags (diffusers' scheduler/scheduler_config.json)."""

    num_train_timesteps: int = 1000
    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    prediction_type: str = "epsilon"
    timestep_spacing: str = "leading"
    steps_offset: int = 0
    set_alpha_to_one: bool = True
    rescale_betas_zero_snr: bool = False

    @classmethod
    def from_dict(cls, raw: Raw) -> "SchedulerConfig":
        """Read diffusers' config of any scheduler as DDIM; clip_sample must be off for latents."""
        # PNDM, which most SD 1.x files name, leaves clip_sample out: there it means off.
        clips = raw.get("_class_name", "DDIMScheduler") == "DDIMScheduler"
        if raw.get("clip_sample", clips):
            raise ValueError("scheduler: clip_sample must be false for a latent model, got true")
        unused = [*SCHEDULER_UNUSED, "clip_sample"]
        config = _read(cls, "scheduler", raw, SCHEDULER_ONLY, unused)
        _one_of("scheduler", "beta_schedule", config.beta_schedule, ("linear", "scaled_linear"))
        _one_of("scheduler", "prediction_type", config.prediction_type, ("epsilon", "v_prediction"))
        spacings = ("leading", "trailing", "linspace")
        _one_of("scheduler", "timestep_spacing", config.timestep_spacing, spacings)
        return config


ACTIVATIONS = ("silu", "swish", "gelu", "relu", "mish")


def _read(
    cls: type[T], part: str, raw: Raw, only: dict[str, tuple[Any, ...]], unused: Any = ()
) -> T:
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    kept: Raw = {}
    for key, value in raw.items():
        if key in fields:
            kept[key] = tuple(value) if isinstance(value, list) else value
        elif key in only:
            _one_of(part, key, value, only[key])
        elif key not in unused and not key.startswith("_"):
            raise ValueError(f"{part}: unknown option {key!r}, got {value!r}")
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in kept:
            raise ValueError(f"{part}: the config has no {name!r}")
    return cls(**kept)


def _one_of(part: str, key: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        want = " or ".join(repr(one) for one in allowed)
        raise ValueError(f"{part}: {key} {value!r} is not supported, want {want}")


def _divides(part: str, key: str, number: int, whole: int) -> None:
    if number < 1 or whole % number:
        raise ValueError(f"{part}: {key} must divide {whole}, got {number}")


def _same_length(part: str, config: Any, *keys: str) -> None:
    lengths = {key: len(getattr(config, key)) for key in keys}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"{part}: {', '.join(keys)} must have one entry a block each, got {lengths}"
        )


def _per_block(key: str, value: int | tuple[int, ...], blocks: int) -> tuple[int, ...]:
    values = (value,) * blocks if isinstance(value, int) else tuple(value)
    if len(values) != blocks:
        raise ValueError(f"unet: {key} must have {blocks} entries, got {len(values)}")
    return values

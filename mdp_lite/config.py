"""Frozen settings of the parts of a Stable Diffusion checkpoint, read from its config files."""

from dataclasses import dataclass

from mdp_lite import options


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
    def from_dict(cls, raw: options.Raw) -> "CLIPConfig":
        """Read transformers' config; an option that is not implemented is a ValueError."""
        config = options.read(cls, "text_encoder", raw, options.CLIP_ONLY, options.CLIP_UNUSED)
        options.one_of("text_encoder", "hidden_act", config.hidden_act, ("quick_gelu", "gelu"))
        options.divides(
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
    def from_dict(cls, raw: options.Raw) -> "UNetConfig":
        """Read diffusers' config; an option that is not implemented is a ValueError."""
        config = options.read(cls, "unet", raw, options.UNET_ONLY)
        options.one_of("unet", "act_fn", config.act_fn, options.ACTIVATIONS)
        down, up = ("DownBlock2D", "CrossAttnDownBlock2D"), ("UpBlock2D", "CrossAttnUpBlock2D")
        options.same_length(
            "unet", config, "block_out_channels", "down_block_types", "up_block_types"
        )
        for kind in config.down_block_types:
            options.one_of("unet", "down_block_types", kind, down)
        for kind in config.up_block_types:
            options.one_of("unet", "up_block_types", kind, up)
        for channels in config.block_out_channels:
            options.divides("unet", "norm_num_groups", config.norm_num_groups, channels)
        for heads, channels in zip(config.heads, config.block_out_channels, strict=True):
            options.divides("unet", "attention_head_dim (the number of heads)", heads, channels)
        return config

    @property
    def heads(self) -> tuple[int, ...]:
        """Attention heads per block."""
        return options.per_block(
            "attention_head_dim", self.attention_head_dim, len(self.block_out_channels)
        )

    @property
    def depths(self) -> tuple[int, ...]:
        """Transformer layers per block."""
        blocks = len(self.block_out_channels)
        return options.per_block(
            "transformer_layers_per_block", self.transformer_layers_per_block, blocks
        )


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
    def from_dict(cls, raw: options.Raw) -> "VAEConfig":
        """Read diffusers' config; an option that is not implemented is a ValueError."""
        config = options.read(cls, "vae", raw, options.VAE_ONLY)
        options.one_of("vae", "act_fn", config.act_fn, options.ACTIVATIONS)
        for kinds in ("down_block_types", "up_block_types"):
            if kinds in raw:
                options.same_length("vae", config, "block_out_channels", kinds)
        for kind in config.down_block_types:
            options.one_of("vae", "down_block_types", kind, ("DownEncoderBlock2D",))
        for kind in config.up_block_types:
            options.one_of("vae", "up_block_types", kind, ("UpDecoderBlock2D",))
        for channels in config.block_out_channels:
            options.divides("vae", "norm_num_groups", config.norm_num_groups, channels)
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
    def from_dict(cls, raw: options.Raw) -> "SchedulerConfig":
        """Read diffusers' config of any scheduler as DDIM; clip_sample must be off for latents."""
        # PNDM, which most SD 1.x files name, leaves clip_sample out: there it means off.
        clips = raw.get("_class_name", "DDIMScheduler") == "DDIMScheduler"
        if raw.get("clip_sample", clips):
            raise ValueError("scheduler: clip_sample must be false for a latent model, got true")
        unused = [*options.SCHEDULER_UNUSED, "clip_sample"]
        config = options.read(cls, "scheduler", raw, options.SCHEDULER_ONLY, unused)
        options.one_of(
            "scheduler", "beta_schedule", config.beta_schedule, ("linear", "scaled_linear")
        )
        options.one_of(
            "scheduler", "prediction_type", config.prediction_type, ("epsilon", "v_prediction")
        )
        if not config.beta_start <= config.beta_end < 1:
            pair = (config.beta_start, config.beta_end)
            raise ValueError(f"scheduler: beta_start and beta_end must rise below 1, got {pair}")
        spacings = ("leading", "trailing", "linspace")
        options.one_of("scheduler", "timestep_spacing", config.timestep_spacing, spacings)
        return config

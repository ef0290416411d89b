"""Frozen settings of the parts of a Stable Diffusion checkpoint."""

from dataclasses import asdict, dataclass
from typing import Any

from mdp_lite.models.condition import SIZES
from mdp_lite.names import BadInput


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
    projection_dim: int | None = None  # of the second text encoder of SDXL alone


@dataclass(frozen=True)
class UNetConfig:
    """Settings of a UNet2DConditionModel (diffusers' unet/config.json).

    attention_head_dim is the number of heads, per block, as diffusers reads it in SD 1.x and 2.x.
    transformer_layers_per_block has a number for all blocks, or one each, or a list with one for
    each layer of a block; reverse_transformer_layers_per_block is the same of the blocks upwards.
    """

    cross_attention_dim: int
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    down_block_types: tuple[str, ...] = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    up_block_types: tuple[str, ...] = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3
    in_channels: int = 4
    out_channels: int = 4
    layers_per_block: int = 2
    transformer_layers_per_block: int | tuple[int | tuple[int, ...], ...] = 1
    reverse_transformer_layers_per_block: tuple[int | tuple[int, ...], ...] | None = None
    mid_block_type: str | None = "UNetMidBlock2DCrossAttn"
    attention_head_dim: int | tuple[int, ...] = 8
    act_fn: str = "silu"
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    use_linear_projection: bool = False
    flip_sin_to_cos: bool = True
    freq_shift: float = 0
    sample_size: int | tuple[int, ...] | None = None
    addition_embed_type: str | None = None
    addition_time_embed_dim: int | None = None
    projection_class_embeddings_input_dim: int | None = None
    time_cond_proj_dim: int | None = None  # width of LCM's embedding of the guidance scale

    @property
    def extra_dim(self) -> int:
        """How many numbers a condition holds beside the states of its text (condition.py)."""
        sizes = self.pooled_dim + SIZES if self.pooled_dim else 0
        return sizes + (self.time_cond_proj_dim is not None)

    @property
    def pooled_dim(self) -> int:
        """Width of the pooled state that the UNet reads beside the text (SDXL), or 0."""
        if self.addition_embed_type is None:
            return 0
        whole, size = self.projection_class_embeddings_input_dim, self.addition_time_embed_dim
        return (whole or 0) - SIZES * (size or 0)

    @property
    def constant_channels(self) -> int:
        """Channels after those of the latent that stay the same over all steps: 0, or k + 1.

        An inpainting UNet reads a mask and the k channels of the masked picture's latent there.
        """
        return self.in_channels - self.out_channels

    @property
    def latent_size(self) -> tuple[int, int]:
        """Default height and width of a latent: one sample_size for both, or one each."""
        sides = self.sample_size or 64
        return (sides, sides) if isinstance(sides, int) else (sides[0], sides[-1])

    @property
    def heads(self) -> tuple[int, ...]:
        """Attention heads per block."""
        return _per_block(
            "attention_head_dim", self.attention_head_dim, len(self.block_out_channels)
        )

    @property
    def depths(self) -> tuple[tuple[int, ...], ...]:
        """Transformer layers of each layer of each block downwards; () without attention."""
        given, kinds = self.transformer_layers_per_block, self.down_block_types
        return _per_layer("transformer_layers_per_block", given, kinds, self.layers_per_block)

    @property
    def up_depths(self) -> tuple[tuple[int, ...], ...]:
        """The same of the blocks upwards, in their order."""
        key, given = "reverse_transformer_layers_per_block", self.transformer_layers_per_block
        if self.reverse_transformer_layers_per_block is not None:
            given = self.reverse_transformer_layers_per_block
        elif isinstance(given, tuple):
            given = given[::-1]
            if any(isinstance(one, tuple) for one in given):
                raise BadInput(f"unet: {key} must be given where the blocks downwards have lists")
        return _per_layer(key, given, self.up_block_types, self.layers_per_block + 1)

    @property
    def mid_depth(self) -> int:
        """Transformer layers in the middle: those of the last block, also if that has none."""
        given = self.transformer_layers_per_block
        last = given if isinstance(given, int) else given[-1]
        return last if isinstance(last, int) else last[0]


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
    sample_size: int | tuple[int, ...] | None = None
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True

    @property
    def factor(self) -> int:
        """Pixels per latent cell along a side."""
        return 2 ** (len(self.block_out_channels) - 1)


@dataclass(frozen=True)
class TAESDConfig:
    """Settings of an AutoencoderTiny (diffusers' vae/config.json): blocks of each stage.

    All stages of the encoder have one width, and all of the decoder.
    """

    encoder_block_out_channels: tuple[int, ...] = (64, 64, 64, 64)
    decoder_block_out_channels: tuple[int, ...] = (64, 64, 64, 64)
    num_encoder_blocks: tuple[int, ...] = (1, 3, 3, 3)
    num_decoder_blocks: tuple[int, ...] = (3, 3, 3, 1)
    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 4
    act_fn: str = "relu"
    scaling_factor: float = 1.0

    @property
    def block_out_channels(self) -> tuple[int, ...]:
        """The decoder's widths, which a VAE's memory depends on."""
        return self.decoder_block_out_channels

    @property
    def factor(self) -> int:
        """Pixels per latent cell along a side."""
        return 2 ** (len(self.num_decoder_blocks) - 1)


AnyVAEConfig = VAEConfig | TAESDConfig


@dataclass(frozen=True)
class SchedulerConfig:
    """Noise schedule, sampler and its flags (diffusers' scheduler/scheduler_config.json).

    sampler is one of names.SAMPLERS. original_inference_steps is LCM's and TCD's, timestep_scaling
    and first_timestep (None is the last one that it was distilled on) LCM's, eta TCD's.
    """

    num_train_timesteps: int = 1000
    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    prediction_type: str = "epsilon"
    timestep_spacing: str = "leading"
    steps_offset: int = 0
    set_alpha_to_one: bool = True
    rescale_betas_zero_snr: bool = False
    sampler: str = "ddim"
    original_inference_steps: int = 50
    timestep_scaling: float = 10.0
    first_timestep: int | None = None
    eta: float = 0.3


def describe_scheduler(config: SchedulerConfig) -> dict[str, Any]:
    """The settings as a dict; those that only some samplers have are in it for these alone.

    So what was stored or hashed before there were other samplers than DDIM is still the same.
    """
    settings, plain = asdict(config), SchedulerConfig()
    extra = ("sampler", "original_inference_steps", "timestep_scaling", "first_timestep", "eta")
    for name in extra:
        if settings[name] == getattr(plain, name):
            del settings[name]
    return settings


def _per_layer(
    key: str, value: int | tuple[int | tuple[int, ...], ...], kinds: tuple[str, ...], layers: int
) -> tuple[tuple[int, ...], ...]:
    """The depths of each layer of each block that attends: at least 1."""
    blocks, found = (value,) * len(kinds) if isinstance(value, int) else value, []
    if len(blocks) != len(kinds):
        raise BadInput(f"unet: {key} must have {len(kinds)} entries, got {len(blocks)}")
    for kind, block in zip(kinds, blocks, strict=True):
        depths = (block,) * layers if isinstance(block, int) else block[:layers]
        depths = depths if "CrossAttn" in kind else ()
        if depths and (len(depths) < layers or min(depths) < 1):
            raise BadInput(f"unet: {key} of a {kind} must be {layers} numbers from 1, got {block}")
        found.append(depths)
    return tuple(found)


def _per_block(key: str, value: int | tuple[int, ...], blocks: int) -> tuple[int, ...]:
    """One number for all blocks, or one each."""
    values = (value,) * blocks if isinstance(value, int) else tuple(value)
    if len(values) != blocks:
        raise BadInput(f"unet: {key} must have {blocks} entries, got {len(values)}")
    return values

"""Names of tensors in single-file (LDM) checkpoints and in the diffusers layout, as one table.

Left the name that CompVis and Stability give a module, right diffusers' name.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

Renames = tuple[tuple[str, str], ...]
Tensors = dict[str, Tensor]

# Where the three models lie in a single file. SD 1.x has OpenAI's text encoder, SD 2.x OpenCLIP's.
UNET_AT, VAE_AT = "model.diffusion_model.", "first_stage_model."
TEXT_AT = "cond_stage_model."
CLIP_AT, OPENCLIP_AT = "cond_stage_model.transformer.", "cond_stage_model.model."

UNET: Renames = (
    ("time_embed.0", "time_embedding.linear_1"),
    ("time_embed.2", "time_embedding.linear_2"),
    ("input_blocks.0.0", "conv_in"),
    ("input_blocks.1.0", "down_blocks.0.resnets.0"),
    ("input_blocks.1.1", "down_blocks.0.attentions.0"),
    ("input_blocks.2.0", "down_blocks.0.resnets.1"),
    ("input_blocks.2.1", "down_blocks.0.attentions.1"),
    ("input_blocks.3.0.op", "down_blocks.0.downsamplers.0.conv"),
    ("input_blocks.4.0", "down_blocks.1.resnets.0"),
    ("input_blocks.4.1", "down_blocks.1.attentions.0"),
    ("input_blocks.5.0", "down_blocks.1.resnets.1"),
    ("input_blocks.5.1", "down_blocks.1.attentions.1"),
    ("input_blocks.6.0.op", "down_blocks.1.downsamplers.0.conv"),
    ("input_blocks.7.0", "down_blocks.2.resnets.0"),
    ("input_blocks.7.1", "down_blocks.2.attentions.0"),
    ("input_blocks.8.0", "down_blocks.2.resnets.1"),
    ("input_blocks.8.1", "down_blocks.2.attentions.1"),
    ("input_blocks.9.0.op", "down_blocks.2.downsamplers.0.conv"),
    ("input_blocks.10.0", "down_blocks.3.resnets.0"),
    ("input_blocks.11.0", "down_blocks.3.resnets.1"),
    ("middle_block.0", "mid_block.resnets.0"),
    ("middle_block.1", "mid_block.attentions.0"),
    ("middle_block.2", "mid_block.resnets.1"),
    ("output_blocks.0.0", "up_blocks.0.resnets.0"),
    ("output_blocks.1.0", "up_blocks.0.resnets.1"),
    ("output_blocks.2.0", "up_blocks.0.resnets.2"),
    ("output_blocks.2.1.conv", "up_blocks.0.upsamplers.0.conv"),
    ("output_blocks.3.0", "up_blocks.1.resnets.0"),
    ("output_blocks.3.1", "up_blocks.1.attentions.0"),
    ("output_blocks.4.0", "up_blocks.1.resnets.1"),
    ("output_blocks.4.1", "up_blocks.1.attentions.1"),
    ("output_blocks.5.0", "up_blocks.1.resnets.2"),
    ("output_blocks.5.1", "up_blocks.1.attentions.2"),
    ("output_blocks.5.2.conv", "up_blocks.1.upsamplers.0.conv"),
    ("output_blocks.6.0", "up_blocks.2.resnets.0"),
    ("output_blocks.6.1", "up_blocks.2.attentions.0"),
    ("output_blocks.7.0", "up_blocks.2.resnets.1"),
    ("output_blocks.7.1", "up_blocks.2.attentions.1"),
    ("output_blocks.8.0", "up_blocks.2.resnets.2"),
    ("output_blocks.8.1", "up_blocks.2.attentions.2"),
    ("output_blocks.8.2.conv", "up_blocks.2.upsamplers.0.conv"),
    ("output_blocks.9.0", "up_blocks.3.resnets.0"),
    ("output_blocks.9.1", "up_blocks.3.attentions.0"),
    ("output_blocks.10.0", "up_blocks.3.resnets.1"),
    ("output_blocks.10.1", "up_blocks.3.attentions.1"),
    ("output_blocks.11.0", "up_blocks.3.resnets.2"),
    ("output_blocks.11.1", "up_blocks.3.attentions.2"),
    ("out.0", "conv_norm_out"),
    ("out.2", "conv_out"),
)
UNET_RESNET: Renames = (
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("skip_connection", "conv_shortcut"),
)
VAE: Renames = (
    ("encoder.conv_in", "encoder.conv_in"),
    ("encoder.down.0.block.0", "encoder.down_blocks.0.resnets.0"),
    ("encoder.down.0.block.1", "encoder.down_blocks.0.resnets.1"),
    ("encoder.down.0.downsample", "encoder.down_blocks.0.downsamplers.0"),
    ("encoder.down.1.block.0", "encoder.down_blocks.1.resnets.0"),
    ("encoder.down.1.block.1", "encoder.down_blocks.1.resnets.1"),
    ("encoder.down.1.downsample", "encoder.down_blocks.1.downsamplers.0"),
    ("encoder.down.2.block.0", "encoder.down_blocks.2.resnets.0"),
    ("encoder.down.2.block.1", "encoder.down_blocks.2.resnets.1"),
    ("encoder.down.2.downsample", "encoder.down_blocks.2.downsamplers.0"),
    ("encoder.down.3.block.0", "encoder.down_blocks.3.resnets.0"),
    ("encoder.down.3.block.1", "encoder.down_blocks.3.resnets.1"),
    ("encoder.mid.block_1", "encoder.mid_block.resnets.0"),
    ("encoder.mid.attn_1", "encoder.mid_block.attentions.0"),
    ("encoder.mid.block_2", "encoder.mid_block.resnets.1"),
    ("encoder.norm_out", "encoder.conv_norm_out"),
    ("encoder.conv_out", "encoder.conv_out"),
    ("quant_conv", "quant_conv"),
    ("post_quant_conv", "post_quant_conv"),
    ("decoder.conv_in", "decoder.conv_in"),
    ("decoder.mid.block_1", "decoder.mid_block.resnets.0"),
    ("decoder.mid.attn_1", "decoder.mid_block.attentions.0"),
    ("decoder.mid.block_2", "decoder.mid_block.resnets.1"),
    ("decoder.up.3.block.0", "decoder.up_blocks.0.resnets.0"),  # counted from the other end
    ("decoder.up.3.block.1", "decoder.up_blocks.0.resnets.1"),
    ("decoder.up.3.block.2", "decoder.up_blocks.0.resnets.2"),
    ("decoder.up.3.upsample", "decoder.up_blocks.0.upsamplers.0"),
    ("decoder.up.2.block.0", "decoder.up_blocks.1.resnets.0"),
    ("decoder.up.2.block.1", "decoder.up_blocks.1.resnets.1"),
    ("decoder.up.2.block.2", "decoder.up_blocks.1.resnets.2"),
    ("decoder.up.2.upsample", "decoder.up_blocks.1.upsamplers.0"),
    ("decoder.up.1.block.0", "decoder.up_blocks.2.resnets.0"),
    ("decoder.up.1.block.1", "decoder.up_blocks.2.resnets.1"),
    ("decoder.up.1.block.2", "decoder.up_blocks.2.resnets.2"),
    ("decoder.up.1.upsample", "decoder.up_blocks.2.upsamplers.0"),
    ("decoder.up.0.block.0", "decoder.up_blocks.3.resnets.0"),
    ("decoder.up.0.block.1", "decoder.up_blocks.3.resnets.1"),
    ("decoder.up.0.block.2", "decoder.up_blocks.3.resnets.2"),
    ("decoder.norm_out", "decoder.conv_norm_out"),
    ("decoder.conv_out", "decoder.conv_out"),
)
VAE_RESNET: Renames = (("nin_shortcut", "conv_shortcut"),)
VAE_ATTENTION: Renames = (
    ("norm", "group_norm"),
    ("q", "to_q"),
    ("k", "to_k"),
    ("v", "to_v"),
    ("proj_out", "to_out.0"),
)
# diffusers' own names before 0.17, still found in folders of that time.
OLD_VAE_ATTENTION: Renames = (
    ("query", "to_q"),
    ("key", "to_k"),
    ("value", "to_v"),
    ("proj_attn", "to_out.0"),
)
OPENCLIP: Renames = (
    ("token_embedding", "embeddings.token_embedding"),
    ("positional_embedding", "embeddings.position_embedding.weight"),
    ("transformer.resblocks", "encoder.layers"),
    ("ln_final", "final_layer_norm"),
)
OPENCLIP_LAYER: Renames = (
    ("ln_1", "layer_norm1"),
    ("attn.out_proj", "self_attn.out_proj"),
    ("ln_2", "layer_norm2"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
)
PACKED = "attn.in_proj_"  # q, k and v in one; unpacked by unpack, packed by pack

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
)


def unet_key(key: str) -> str:
    """LDM's name of a UNet tensor -> diffusers'; an unknown name stays unchanged."""
    return _rename_inside(_rename(key, UNET), ".resnets.", UNET_RESNET)


def ldm_unet_key(key: str) -> str:
    """diffusers' name of a UNet tensor -> LDM's: the inverse of unet_key."""
    return _rename(_rename_inside(key, ".resnets.", _swap(UNET_RESNET)), _swap(UNET))


def vae_key(key: str) -> str:
    """LDM's name of a VAE tensor -> diffusers'."""
    key = _rename_inside(_rename(key, VAE), ".resnets.", VAE_RESNET)
    return _rename_inside(key, ".attentions.", VAE_ATTENTION)


def ldm_vae_key(key: str) -> str:
    """diffusers' name of a VAE tensor -> LDM's."""
    key = _rename_inside(key, ".resnets.", _swap(VAE_RESNET))
    return _rename(_rename_inside(key, ".attentions.", _swap(VAE_ATTENTION)), _swap(VAE))


def modern_vae_key(key: str) -> str:
    """diffusers' name of a VAE tensor before 0.17 -> today's."""
    return _rename_inside(key, ".attentions.", OLD_VAE_ATTENTION)


def openclip_key(key: str) -> str:
    """OpenCLIP's name of a text encoder tensor -> transformers', without its text_model."""
    return _rename_inside(_rename(key, OPENCLIP), ".layers.", OPENCLIP_LAYER)


def ldm_openclip_key(key: str) -> str:
    """transformers' name of a text encoder tensor, without its text_model -> OpenCLIP's."""
    return _rename(_rename_inside(key, ".layers.", _swap(OPENCLIP_LAYER)), _swap(OPENCLIP))


def unpack(tensors: Tensors) -> Tensors:
    """OpenCLIP's in_proj of 3 d rows -> q_proj, k_proj and v_proj of d rows each: views of it."""
    unpacked = {key: tensor for key, tensor in tensors.items() if PACKED not in key}
    for key, tensor in tensors.items():
        at, _, kind = key.partition(PACKED)
        if kind:
            for name, third in zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3), strict=True):
                unpacked[f"{at}self_attn.{name}.{kind}"] = third
    return unpacked


def pack(tensors: Tensors) -> Tensors:
    """q_proj, k_proj and v_proj -> OpenCLIP's in_proj: the inverse of unpack."""
    packed = {}
    for key, tensor in tensors.items():
        if ".q_proj." in key:
            thirds = [tensors[key.replace(".q_proj.", f".{name}_proj.")] for name in "qkv"]
            at, _, kind = key.partition("self_attn.q_proj.")
            packed[f"{at}{PACKED}{kind}"] = torch.cat(thirds)
        elif ".k_proj." not in key and ".v_proj." not in key:
            packed[key] = tensor
    return packed


def rename_keys(tensors: Tensors, rename: Callable[[str], str]) -> Tensors:
    """The same tensors under other names."""
    return {rename(key): tensor for key, tensor in tensors.items()}


def strip_prefix(tensors: Tensors, prefix: str) -> Tensors:
    """The tensors whose names start with a prefix, under names without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _rename(key: str, renames: Iterable[tuple[str, str]]) -> str:
    for old, new in renames:
        if key == old or key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    return key


def _rename_inside(key: str, mark: str, renames: Renames) -> str:
    """Rename the part of a key that follows the mark and a number: the name inside a block."""
    at, _, rest = key.rpartition(mark)
    index, _, name = rest.partition(".")
    return f"{at}{mark}{index}.{_rename(name, renames)}" if at and name else key


def _swap(renames: Renames) -> Renames:
    return tuple((new, old) for old, new in renames)

"""Names of tensors in single-file (LDM) checkpoints and in the diffusers layout, as tables.

Left the name that CompVis and Stability give a module, right diffusers' name.
"""

from collections.abc import Callable, Iterable
from functools import cache

import torch
from torch import Tensor

Renames = tuple[tuple[str, str], ...]
Tensors = dict[str, Tensor]

# Where the models lie in a single file. SD 1.x has OpenAI's text encoder, SD 2.x OpenCLIP's, SDXL
# both.
UNET_AT, VAE_AT = "model.diffusion_model.", "first_stage_model."
TEXT_AT, XL_TEXT_AT = "cond_stage_model.", "conditioner.embedders."
CLIP_AT, OPENCLIP_AT = "cond_stage_model.transformer.", "cond_stage_model.model."
XL_CLIP_AT, XL_OPENCLIP_AT = f"{XL_TEXT_AT}0.transformer.", f"{XL_TEXT_AT}1.model."

UNET_ENDS: Renames = (
    ("time_embed.0", "time_embedding.linear_1"),
    ("time_embed.2", "time_embedding.linear_2"),
    ("input_blocks.0.0", "conv_in"),
    ("middle_block.0", "mid_block.resnets.0"),
    ("middle_block.1", "mid_block.attentions.0"),
    ("middle_block.2", "mid_block.resnets.1"),
    ("out.0", "conv_norm_out"),
    ("out.2", "conv_out"),
)
XL_EMBEDDING: Renames = (  # of the pooled state and the sizes
    ("label_emb.0.0", "add_embedding.linear_1"),
    ("label_emb.0.2", "add_embedding.linear_2"),
)
XL_LEVELS = 3
# By the number of levels, whether each has attention: SD 1.x and 2.x have four, SDXL three.
ATTENDS = {4: (True, True, True, False), XL_LEVELS: (False, True, True)}
LAYERS = 2  # of each level downwards, KOALA has 1; upwards there is one more
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
PROJECTION = "text_projection"


@cache
def list_unet_renames(levels: int = 4, layers: int = LAYERS) -> Renames:
    """The table of the blocks of a UNet of three or four levels; its order is of no account."""
    rows, last = list(UNET_ENDS), levels - 1
    rows += XL_EMBEDDING if levels == XL_LEVELS else ()
    for i, attends in enumerate(ATTENDS[levels]):
        start, up = i * (layers + 1) + 1, last - i  # upwards, levels are counted from the other end
        rows += _list_layers("input_blocks", start, f"down_blocks.{i}", layers, attends)
        if i < last:
            at = f"input_blocks.{start + layers}.0.op"
            rows.append((at, f"down_blocks.{i}.downsamplers.0.conv"))
        start = up * (layers + 1)
        rows += _list_layers("output_blocks", start, f"up_blocks.{up}", layers + 1, attends)
        if up < last:
            at = f"output_blocks.{start + layers}.{2 if attends else 1}.conv"
            rows.append((at, f"up_blocks.{up}.upsamplers.0.conv"))
    return tuple(rows)


def _list_layers(kind: str, start: int, block: str, count: int, attends: bool) -> Renames:
    """The resnets and attentions of one level, each pair of them a block of LDM's."""
    parts = ("resnets", "attentions") if attends else ("resnets",)
    return tuple(
        (f"{kind}.{start + j}.{k}", f"{block}.{part}.{j}")
        for j in range(count)
        for k, part in enumerate(parts)
    )


def count_layers(unet: Iterable[str], levels: int) -> int:
    """Layers of each level of a UNet under LDM's names: those of KOALA have 1, of others 2.

    Each level but the last ends with a block that halves the sides; the first block is before all.
    """
    blocks = {key.split(".")[1] for key in unet if key.startswith("input_blocks.")}
    return 1 if levels == XL_LEVELS and len(blocks) == 2 * levels else LAYERS


def unet_key(key: str, levels: int = 4, layers: int = LAYERS) -> str:
    """LDM's name of a UNet tensor -> diffusers'; an unknown name stays unchanged.

    SD 1.x and 2.x have 4 levels, SDXL has 3.
    """
    renames = list_unet_renames(levels, layers)
    return _rename_inside(_rename(key, renames), ".resnets.", UNET_RESNET)


def ldm_unet_key(key: str, levels: int = 4, layers: int = LAYERS) -> str:
    """diffusers' name of a UNet tensor -> LDM's: the inverse of unet_key."""
    key = _rename_inside(key, ".resnets.", _swap(UNET_RESNET))
    return _rename(key, _swap(list_unet_renames(levels, layers)))


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
    """OpenCLIP's in_proj of 3 d rows -> q_proj, k_proj and v_proj of d rows each: views of it.

    The bare text_projection multiplies from the right: its transpose is a linear layer's weight.
    """
    unpacked = {key: tensor for key, tensor in tensors.items() if PACKED not in key}
    for key, tensor in tensors.items():
        at, _, kind = key.partition(PACKED)
        if kind:
            for name, third in zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3), strict=True):
                unpacked[f"{at}self_attn.{name}.{kind}"] = third
    if PROJECTION in unpacked:
        unpacked[f"{PROJECTION}.weight"] = unpacked.pop(PROJECTION).mT.contiguous()
    return unpacked


def pack(tensors: Tensors) -> Tensors:
    """q_proj, k_proj and v_proj -> OpenCLIP's in_proj: the inverse of unpack."""
    packed = {}
    for key, tensor in tensors.items():
        if ".q_proj." in key:
            thirds = [tensors[key.replace(".q_proj.", f".{name}_proj.")] for name in "qkv"]
            at, _, kind = key.partition("self_attn.q_proj.")
            packed[f"{at}{PACKED}{kind}"] = torch.cat(thirds)
        elif key == f"{PROJECTION}.weight":
            packed[PROJECTION] = tensor.mT.contiguous()
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

"""Recognising checkpoints: configs from the shapes of tensors, and refusing other families."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

Config = dict[str, Any]

# The families that are read, and by what their latents are multiplied.
SD1, SD2, SDXL = "Stable Diffusion 1.x", "Stable Diffusion 2.x", "Stable Diffusion XL"
SCALES = {SD1: 0.18215, SD2: 0.18215, SDXL: 0.13025}
XL_MARKS = ("conditioner.embedders.", "model.diffusion_model.label_emb.")  # in a single file
XL_TIME = 256  # width of the embedding of each of SDXL's six sizes
REFINER = "is the refiner of Stable Diffusion XL, which finishes the pictures of another model"
REFINER_WIDTH = 2560  # of its pooled state and five sizes

# Recognised by a key that no model of these families has.
FOREIGN = (
    ("conditioner.embedders.0.model.", REFINER),
    ("conditioner.embedders.0.open_clip.", "is a video model"),
    ("edm_mean", "is Playground 2.5, whose latents have another scale in each channel"),
    ("edm_vpred.", "is a model with a continuous noise schedule, like CosXL"),
    ("noise_augmentor.", "is an unCLIP model"),
    ("model.diffusion_model.joint_blocks.", "is a Stable Diffusion 3 model"),
    ("joint_blocks.", "is a Stable Diffusion 3 model"),
    ("model.diffusion_model.double_blocks.", "is a FLUX model"),
    ("double_blocks.", "is a FLUX model"),
    ("single_transformer_blocks.", "is a transformer for diffusion, not a UNet"),
    ("model.diffusion_model.down_blocks.", "is not in the LDM layout: its UNet has other names"),
    ("control_model.", "is a ControlNet"),
    ("input_hint_block.", "is a ControlNet"),
    ("controlnet_", "is a ControlNet"),
    ("lora_unet_", "is a LoRA: give it as one, beside a model"),
    ("lora_te_", "is a LoRA: give it as one, beside a model"),
    ("lora_te1_", "is a LoRA: give it as one, beside a model"),
    ("lora_te2_", "is a LoRA: give it as one, beside a model"),
    ("unet.down_blocks.", "is a LoRA: give it as one, beside a model"),
    ("unet.up_blocks.", "is a LoRA: give it as one, beside a model"),
    ("string_to_param", "is a textual inversion: give it as an embedding, beside a model"),
    ("emb_params", "is a textual inversion: give it as an embedding, beside a model"),
    ("clip_g", "is a textual inversion: give it as an embedding, beside a model"),
    ("clip_l", "is a textual inversion: give it as an embedding, beside a model"),
    ("encoder.down.", "is a VAE alone: give it as one, beside a model"),
    ("decoder.up.", "is a VAE alone: give it as one, beside a model"),
    ("encoder.down_blocks.", "is a VAE alone: give it as one, beside a model"),
    ("encoder.layers.", "is a VAE alone: give it as one, beside a model"),
    ("decoder.layers.", "is a VAE alone: give it as one, beside a model"),
    ("taesd_", "is a VAE alone: give it as one, beside a model"),
    ("3.conv.0.", "is half of a VAE, TAESD: give it as one, beside a model"),
    ("text_model.", "is a text encoder alone"),
    ("transformer.resblocks.", "is a text encoder alone"),
    ("down_blocks.", "is a UNet alone"),
    ("input_blocks.", "is a UNet alone"),
)
LATENT = 4  # channels of a latent
INPAINTING = 9  # channels that such a UNet reads: a latent, a mask, and the masked picture's latent
# Channels that the first convolution of other UNets reads, if it reads more than a latent.
READS = {
    5: "a depth-to-image model",
    7: "an upscaling model",
    8: "an InstructPix2Pix model",
}
# Part of a pipeline's class name in model_index.json.
PIPELINES = (
    ("StableDiffusion3", "Stable Diffusion 3"),
    ("Flux", "FLUX"),
    ("PaintByExample", "Paint-by-Example"),
    ("InstructPix2Pix", "InstructPix2Pix"),
    ("Upscale", "upscaling"),
    ("Depth2Img", "depth-to-image"),
    ("StableCascade", "Stable Cascade"),
    ("PixArt", "PixArt"),
    ("Kandinsky", "Kandinsky"),
)


def refuse_foreign(name: str, tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError for a file of another family, or of one part alone, and names it."""
    want = "want Stable Diffusion 1.x, 2.x or XL"
    for start, what in FOREIGN:
        if any(key.startswith(start) for key in tensors):
            raise ValueError(f"{name} {what} (it holds {start}...); {want}")
    labels = tensors.get(f"{XL_MARKS[1]}0.0.weight")
    if labels is not None and labels.shape[-1:] == (REFINER_WIDTH,):
        raise ValueError(f"{name} {REFINER}; {want}")


def refuse_channels(name: str, channels: object, written: object = LATENT) -> None:
    """Raises ValueError for a UNet that reads more than a latent, and what inpainting needs.

    written are the channels of the latent: one that reads 8 and writes 8 reads nothing else.
    """
    if channels in READS and channels != written:
        what = READS[channels]  # type: ignore[index]
        want = "4 or 9" if written == LATENT else written
        raise ValueError(f"{name} is {what}: its UNet reads {channels} channels, want {want}")


def read_channels(unet: Config) -> tuple[object, object]:
    """What a UNet reads and what it writes, by its config; written are 4 where it does not say."""
    return unet.get("in_channels"), unet.get("out_channels", LATENT)


def refuse_pipeline(name: str, kind: object) -> None:
    """Raises ValueError for a folder of another family, by the class in its model_index.json."""
    for part, what in PIPELINES:
        if isinstance(kind, str) and part in kind:
            raise ValueError(
                f"{name} is a {kind}: {what} models are not supported, "
                "want Stable Diffusion 1.x, 2.x or XL"
            )


def unet_config(tensors: Mapping[str, Tensor], family: str, sample_size: int | list[int]) -> Config:
    """diffusers' config of a UNet, inferred from its tensors.

    No shape depends on the number of heads: SD 1.x has 8, the others one for 64 channels.
    """
    widths = _widths(tensors, "down_blocks.{}.resnets.0.conv1.weight")
    down = [f"down_blocks.{i}.attentions.0.norm.weight" in tensors for i in range(len(widths))]
    up = [f"up_blocks.{i}.attentions.0.norm.weight" in tensors for i in range(len(widths))]
    attends = next(key for key in tensors if key.endswith("attn2.to_k.weight"))
    project = next(tensors[key] for key in tensors if key.endswith(".proj_in.weight"))
    added = _added_config(tensors, len(widths)) if family == SDXL else {}
    return added | {
        "_class_name": "UNet2DConditionModel",
        "act_fn": "silu",
        "attention_head_dim": 8 if family == SD1 else [width // 64 for width in widths],
        "block_out_channels": widths,
        "cross_attention_dim": tensors[attends].shape[1],
        "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in down],
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "in_channels": tensors["conv_in.weight"].shape[1],
        "layers_per_block": _count(tensors, "down_blocks.0.resnets.{}.conv1.weight"),
        "norm_eps": 1e-5,
        "norm_num_groups": 32,
        "out_channels": tensors["conv_out.weight"].shape[0],
        "sample_size": sample_size,
        "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in up],
        "use_linear_projection": project.ndim == 2,
    }


def _added_config(tensors: Mapping[str, Tensor], levels: int) -> Config:
    """What SDXL's UNet has besides: other depths, and an embedding of a pooled state and sizes."""
    return _depths_config(tensors, levels) | {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": XL_TIME,
        "projection_class_embeddings_input_dim": tensors["add_embedding.linear_1.weight"].shape[1],
    }


def _depths_config(tensors: Mapping[str, Tensor], levels: int) -> Config:
    """How many transformer layers there are: one number a level in SDXL and KOALA, else lists."""
    down, up = (
        [_list_depths(tensors, f"{kind}_blocks.{i}") for i in range(levels)]
        for kind in ("down", "up")
    )
    plain = [max(depths) for depths in down]
    even = all({*down[i], *up[-1 - i]} == {plain[i]} for i in range(levels))
    alone = "mid_block.resnets.0.conv1.weight" in tensors
    if even and (not alone or "mid_block.resnets.1.conv1.weight" in tensors):
        missing = {} if alone else {"mid_block_type": None}
        return missing | {"transformer_layers_per_block": [depth or 1 for depth in plain]}
    middle = {"mid_block_type": "UNetMidBlock2D" if alone else None}
    if "mid_block.resnets.1.conv1.weight" in tensors:
        middle = {"mid_block_type": "UNetMidBlock2DCrossAttn"}
    order = {"reverse_transformer_layers_per_block": up}
    return {"transformer_layers_per_block": down} | order | middle


def _list_depths(tensors: Mapping[str, Tensor], block: str) -> list[int]:
    """The transformer layers beside each residual block of a level; 0 without attention."""
    layers = _count(tensors, block + ".resnets.{}.conv1.weight")
    name = block + ".attentions.{}.transformer_blocks.{}.norm1.weight"
    return [_count(tensors, name.format(j, "{}")) for j in range(layers)]


def vae_config(tensors: Mapping[str, Tensor], sample_size: int, scale: float | None) -> Config:
    """diffusers' config of a VAE, inferred from its tensors, which do not tell the scale."""
    widths = _widths(tensors, "encoder.down_blocks.{}.resnets.0.conv1.weight")
    scaling = {} if scale is None else {"scaling_factor": scale}
    return scaling | {
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "in_channels": tensors["encoder.conv_in.weight"].shape[1],
        "latent_channels": tensors["decoder.conv_in.weight"].shape[1],
        "layers_per_block": _count(tensors, "encoder.down_blocks.0.resnets.{}.conv1.weight"),
        "norm_num_groups": 32,
        "out_channels": tensors["decoder.conv_out.weight"].shape[0],
        "sample_size": sample_size,
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
    }


def text_config(tensors: Mapping[str, Tensor], openclip: bool) -> Config:
    """transformers' config of a text encoder, from its tensors; heads are 64 wide in all.

    Only SDXL's second one has a projection.
    """
    vocab, width = tensors["text_model.embeddings.token_embedding.weight"].shape
    layers = "text_model.encoder.layers.{}.mlp.fc1.weight"
    projection = tensors.get("text_projection.weight")
    kind = "CLIPTextModel" if projection is None else "CLIPTextModelWithProjection"
    unread = 512 if openclip else width
    return {
        "architectures": [kind],
        "bos_token_id": vocab - 2,
        "eos_token_id": vocab - 1,
        "hidden_act": "gelu" if openclip else "quick_gelu",
        "hidden_size": width,
        "intermediate_size": tensors[layers.format(0)].shape[0],
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": tensors["text_model.embeddings.position_embedding.weight"].shape[
            0
        ],
        "model_type": "clip_text_model",
        "num_attention_heads": width // 64,
        "num_hidden_layers": _count(tensors, layers),
        "pad_token_id": 0 if openclip else vocab - 1,
        "projection_dim": unread if projection is None else projection.shape[0],
        "vocab_size": vocab,
    }


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    count = 0
    while pattern.format(count) in tensors:
        count += 1
    return count


def _widths(tensors: Mapping[str, Tensor], pattern: str) -> list[int]:
    return [tensors[pattern.format(i)].shape[0] for i in range(_count(tensors, pattern))]

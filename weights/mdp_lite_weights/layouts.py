"""Laying out a checkpoint for writing: as a diffusers folder, or as one LDM file."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdp_lite_weights import folder as folders
from mdp_lite_weights import keys, taesd
from mdp_lite_weights.families import INPAINTING, SD1, SD2, SDXL
from mdp_lite_weights.files import (
    OPENCLIP_PAD,
    Checkpoint,
    Choices,
    find_second_tokenizer,
    find_tokenizer,
)
from mdp_lite_weights.schedules import PREDICTION, SCHEDULER
from mdp_lite_weights.single import EMPTY, from_tensors
from mdp_lite_weights.sizes import size_metadata
from mdp_lite_weights.tensors import list_keys

Tensors = dict[str, Tensor]
Config = dict[str, Any]

# The key tables of single files cover one architecture: levels of two layers (one in KOALA), four
# of them in SD 1.x and 2.x, three in SDXL, of which these have attention on the way down.
ATTENDED = {SD1: (True, True, True, False), SDXL: (False, True, True)}
VAE: Config = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
}
# Defaults of options that a config leaves out, if readers of a single file could differ.
DEFAULTS: dict[str, Config] = {
    "text_encoder": {"num_attention_heads": 8, "hidden_act": "quick_gelu"},
    folders.SECOND: {"num_attention_heads": 8, "hidden_act": "quick_gelu"},
    "unet": {"attention_head_dim": 8, "transformer_layers_per_block": 1},
    "vae": {
        "use_quant_conv": True,
        "use_post_quant_conv": True,
        "mid_block_add_attention": True,
        "scaling_factor": 0.18215,
    },
    "scheduler": {
        "beta_end": 0.02,
        "beta_schedule": "linear",
        "beta_start": 0.0001,
        "num_train_timesteps": 1000,
        "prediction_type": "epsilon",
        "rescale_betas_zero_snr": False,
        "set_alpha_to_one": True,
        "steps_offset": 0,
        "timestep_spacing": "leading",
    },
}
LAYOUT = "0.6.0"  # of diffusers: the first version that writes inpainting models as today
DEPTHS = {  # of which blocks each is
    "transformer_layers_per_block": "down_block_types",
    "reverse_transformer_layers_per_block": "up_block_types",
}
# Options that a single file need not preserve: they change no number of the model.
FREE = (
    "_class_name architectures bos_token_id eos_token_id model_type pad_token_id projection_dim "
    "sample_size"
).split()


class Contents(NamedTuple):
    """What to write, by path inside OUT ("" is OUT itself), with notes for the user."""

    weights: dict[str, Tensors]
    metadata: dict[str, str]
    configs: dict[str, Config]
    copies: dict[str, Path]
    notes: tuple[str, ...]


def to_folder(checkpoint: Checkpoint, choices: Choices, dtype: torch.dtype | None) -> Contents:
    """A checkpoint as a folder that diffusers, transformers and this code read."""
    parts = [part for part in folders.ALL_STEMS if part in checkpoint.tensors]
    weights = {
        f"{part}/{folders.ALL_STEMS[part]}.safetensors": checkpoint.tensors.pop(part)
        for part in parts
    }
    configs = {folders.CONFIGS[p]: dict(checkpoint.configs[p]) for p in (*parts, "scheduler")}
    for name in (folders.CONFIGS[part] for part in parts if part.startswith("text_encoder")):
        for option in ("dtype", "torch_dtype"):  # the dtype in which transformers loads the model
            if dtype is not None and option in configs[name]:
                configs[name][option] = str(dtype).removeprefix("torch.")
    if checkpoint.defaults:
        configs[folders.DEFAULTS] = checkpoint.defaults
    try:
        place = find_tokenizer(choices.tokenizer, checkpoint, choices.hub)
    except ValueError as error:
        if choices.tokenizer is not None:
            raise
        configs["model_index.json"] = _index(checkpoint, [None, None])
        notes = (*checkpoint.notes, f"without a tokenizer: {error}")
        return Contents(weights, {}, configs, {}, notes)
    copies = _lay_tokenizer("tokenizer", place, checkpoint.pad_token, configs)
    if folders.SECOND in parts:
        own = find_second_tokenizer(choices.tokenizer, checkpoint, choices.hub)
        pad = None if own else OPENCLIP_PAD
        copies |= _lay_tokenizer("tokenizer_2", own or place, pad, configs)
    configs["model_index.json"] = _index(checkpoint, ["transformers", "CLIPTokenizer"])
    return Contents(weights, {}, configs, copies, checkpoint.notes)


def _lay_tokenizer(
    at: str, source: Path, pad: str | None, configs: dict[str, Config]
) -> dict[str, Path]:
    """The files of a tokenizer to copy; those that another pad token changes go to configs."""
    copies = {f"{at}/{name}": source / name for name in folders.TOKENIZER}
    copies = {name: path for name, path in copies.items() if path.is_file()}
    if pad:
        for name in (f"{at}/tokenizer_config.json", f"{at}/special_tokens_map.json"):
            settings = folders.read_json(copies.pop(name)) if name in copies else {}
            configs[name] = settings | {"pad_token": pad}
    return copies


def _index(checkpoint: Checkpoint, tokenizer: list[str | None]) -> Config:
    """model_index.json: which class of which library reads which part."""
    scheduler = checkpoint.configs["scheduler"].get("_class_name", "DDIMScheduler")
    parts: Config = {
        "feature_extractor": [None, None],
        "scheduler": ["diffusers", scheduler],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": tokenizer,
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", checkpoint.configs["vae"].get("_class_name", "AutoencoderKL")],
    }
    inpaint = "Inpaint" if checkpoint.configs["unet"].get("in_channels") == INPAINTING else ""
    if inpaint:  # diffusers wants to know that the folder is of today's layout
        parts["_diffusers_version"] = LAYOUT
    if folders.SECOND in checkpoint.configs:
        return parts | {
            "_class_name": f"StableDiffusionXL{inpaint}Pipeline",
            "force_zeros_for_empty_prompt": checkpoint.zero_empty,
            "image_encoder": [None, None],
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer_2": tokenizer,
        }
    return parts | {
        "_class_name": f"StableDiffusion{inpaint}Pipeline",
        "requires_safety_checker": False,
        "safety_checker": [None, None],
    }


def to_file(checkpoint: Checkpoint, out: Path) -> Contents:
    """A checkpoint as one LDM file; raises ValueError if it could not be read back the same."""
    family = _find_family(checkpoint)
    if checkpoint.configs["vae"].get("_class_name") == taesd.CLASS:
        raise ValueError(f"{checkpoint.name} has no place in a single file: its VAE is TAESD")
    layers = _count_layers(checkpoint.configs["unet"], family)
    for part, options in {"unet": _unet_options(family, layers), "vae": VAE}.items():
        for option, want in options.items():
            got = checkpoint.configs[part].get(option)
            if got != want:
                raise ValueError(
                    f"{checkpoint.name} has no place in a single file: "
                    f"{option} of its {part} must be {want}, got {got}"
                )
    tensors = ldm_tensors(checkpoint.tensors, family == SD2, layers)
    metadata = _metadata(checkpoint, family)
    read = from_tensors(out.name, tensors, metadata, False, None)
    for part, config in read.configs.items():
        _check_read_back(checkpoint, part, config, read.tensors.get(part, {}))
    notes = [*checkpoint.notes, f"a single file holds no tokenizer: keep that of {checkpoint.name}"]
    side, reads = (c["unet"].get("sample_size") for c in (checkpoint.configs, read.configs))
    if side != reads:
        notes.append(f"the file can't say this size: sample_size {side} will be read as {reads}")
    return Contents({"": tensors}, metadata, {}, {}, tuple(notes))


def _find_family(checkpoint: Checkpoint) -> str:
    if folders.SECOND in checkpoint.configs:
        return SDXL
    return SD2 if checkpoint.configs["text_encoder"].get("hidden_act") == "gelu" else SD1


def _count_layers(unet: Config, family: str) -> int:
    """Layers of each level of a UNet: 2, but 1 in KOALA, which is of SDXL's family."""
    return 1 if family == SDXL and unet.get("layers_per_block") == 1 else keys.LAYERS


def _unet_options(family: str, layers: int) -> Config:
    """The options of a UNet that a single file of a family has a place for."""
    attended = ATTENDED[SDXL if family == SDXL else SD1]
    return {
        "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attended],
        "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in attended[::-1]],
        "layers_per_block": layers,
    }


def ldm_tensors(
    parts: dict[str, Tensors], openclip: bool, layers: int = keys.LAYERS
) -> Tensors:  # fmt: skip
    """The models under LDM's names; only what OpenCLIP packs or transposes is a copy.

    openclip: of SD 2.x. SDXL is known by its second text encoder.
    """
    second = parts.get(folders.SECOND)
    levels = 4 if second is None else keys.XL_LEVELS
    unet = {keys.ldm_unet_key(key, levels, layers): t for key, t in parts["unet"].items()}
    tensors = {keys.UNET_AT + key: tensor for key, tensor in unet.items()}
    for key, tensor in parts["vae"].items():
        convolution = ".attentions." in key and tensor.ndim == 2  # 1x1, as it was trained
        tensor = tensor[:, :, None, None] if convolution else tensor
        tensors[keys.VAE_AT + keys.ldm_vae_key(key)] = tensor
    text = parts["text_encoder"]
    if openclip:
        return tensors | _openclip_tensors(keys.OPENCLIP_AT, text)
    at = keys.CLIP_AT if second is None else keys.XL_CLIP_AT
    tensors |= {at + key: tensor for key, tensor in text.items()}
    return tensors if second is None else tensors | _openclip_tensors(keys.XL_OPENCLIP_AT, second)


def _openclip_tensors(at: str, text: Tensors) -> Tensors:
    """A text encoder under OpenCLIP's names."""
    packed = keys.pack({k.removeprefix("text_model."): t for k, t in text.items()})
    return {at + keys.ldm_openclip_key(key): tensor for key, tensor in packed.items()}


def prediction_metadata(kind: str) -> dict[str, str]:
    """The metadata that records a prediction type in a file."""
    return {PREDICTION: "v" if kind == "v_prediction" else kind}


def _metadata(checkpoint: Checkpoint, family: str) -> dict[str, str]:
    """The header of a single file: Stability's standard names, and the schedule unchanged."""
    scheduler = DEFAULTS["scheduler"] | checkpoint.configs["scheduler"]
    prediction = scheduler.pop("prediction_type")
    second = "v2-768-v" if prediction == "v_prediction" else "v2-512"
    version = {SD1: "v1", SD2: second, SDXL: "xl-v1-base"}[family]
    zeros = {EMPTY: "false"} if family == SDXL and not checkpoint.zero_empty else {}
    return zeros | {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"stable-diffusion-{version}",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.title": checkpoint.name,
        **size_metadata(checkpoint.configs["unet"]),
        **prediction_metadata(prediction),
        SCHEDULER: json.dumps(scheduler),
    }


def _check_read_back(checkpoint: Checkpoint, part: str, read: Config, tensors: Tensors) -> None:
    """Raises ValueError if a part would be read back with other keys or other settings."""
    config, defaults = checkpoint.configs[part], DEFAULTS.get(part, {})
    no_place = f"{checkpoint.name} has no place in a single file: "
    differing = sorted(set(checkpoint.tensors.get(part, {})) ^ set(tensors))
    layers = config.get("layers_per_block", keys.LAYERS)
    differing += _list_unnamed(part, tensors, len(config.get("block_out_channels", ())), layers)
    if differing:
        raise ValueError(f"{no_place}{part} has{list_keys(differing)}")
    for option, want in (defaults | read).items():
        got = config.get(option, defaults.get(option, want))
        if option in FREE or _is_same(got, want):
            continue
        if option in DEPTHS and _is_same_depth(got, want, config[DEPTHS[option]]):
            continue
        raise ValueError(f"{no_place}{option} of its {part} must be {want!r}, got {got!r}")


def _list_unnamed(part: str, tensors: Tensors, levels: int, layers: int) -> list[str]:
    """Keys of a UNet or a VAE that the tables do not know."""
    if part not in ("unet", "vae"):
        return []
    renames = keys.list_unet_renames(levels, layers) if part == "unet" else keys.VAE
    known = tuple(f"{new}." for _, new in renames)
    return [key for key in tensors if not key.startswith(known)]


def _is_same(a: Any, b: Any) -> bool:
    """Whether two options mean the same; one number stands for a list of it."""
    if isinstance(a, list | tuple) and isinstance(b, int):
        b = [b] * len(a)
    if isinstance(b, list | tuple) and isinstance(a, int):
        a = [a] * len(b)
    return a == b or (isinstance(a, list | tuple) and list(a) == list(b))


def _is_same_depth(a: Any, b: list[Any], blocks: list[str]) -> bool:
    """Whether depths are the same where there is attention; elsewhere they stand for nothing."""
    a = [a] * len(b) if isinstance(a, int) else a
    return len(a) == len(b) == len(blocks) and all(
        _is_same(x, y) for x, y, kind in zip(a, b, blocks, strict=True) if "CrossAttn" in kind
    )

"""Laying out a checkpoint for writing: as a diffusers folder, or as one LDM file."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdp_lite_weights import folder as folders
from mdp_lite_weights import keys
from mdp_lite_weights.files import Checkpoint, Choices, find_tokenizer
from mdp_lite_weights.single import PREDICTION, SCHEDULER, from_tensors
from mdp_lite_weights.tensors import list_keys

Tensors = dict[str, Tensor]
Config = dict[str, Any]

# The key table of single files covers one architecture: four levels of two layers.
ARCHITECTURE: dict[str, Config] = {
    "unet": {
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
        "layers_per_block": 2,
    },
    "vae": {
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
    },
}
RENAMES = {"unet": keys.UNET, "vae": keys.VAE}
# Defaults of options that a config leaves out, if readers of a single file could differ.
DEFAULTS: dict[str, Config] = {
    "text_encoder": {"num_attention_heads": 8},
    "unet": {"attention_head_dim": 8, "transformer_layers_per_block": 1},
    "vae": {
        "use_quant_conv": True,
        "use_post_quant_conv": True,
        "mid_block_add_attention": True,
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
    weights = {
        f"{part}/{stem}.safetensors": checkpoint.tensors.pop(part)
        for part, stem in folders.STEMS.items()
    }
    configs = {name: dict(checkpoint.configs[part]) for part, name in folders.CONFIGS.items()}
    for option in ("dtype", "torch_dtype"):  # the dtype in which transformers loads the model
        if dtype is not None and option in configs["text_encoder/config.json"]:
            configs["text_encoder/config.json"][option] = str(dtype).removeprefix("torch.")
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
    copies = {f"tokenizer/{name}": place / name for name in folders.TOKENIZER}
    copies = {name: path for name, path in copies.items() if path.is_file()}
    if checkpoint.pad_token:
        for name in ("tokenizer/tokenizer_config.json", "tokenizer/special_tokens_map.json"):
            settings = folders.read_json(copies.pop(name)) if name in copies else {}
            configs[name] = settings | {"pad_token": checkpoint.pad_token}
    configs["model_index.json"] = _index(checkpoint, ["transformers", "CLIPTokenizer"])
    return Contents(weights, {}, configs, copies, checkpoint.notes)


def _index(checkpoint: Checkpoint, tokenizer: list[str | None]) -> Config:
    """model_index.json: which class of which library reads which part."""
    scheduler = checkpoint.configs["scheduler"].get("_class_name", "DDIMScheduler")
    return {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", scheduler],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": tokenizer,
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }


def to_file(checkpoint: Checkpoint, out: Path) -> Contents:
    """A checkpoint as one LDM file; raises ValueError if it could not be read back the same."""
    for part, options in ARCHITECTURE.items():
        for option, want in options.items():
            got = checkpoint.configs[part].get(option)
            if got != want:
                raise ValueError(
                    f"{checkpoint.name} has no place in a single file: "
                    f"{option} of its {part} must be {want}, got {got}"
                )
    openclip = checkpoint.configs["text_encoder"].get("hidden_act") == "gelu"
    tensors = ldm_tensors(checkpoint.tensors, openclip)
    metadata = _metadata(checkpoint, openclip)
    read = from_tensors(out.name, tensors, metadata, False, None)
    for part, config in read.configs.items():
        _check_read_back(checkpoint, part, config, read.tensors.get(part, {}))
    notes = [*checkpoint.notes, f"a single file holds no tokenizer: keep that of {checkpoint.name}"]
    side, reads = (c["unet"].get("sample_size") for c in (checkpoint.configs, read.configs))
    if side != reads:
        notes.append(f"a single file says no size: sample_size {side} will be read as {reads}")
    return Contents({"": tensors}, metadata, {}, {}, tuple(notes))


def ldm_tensors(parts: dict[str, Tensors], openclip: bool) -> Tensors:
    """The three models under LDM's names; only OpenCLIP's packed attention is a copy."""
    tensors = {keys.UNET_AT + keys.ldm_unet_key(k): t for k, t in parts["unet"].items()}
    for key, tensor in parts["vae"].items():
        convolution = ".attentions." in key and tensor.ndim == 2  # 1x1, as it was trained
        tensor = tensor[:, :, None, None] if convolution else tensor
        tensors[keys.VAE_AT + keys.ldm_vae_key(key)] = tensor
    text = parts["text_encoder"]
    if not openclip:
        return tensors | {keys.CLIP_AT + key: tensor for key, tensor in text.items()}
    packed = keys.pack(keys.strip_prefix(text, "text_model."))
    return tensors | {keys.OPENCLIP_AT + keys.ldm_openclip_key(k): t for k, t in packed.items()}


def prediction_metadata(kind: str) -> dict[str, str]:
    """The metadata that records a prediction type in a file."""
    return {PREDICTION: "v" if kind == "v_prediction" else kind}


def _metadata(checkpoint: Checkpoint, openclip: bool) -> dict[str, str]:
    """The header of a single file: Stability's standard names, and the schedule unchanged."""
    scheduler = DEFAULTS["scheduler"] | checkpoint.configs["scheduler"]
    prediction = scheduler.pop("prediction_type")
    version = ("v2-768-v" if prediction == "v_prediction" else "v2-512") if openclip else "v1"
    return {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"stable-diffusion-{version}",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.title": checkpoint.name,
        **prediction_metadata(prediction),
        SCHEDULER: json.dumps(scheduler),
    }


def _check_read_back(checkpoint: Checkpoint, part: str, read: Config, tensors: Tensors) -> None:
    """Raises ValueError if a part would be read back with other keys or other settings."""
    config, defaults = checkpoint.configs[part], DEFAULTS.get(part, {})
    differing = sorted(set(checkpoint.tensors.get(part, {})) ^ set(tensors))
    known = tuple(f"{new}." for _, new in RENAMES.get(part, ())) or ""
    differing += [key for key in tensors if not key.startswith(known)]
    if differing:
        raise ValueError(
            f"{checkpoint.name} has no place in a single file: {part} has{list_keys(differing)}"
        )
    for option, want in (defaults | read).items():
        got = config.get(option, defaults.get(option, want))
        if option not in FREE and not _is_same(got, want):
            raise ValueError(
                f"{checkpoint.name} has no place in a single file: "
                f"{option} of its {part} must be {want!r}, got {got!r}"
            )


def _is_same(a: Any, b: Any) -> bool:
    """Whether two options mean the same; one number stands for a list of it."""
    if isinstance(a, list | tuple) or isinstance(b, list | tuple):
        a, b = ([x] * 4 if isinstance(x, int) else list(x) for x in (a, b))
    return a == b

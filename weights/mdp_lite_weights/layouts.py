"""What a checkpoint becomes on disk: a diffusers folder, or one LDM file that says the same."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdp_lite_weights import folder as folders
from mdp_lite_weights import keys
from mdp_lite_weights.files import Checkpoint, Choices, find_tokenizer
from mdp_lite_weights.single import PREDICTION, SCHEDULER, from_tensors
from mdp_lite_weights.tensors import first

Tensors = dict[str, Tensor]
Config = dict[str, Any]

# The key table of single files is that of one build: four levels of two layers.
BUILD: dict[str, Config] = {
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
ROWS = {"unet": keys.UNET, "vae": keys.VAE}
# What a config means that leaves an option out, where readers of a single file could differ.
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
# What a config may say otherwise than a single file's reader: no number of the model changes.
FREE = (
    "_class_name architectures bos_token_id eos_token_id model_type pad_token_id projection_dim "
    "sample_size"
).split()


class Contents(NamedTuple):
    """What goes to OUT, by path inside it ("" is OUT itself), and sentences on it."""

    weights: dict[str, Tensors]
    metadata: dict[str, str]
    configs: dict[str, Config]
    copies: dict[str, Path]
    notes: tuple[str, ...]


def as_folder(found: Checkpoint, choices: Choices, dtype: torch.dtype | None) -> Contents:
    """A checkpoint as a folder that diffusers, transformers and this code read."""
    weights = {
        f"{part}/{stem}.safetensors": found.tensors.pop(part)
        for part, stem in folders.STEMS.items()
    }
    configs = {name: dict(found.configs[part]) for part, name in folders.CONFIGS.items()}
    for option in ("dtype", "torch_dtype"):  # what transformers loads a model as
        if dtype is not None and option in configs["text_encoder/config.json"]:
            configs["text_encoder/config.json"][option] = str(dtype).removeprefix("torch.")
    if found.defaults:
        configs[folders.DEFAULTS] = found.defaults
    try:
        place = find_tokenizer(choices.tokenizer, found, choices.hub)
    except ValueError as error:
        if choices.tokenizer is not None:
            raise
        configs["model_index.json"] = _index(found, [None, None])
        notes = (*found.notes, f"without a tokenizer: {error}")
        return Contents(weights, {}, configs, {}, notes)
    copies = {f"tokenizer/{name}": place / name for name in folders.TOKENIZER}
    copies = {name: path for name, path in copies.items() if path.is_file()}
    if found.pad_token:
        for name in ("tokenizer/tokenizer_config.json", "tokenizer/special_tokens_map.json"):
            said = folders.read_json(copies.pop(name)) if name in copies else {}
            configs[name] = said | {"pad_token": found.pad_token}
    configs["model_index.json"] = _index(found, ["transformers", "CLIPTokenizer"])
    return Contents(weights, {}, configs, copies, found.notes)


def _index(found: Checkpoint, tokenizer: list[str | None]) -> Config:
    """model_index.json: which class of which library reads which part."""
    scheduler = found.configs["scheduler"].get("_class_name", "DDIMScheduler")
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


def as_file(found: Checkpoint, out: Path) -> Contents:
    """A checkpoint as one LDM file; what could not be read back from it is a ValueError."""
    for part, options in BUILD.items():
        for option, want in options.items():
            got = found.configs[part].get(option)
            if got != want:
                raise ValueError(
                    f"{found.name} has no place in a single file: "
                    f"{option} of its {part} must be {want}, got {got}"
                )
    openclip = found.configs["text_encoder"].get("hidden_act") == "gelu"
    tensors = ldm_tensors(found.tensors, openclip)
    metadata = _metadata(found, openclip)
    read = from_tensors(out.name, tensors, metadata, False, None)
    for part, config in read.configs.items():
        _check_said(found, part, config, read.tensors.get(part, {}))
    notes = [*found.notes, f"a single file holds no tokenizer: keep that of {found.name}"]
    side, reads = (c["unet"].get("sample_size") for c in (found.configs, read.configs))
    if side != reads:
        notes.append(f"a single file says no size: sample_size {side} will be read as {reads}")
    return Contents({"": tensors}, metadata, {}, {}, tuple(notes))


def ldm_tensors(parts: dict[str, Tensors], openclip: bool) -> Tensors:
    """The three models under LDM's names; only OpenCLIP's packed attention is copied."""
    tensors = {keys.UNET_AT + keys.ldm_unet_key(k): t for k, t in parts["unet"].items()}
    for key, tensor in parts["vae"].items():
        convolution = ".attentions." in key and tensor.ndim == 2  # 1x1, as it was trained
        tensor = tensor[:, :, None, None] if convolution else tensor
        tensors[keys.VAE_AT + keys.ldm_vae_key(key)] = tensor
    text = parts["text_encoder"]
    if not openclip:
        return tensors | {keys.CLIP_AT + key: tensor for key, tensor in text.items()}
    packed = keys.pack(keys.below(text, "text_model."))
    return tensors | {keys.OPENCLIP_AT + keys.ldm_openclip_key(k): t for k, t in packed.items()}


def said_prediction(kind: str) -> dict[str, str]:
    """The metadata of a file that says its prediction type."""
    return {PREDICTION: "v" if kind == "v_prediction" else kind}


def _metadata(found: Checkpoint, openclip: bool) -> dict[str, str]:
    """The header of a single file: Stability's standard names, and the schedule as it is."""
    scheduler = DEFAULTS["scheduler"] | found.configs["scheduler"]
    prediction = scheduler.pop("prediction_type")
    version = ("v2-768-v" if prediction == "v_prediction" else "v2-512") if openclip else "v1"
    return {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"stable-diffusion-{version}",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.title": found.name,
        **said_prediction(prediction),
        SCHEDULER: json.dumps(scheduler),
    }


def _check_said(found: Checkpoint, part: str, read: Config, tensors: Tensors) -> None:
    """A part as it is and as it would be read back: the same keys and the same settings."""
    given, defaults = found.configs[part], DEFAULTS.get(part, {})
    odd = sorted(set(found.tensors.get(part, {})) ^ set(tensors))
    known = tuple(f"{new}." for _, new in ROWS.get(part, ())) or ""
    odd += [key for key in tensors if not key.startswith(known)]
    if odd:
        raise ValueError(f"{found.name} has no place in a single file: {part} has{first(odd)}")
    for option, want in (defaults | read).items():
        got = given.get(option, defaults.get(option, want))
        if option not in FREE and not _alike(got, want):
            raise ValueError(
                f"{found.name} has no place in a single file: "
                f"{option} of its {part} must be {want!r}, got {got!r}"
            )


def _alike(a: Any, b: Any) -> bool:
    """Whether two options say the same; one number stands for a list of it."""
    if isinstance(a, list | tuple) or isinstance(b, list | tuple):
        a, b = ([x] * 4 if isinstance(x, int) else list(x) for x in (a, b))
    return a == b

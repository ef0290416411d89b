"""LoRA files in kohya's, peft's and the older diffusers forms: what they add to which weight."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdp_lite_weights.keys import ldm_unet_key
from mdp_lite_weights.tensors import first, read_metadata, read_tensors, short


class Delta(NamedTuple):
    """What a LoRA adds to a weight: scale * up @ down, with down [rank, in] and up [out, rank]."""

    down: Tensor
    up: Tensor
    scale: float


Shapes = dict[str, dict[str, torch.Size]]  # part ("unet", "text_encoder") -> key -> shape
Deltas = dict[str, dict[str, list[Delta]]]  # part -> key -> deltas in the order of the files
Settings = dict[str, Any]  # of peft's LoraConfig, as JSON has them
Modules = dict[tuple[str, str], dict[str, Tensor]]  # part and key -> "down", "up", "alpha"

# How a key ends after the name of its module, and which of the module's tensors it names.
ENDINGS = {
    ".lora_down.weight": "down",  # kohya
    ".lora_up.weight": "up",
    ".alpha": "alpha",
    ".lora_A.weight": "down",  # peft
    ".lora_B.weight": "up",
    ".lora.down.weight": "down",  # diffusers before peft
    ".lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    "_lora.down.weight": "down",  # its first: ...attn1.processor.to_q_lora.down.weight
    "_lora.up.weight": "up",
}
KOHYA = {"unet": "lora_unet_", "text_encoder": "lora_te_"}  # before a name with _ for every dot
PEFT = "base_model.model."  # before every name in a file that peft wrote, not diffusers
ENDS = r"(.*\.)?({})$"  # peft's test of a name in alpha_pattern against a module's
FLOATS = (torch.float32, torch.float16, torch.bfloat16)

# What is not a LoRA, or one for another model: a pattern in a key, and its kind.
OTHERS = {
    "dora_scale": "a DoRA",
    "lora_magnitude_vector": "a DoRA",
    "lora_mid": "a LoCon",
    "hada_": "a LoHa",
    "lokr_": "a LoKr",
    "ia3_": "an (IA)3",
    "on_input": "an (IA)3",
    "oft_": "an OFT",
    "lora_te1_": "a LoRA for SDXL",
    "lora_te2_": "a LoRA for SDXL",
    r"^text_encoder_2\.": "a LoRA for SDXL",
    r"^transformer\.": "a LoRA for SD3, FLUX or another transformer",
    "double_blocks": "a LoRA for FLUX or another transformer",
    "joint_blocks": "a LoRA for SD3",
}
# peft's settings that make it another sum than Delta's, unless they are empty.
OTHER_SUMS = (
    *("use_dora", "use_qalora", "use_bdlora", "lora_bias", "layer_replication", "fan_in_fan_out"),
    *("alora_invocation_tokens", "arrow_config", "kasa_config", "monteclora_config"),
    *("trainable_token_indices", "target_parameters", "modules_to_save"),
)
# Where peft's other ways to begin change the model's own weights.
STARTS = (True, False, None, "gaussian", "orthogonal", "eva")


def read_loras(files: Sequence[tuple[Path, float]], shapes: Shapes) -> Deltas:
    """What LoRA files, each with its strength, add to the weights of these shapes."""
    deltas: Deltas = {part: {} for part in shapes}
    for path, strength in files:
        for part, found in read_lora(path, strength, shapes).items():
            for key, delta in found.items():
                deltas[part].setdefault(key, []).append(delta)
    return deltas


def merged(weight: Tensor, deltas: Sequence[Delta]) -> Tensor:
    """weight + sum of scale * up @ down, in float32; a weight is [out, in] or [out, in, 1, 1]."""
    total = weight.float().flatten(1)
    for down, up, scale in deltas:
        if scale:  # 0 leaves every bit, whatever the BLAS makes of -0 + 0
            total = torch.addmm(total, up.float(), down.float(), alpha=scale)
    return total.view(weight.shape)


def read_lora(path: Path, strength: float, shapes: Shapes) -> dict[str, dict[str, Delta]]:
    """What a LoRA file adds, by part and key; ValueError unless every tensor finds its weight."""
    _number(f"the strength of {short(path)}", strength)
    tensors = read_tensors(path)
    _refuse_others(path, tensors)
    settings = _settings(path, tensors, shapes)
    modules, strays = _modules(path, tensors, shapes)
    deltas: dict[str, dict[str, Delta]] = {part: {} for part in shapes}
    for (part, key), found in modules.items():
        where = f"{short(path)}: {part}.{key}"
        down, up = _pair(where, found, shapes[part][key])
        scale = strength * _scale(where, len(down), found.get("alpha"), settings[part], key)
        deltas[part][key] = Delta(down, up, _number(f"{where}: its scale", scale))
    if strays:
        count = f"{len(strays)} of {len(tensors)} keys"
        raise ValueError(f"{short(path)}: {count} have no place in this model{first(strays)}")
    return deltas


def _refuse_others(path: Path, tensors: dict[str, Tensor]) -> None:
    for key in tensors:
        for mark, kind in OTHERS.items():
            if re.search(mark, key):
                raise ValueError(f"{short(path)} is {kind}, which is not supported ({key})")
    if not any(_split(key)[1] in ("down", "up") for key in tensors):
        got = f"{len(tensors)} tensors{first(list(tensors), 1)}"
        raise ValueError(f"{short(path)} is not a LoRA: no tensor is named as one's, got {got}")


def _modules(path: Path, tensors: dict[str, Tensor], shapes: Shapes) -> tuple[Modules, list[str]]:
    """The tensors of a file by the weight that they are for, and the keys that are for none."""
    places = dict(_names(shapes))
    modules: Modules = {}
    strays: list[str] = []
    for key, tensor in tensors.items():
        name, kind = _split(key)
        if not kind or name not in places:
            strays.append(key)
        elif kind in modules.setdefault(places[name], {}):
            raise ValueError(f"{short(path)}: {key} is there twice, under two names")
        else:
            modules[places[name]][kind] = tensor
    return modules, strays


def _split(key: str) -> tuple[str, str]:
    """The name of the module in a key, and which of its tensors it is; "" if it is none."""
    key = key.removeprefix(PEFT).replace(".processor.", ".")
    for ending, kind in ENDINGS.items():
        if key.endswith(ending):
            return key.removesuffix(ending), kind
    return key, ""


def _names(shapes: Shapes) -> Iterator[tuple[str, tuple[str, str]]]:
    """Every name that a file may have for a module, with the part and key of its weight."""
    for part, keys in shapes.items():
        for key, shape in keys.items():
            if key.endswith(".weight") and len(shape) > 1:
                for name in _spellings(part, key.removesuffix(".weight")):
                    yield name, (part, key)
                    yield f"{part}.{name}", (part, key)
                    yield KOHYA[part] + name.replace(".", "_"), (part, key)


def _spellings(part: str, module: str) -> Iterator[str]:
    """A module's name as it is, as the first diffusers had it, and as others have it."""
    yield module
    if part == "unet":
        yield re.sub(r"\.to_out\.0$", ".to_out", module)
        yield ldm_unet_key(module)  # LDM
    else:
        yield re.sub(r"\.(\w+)_proj$", r".to_\1", module)
        yield module.removeprefix("text_model.")  # transformers 5


def _pair(where: str, found: dict[str, Tensor], shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Both factors as matrices: down [rank, in] and up [out, rank]."""
    if shape[2:].numel() != 1:
        raise ValueError(f"{where} is a convolution, and LoCon (LoRA of those) is not supported")
    for kind in ("down", "up"):
        if kind not in found:
            raise ValueError(f"{where} has no {kind} factor, only {' and '.join(found)}")
        _check_factor(f"{where}: {kind}", found[kind])
    down, up = found["down"].flatten(1), found["up"].flatten(1)
    if (down.shape[1], up.shape[0]) != (shape[1], shape[0]):
        got, want = f"{down.shape[1]} to {up.shape[0]}", f"{shape[1]} to {shape[0]}"
        raise ValueError(f"{where}: the LoRA is for a model of another width, {got}, want {want}")
    if len(down) != up.shape[1]:
        raise ValueError(f"{where}: down has rank {len(down)}, up has rank {up.shape[1]}")
    return down, up


def _check_factor(what: str, factor: Tensor) -> None:
    if factor.ndim not in (2, 4) or factor.dtype not in FLOATS or not factor.numel():
        got = f"{factor.dtype} {list(factor.shape)}"
        raise ValueError(f"{what} must be a matrix of 16 or 32-bit floats, got {got}")
    if not factor.isfinite().all():
        raise ValueError(f"{what} has values that are not finite")


def _scale(where: str, rank: int, alpha: Tensor | None, settings: Settings, key: str) -> float:
    """alpha / rank; alpha is a tensor of the file or in peft's settings, and else the rank."""
    if alpha is not None:
        if alpha.numel() != 1:
            raise ValueError(f"{where}: alpha must be one number, got {list(alpha.shape)}")
        return _number(f"{where}: alpha", alpha.item()) / rank
    if not settings:
        return 1.0
    module, patterns = key.removesuffix(".weight"), settings.get("alpha_pattern", {})
    names = (module, module.removeprefix("text_model."))
    fits = [p for p in patterns if any(re.match(ENDS.format(p), name) for name in names)]
    chosen = patterns[fits[0]] if fits else settings.get("lora_alpha", 8)  # 8 as in peft
    return chosen / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def _settings(path: Path, tensors: dict[str, Tensor], parts: Iterable[str]) -> dict[str, Settings]:
    """peft's settings by part: diffusers writes them into the header, peft into a second file."""
    text = read_metadata(path).get("lora_adapter_metadata", "{}")
    try:
        if any(key.startswith(PEFT) for key in tensors):
            text = (path.parent / "adapter_config.json").read_text("utf-8")
        raw = json.loads(text)
    except OSError:
        raise ValueError(f"{short(path)} needs the adapter_config.json that peft wrote") from None
    except (ValueError, RecursionError):
        raise ValueError(f"{short(path)}: peft's settings must be JSON, got {text!r:.50}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{short(path)}: peft's settings must be a JSON object, got {text!r:.50}")
    if raw and any(key.endswith(".alpha") for key in tensors):
        raise ValueError(f"{short(path)} has alphas in both its tensors and peft's settings")
    settings = {part: _own(raw, f"{part}.") for part in parts}
    for own in settings.values():
        _check_settings(short(path), own)
    return settings


def _own(raw: Settings, prefix: str) -> Settings:
    """The settings of one part, or those of a file for one part alone, which have no prefix."""
    names = [name for name in raw if name.startswith(prefix) or "." not in name]
    return {name.removeprefix(prefix): raw[name] for name in names}


def _check_settings(where: str, settings: Settings) -> None:
    others = [name for name in OTHER_SUMS if settings.get(name)]
    others += ["init_lora_weights"] if settings.get("init_lora_weights") not in STARTS else []
    others += ["peft_type"] if settings.get("peft_type", "LORA") != "LORA" else []
    for name in others:
        got = f"{settings[name]!r:.50}"
        raise ValueError(f"{where}: peft's setting {name} is not supported, got {got}")
    patterns = settings.get("alpha_pattern", {})
    if not isinstance(patterns, dict):
        raise ValueError(f"{where}: alpha_pattern must be a JSON object, got {patterns!r:.50}")
    for pattern, value in (("lora_alpha", settings.get("lora_alpha", 8)), *patterns.items()):
        _number(f"{where}: peft's alpha of {pattern}", value)
        try:
            re.compile(ENDS.format(pattern))
        except re.error:
            raise ValueError(f"{where}: alpha_pattern has a bad name, {pattern!r:.50}") from None


def _number(what: str, value: Any) -> float:
    """A number that float32 can hold: True, a text, infinity and nan are none."""
    if type(value) not in (int, float) or not abs(value) <= torch.finfo(torch.float32).max:
        raise ValueError(f"{what} must be a finite number, got {value!r:.50}")
    return value

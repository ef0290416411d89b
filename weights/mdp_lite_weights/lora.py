"""LoRA files in the forms of kohya, peft and older diffusers: what they add to each weight."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdp_lite_weights.keys import ldm_unet_key
from mdp_lite_weights.tensors import list_keys, read_metadata, read_tensors, short


class Delta(NamedTuple):
    """The change of a weight by a LoRA: scale * up @ down, down [rank, in], up [out, rank]."""

    down: Tensor
    up: Tensor
    scale: float


Shapes = dict[str, dict[str, torch.Size]]  # part ("unet", "text_encoder") -> key -> shape
Deltas = dict[str, dict[str, list[Delta]]]  # part -> key -> deltas in the order of the files
Settings = dict[str, Any]  # of peft's LoraConfig, as JSON has them
Modules = dict[tuple[str, str], dict[str, Tensor]]  # part and key -> "down", "up", "alpha"

# The ending of a key after the name of its module, and which tensor of the module it is.
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
KOHYA = {"unet": "lora_unet_", "text_encoder": "lora_te_"}  # before a name in which each dot is a _
PEFT = "base_model.model."  # before every name in a file that peft itself wrote
ENDS = r"(.*\.)?({})$"  # peft's test of a name in alpha_pattern against a module's
FLOATS = (torch.float32, torch.float16, torch.bfloat16)

# Files that are not a LoRA, or one for another model: a pattern in a key, and their kind.
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
# peft's settings that change the sum in Delta, unless they are empty.
OTHER_SUMS = (
    *("use_dora", "use_qalora", "use_bdlora", "lora_bias", "layer_replication", "fan_in_fan_out"),
    *("alora_invocation_tokens", "arrow_config", "kasa_config", "monteclora_config"),
    *("trainable_token_indices", "target_parameters", "modules_to_save"),
)
# peft's other initialisations change the model's weights too.
STARTS = (True, False, None, "gaussian", "orthogonal", "eva")


def read_loras(files: Sequence[tuple[Path, float]], shapes: Shapes) -> Deltas:
    """Read LoRA files, each with its strength, for models with weights of these shapes."""
    deltas: Deltas = {part: {} for part in shapes}
    for path, strength in files:
        for part, found in read_lora(path, strength, shapes).items():
            for key, delta in found.items():
                deltas[part].setdefault(key, []).append(delta)
    return deltas


def merge_deltas(weight: Tensor, deltas: Sequence[Delta]) -> Tensor:
    """weight + sum of scale * up @ down, in float32; a weight is [out, in] or [out, in, 1, 1]."""
    total = weight.float().flatten(1)
    for down, up, scale in deltas:
        if scale:  # 0 changes no bit, even if the BLAS turns -0 + 0 into 0
            total = torch.addmm(total, up.float(), down.float(), alpha=scale)
    return total.view(weight.shape)


def read_lora(path: Path, strength: float, shapes: Shapes) -> dict[str, dict[str, Delta]]:
    """What a LoRA file adds, by part and key; raises ValueError if a tensor has no weight here."""
    _check_number(f"the strength of {short(path)}", strength)
    tensors = read_tensors(path)
    _refuse_others(path, tensors)
    settings = _read_settings(path, tensors, shapes)
    modules, strays = _group_by_module(path, tensors, shapes)
    deltas: dict[str, dict[str, Delta]] = {part: {} for part in shapes}
    for (part, key), found in modules.items():
        what = f"{short(path)}: {part}.{key}"
        down, up = _read_factors(what, found, shapes[part][key])
        scale = strength * _find_scale(what, len(down), found.get("alpha"), settings[part], key)
        deltas[part][key] = Delta(down, up, _check_number(f"{what}: its scale", scale))
    if strays:
        count = f"{len(strays)} of {len(tensors)} keys"
        raise ValueError(f"{short(path)}: {count} have no place in this model{list_keys(strays)}")
    return deltas


def _refuse_others(path: Path, tensors: dict[str, Tensor]) -> None:
    for key in tensors:
        for mark, kind in OTHERS.items():
            if re.search(mark, key):
                raise ValueError(f"{short(path)} is {kind}, which is not supported ({key})")
    if not any(_split_key(key)[1] in ("down", "up") for key in tensors):
        got = f"{len(tensors)} tensors{list_keys(list(tensors), 1)}"
        raise ValueError(f"{short(path)} is not a LoRA: no tensor is named as one's, got {got}")


def _group_by_module(
    path: Path, tensors: dict[str, Tensor], shapes: Shapes
) -> tuple[Modules, list[str]]:
    """The tensors of a file by the weight that they change, and the keys without a weight."""
    places = dict(_list_names(shapes))
    modules: Modules = {}
    strays: list[str] = []
    for key, tensor in tensors.items():
        name, kind = _split_key(key)
        if not kind or name not in places:
            strays.append(key)
        elif kind in modules.setdefault(places[name], {}):
            raise ValueError(f"{short(path)}: {key} is there twice, under two names")
        else:
            modules[places[name]][kind] = tensor
    return modules, strays


def _split_key(key: str) -> tuple[str, str]:
    """The module's name in a key and the kind of tensor; the kind is "" if it is none."""
    key = key.removeprefix(PEFT).replace(".processor.", ".")
    for ending, kind in ENDINGS.items():
        if key.endswith(ending):
            return key.removesuffix(ending), kind
    return key, ""


def _list_names(shapes: Shapes) -> Iterator[tuple[str, tuple[str, str]]]:
    """Every name that a file may use for a module, with the part and key of its weight."""
    for part, keys in shapes.items():
        for key, shape in keys.items():
            if key.endswith(".weight") and len(shape) > 1:
                for name in _list_spellings(part, key.removesuffix(".weight")):
                    yield name, (part, key)
                    yield f"{part}.{name}", (part, key)
                    yield KOHYA[part] + name.replace(".", "_"), (part, key)


def _list_spellings(part: str, module: str) -> Iterator[str]:
    """A module's name today, in the first diffusers, and in other layouts."""
    yield module
    if part == "unet":
        yield re.sub(r"\.to_out\.0$", ".to_out", module)
        yield ldm_unet_key(module)  # LDM
    else:
        yield re.sub(r"\.(\w+)_proj$", r".to_\1", module)
        yield module.removeprefix("text_model.")  # transformers 5


def _read_factors(what: str, found: dict[str, Tensor], shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Both factors as matrices: down [rank, in] and up [out, rank]."""
    if shape[2:].numel() != 1:
        raise ValueError(f"{what} is a convolution, and LoCon (LoRA of those) is not supported")
    for kind in ("down", "up"):
        if kind not in found:
            raise ValueError(f"{what} has no {kind} factor, only {' and '.join(found)}")
        _check_factor(f"{what}: {kind}", found[kind])
    down, up = found["down"].flatten(1), found["up"].flatten(1)
    if (down.shape[1], up.shape[0]) != (shape[1], shape[0]):
        got, want = f"{down.shape[1]} to {up.shape[0]}", f"{shape[1]} to {shape[0]}"
        raise ValueError(f"{what}: the LoRA is for a model of another width, {got}, want {want}")
    if len(down) != up.shape[1]:
        raise ValueError(f"{what}: down has rank {len(down)}, up has rank {up.shape[1]}")
    return down, up


def _check_factor(what: str, factor: Tensor) -> None:
    if factor.ndim not in (2, 4) or factor.dtype not in FLOATS or not factor.numel():
        got = f"{factor.dtype} {list(factor.shape)}"
        raise ValueError(f"{what} must be a matrix of 16 or 32-bit floats, got {got}")
    if not factor.isfinite().all():
        raise ValueError(f"{what} has values that are not finite")


def _find_scale(what: str, rank: int, alpha: Tensor | None, settings: Settings, key: str) -> float:
    """alpha / rank; alpha is a tensor of the file, a setting of peft, or else the rank."""
    if alpha is not None:
        if alpha.numel() != 1:
            raise ValueError(f"{what}: alpha must be one number, got {list(alpha.shape)}")
        return _check_number(f"{what}: alpha", alpha.item()) / rank
    if not settings:
        return 1.0
    module, patterns = key.removesuffix(".weight"), settings.get("alpha_pattern", {})
    names = (module, module.removeprefix("text_model."))
    fits = [p for p in patterns if any(re.match(ENDS.format(p), name) for name in names)]
    chosen = patterns[fits[0]] if fits else settings.get("lora_alpha", 8)  # 8 as in peft
    return chosen / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def _read_settings(
    path: Path, tensors: dict[str, Tensor], parts: Iterable[str]
) -> dict[str, Settings]:
    """Read peft's settings by part, from the header (diffusers) or from a second file (peft)."""
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
    settings = {part: _select_part(raw, f"{part}.") for part in parts}
    for part_settings in settings.values():
        _check_settings(short(path), part_settings)
    return settings


def _select_part(raw: Settings, prefix: str) -> Settings:
    """The settings of one part; those without a prefix are for a file with one part."""
    names = [name for name in raw if name.startswith(prefix) or "." not in name]
    return {name.removeprefix(prefix): raw[name] for name in names}


def _check_settings(what: str, settings: Settings) -> None:
    others = [name for name in OTHER_SUMS if settings.get(name)]
    others += ["init_lora_weights"] if settings.get("init_lora_weights") not in STARTS else []
    others += ["peft_type"] if settings.get("peft_type", "LORA") != "LORA" else []
    for name in others:
        got = f"{settings[name]!r:.50}"
        raise ValueError(f"{what}: peft's setting {name} is not supported, got {got}")
    patterns = settings.get("alpha_pattern", {})
    if not isinstance(patterns, dict):
        raise ValueError(f"{what}: alpha_pattern must be a JSON object, got {patterns!r:.50}")
    for pattern, value in (("lora_alpha", settings.get("lora_alpha", 8)), *patterns.items()):
        _check_number(f"{what}: peft's alpha of {pattern}", value)
        try:
            re.compile(ENDS.format(pattern))
        except re.error:
            raise ValueError(f"{what}: alpha_pattern has a bad name, {pattern!r:.50}") from None


def _check_number(what: str, value: Any) -> float:
    """Return a number that float32 can hold; True, a text, infinity and NaN are not."""
    if type(value) not in (int, float) or not abs(value) <= torch.finfo(torch.float32).max:
        raise ValueError(f"{what} must be a finite number, got {value!r:.50}")
    return value

"""The settings that peft writes beside the tensors of an adapter: alphas, and other sums."""

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mdp_lite_weights.lora_keys import PEFT
from mdp_lite_weights.tensors import read_metadata, short

Settings = dict[str, Any]  # of peft's LoraConfig and its like, as JSON has them

ENDS = r"(.*\.)?({})$"  # peft's test of a name in alpha_pattern against a module's
TYPES = ("LORA", "LOHA", "LOKR", "IA3")
# peft's settings that change the sum in lora_formulas, unless they are empty.
OTHER_SUMS = (
    *("use_qalora", "use_bdlora", "lora_bias", "layer_replication", "fan_in_fan_out"),
    *("alora_invocation_tokens", "arrow_config", "kasa_config", "monteclora_config"),
    *("trainable_token_indices", "target_parameters", "modules_to_save"),
)
# peft's other initialisations change the model's weights too.
STARTS = (True, False, None, "gaussian", "orthogonal", "eva")


def read_settings(
    path: Path, tensors: dict[str, Tensor], parts: Iterable[str]
) -> dict[str, Settings]:
    """Read peft's settings by part, from the header (diffusers) or from a second file (peft)."""
    text = read_metadata(path).get("lora_adapter_metadata", "{}")
    alphas = any(key.endswith(".alpha") for key in tensors)
    try:
        if not alphas and any(key.startswith(PEFT) for key in tensors):
            text = (path.parent / "adapter_config.json").read_text("utf-8")
        raw = json.loads(text)
    except OSError:
        raise ValueError(f"{short(path)} needs the adapter_config.json that peft wrote") from None
    except (ValueError, RecursionError):
        raise ValueError(f"{short(path)}: peft's settings must be JSON, got {text!r:.50}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{short(path)}: peft's settings must be a JSON object, got {text!r:.50}")
    if raw and alphas:
        raise ValueError(f"{short(path)} has alphas in both its tensors and peft's settings")
    settings = {part: _select_part(raw, f"{part}.") for part in parts}
    for part_settings in settings.values():
        _check_settings(short(path), part_settings)
    return settings


def find_scale(
    what: str, rank: int | None, alpha: Tensor | None, settings: Settings, module: str
) -> float:
    """alpha / rank; alpha is a tensor of the file, a setting of peft, or else the rank.

    rank is None if no tensor has it (a LoKr of two whole matrices): peft then takes its setting,
    LyCORIS a scale of 1.
    """
    if alpha is not None:
        if alpha.numel() != 1:
            raise ValueError(f"{what}: alpha must be one number, got {list(alpha.shape)}")
        number = check_number(f"{what}: alpha", alpha.item())
        return 1.0 if rank is None else number / rank
    if not settings:
        return 1.0
    size: float = rank or _match(settings, "rank_pattern", module, settings.get("r", 8))
    chosen = _match(settings, "alpha_pattern", module, settings.get(_name_alpha(settings), 8))
    return chosen / (math.sqrt(size) if settings.get("use_rslora") else size)


def is_feedforward(settings: Settings, module: str) -> bool | None:
    """Whether an (IA)3 of peft scales a module's input; None if the settings don't say."""
    names = settings.get("feedforward_modules")
    if isinstance(names, str):
        return re.fullmatch(names, module) is not None
    return any(module.endswith(name) for name in names) if isinstance(names, list) else None


def check_number(what: str, value: Any) -> float:
    """Return a number that float32 can hold; True, a text, infinity and NaN are not."""
    if type(value) not in (int, float) or not abs(value) <= torch.finfo(torch.float32).max:
        raise ValueError(f"{what} must be a finite number, got {value!r:.50}")
    return value


def _match(settings: Settings, patterns: str, module: str, default: Any) -> Any:
    """The value of the first pattern that fits a module: 8 is peft's default, as of r."""
    values = settings.get(patterns) or {}
    names = (module, module.removeprefix("text_model."))
    fits = [p for p in values if any(re.match(ENDS.format(p), name) for name in names)]
    return values[fits[0]] if fits else default


def _name_alpha(settings: Settings) -> str:
    return "lora_alpha" if settings.get("peft_type", "LORA") == "LORA" else "alpha"


def _select_part(raw: Settings, prefix: str) -> Settings:
    """The settings of one part; those without a prefix are for a file with one part."""
    names = [name for name in raw if name.startswith(prefix) or "." not in name]
    return {name.removeprefix(prefix): raw[name] for name in names}


def _check_settings(what: str, settings: Settings) -> None:
    others = [name for name in OTHER_SUMS if settings.get(name)]
    others += ["init_lora_weights"] if settings.get("init_lora_weights") not in STARTS else []
    others += ["peft_type"] if settings.get("peft_type", "LORA") not in TYPES else []
    for name in others:
        got = f"{settings[name]!r:.50}"
        raise ValueError(f"{what}: peft's setting {name} is not supported, got {got}")
    alpha = _name_alpha(settings)
    _check_patterns(what, "alpha", {alpha: settings.get(alpha, 8)})
    _check_patterns(what, "rank", {"r": settings.get("r") or 8})
    for name in ("alpha", "rank"):
        _check_patterns(what, name, settings.get(f"{name}_pattern") or {})
    feedforward = settings.get("feedforward_modules")
    _check_patterns(what, "alpha", {feedforward: 1} if isinstance(feedforward, str) else {})


def _check_patterns(what: str, name: str, patterns: Any) -> None:
    """Patterns for names of modules, each with its alpha or its rank, which is not 0."""
    if not isinstance(patterns, dict):
        raise ValueError(f"{what}: {name}_pattern must be a JSON object, got {patterns!r:.50}")
    for pattern, value in patterns.items():
        check_number(f"{what}: peft's {name} of {pattern}", value)
        if name == "rank" and value <= 0:
            raise ValueError(f"{what}: peft's rank of {pattern} must be positive, got {value}")
        try:
            re.compile(ENDS.format(pattern))
        except re.error:
            raise ValueError(f"{what}: {name}_pattern has a bad name, {pattern!r:.50}") from None

"""LoRA files and their relatives, in the forms of all trainers: what they add to each weight."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mdp_lite_weights.families import INPAINTING, LATENT
from mdp_lite_weights.lora_families import check_family
from mdp_lite_weights.lora_formulas import (
    Delta,
    Factors,
    check_factors,
    find_rank,
    merge_deltas,
)
from mdp_lite_weights.lora_keys import BUNDLE, Modules, Shapes, group_by_module, refuse_others
from mdp_lite_weights.lora_settings import (
    Settings,
    check_number,
    find_scale,
    is_feedforward,
    read_settings,
)
from mdp_lite_weights.tensors import list_keys, read_tensors, short

__all__ = ["Delta", "Deltas", "Shapes", "merge_deltas", "read_lora", "read_loras"]

Deltas = dict[str, dict[str, list[Delta]]]  # part -> key -> deltas in the order of the files


def read_loras(files: Sequence[tuple[Path, float]], shapes: Shapes) -> Deltas:
    """Read LoRA files, each with its strength, for models with weights of these shapes."""
    deltas: Deltas = {part: {} for part in shapes}
    for path, strength in files:
        for part, found in read_lora(path, strength, shapes).items():
            for key, delta in found.items():
                deltas[part].setdefault(key, []).append(delta)
    return deltas


def read_lora(path: Path, strength: float, shapes: Shapes) -> dict[str, dict[str, Delta]]:
    """What a LoRA file adds, by part and key; raises ValueError if a tensor has no weight here.

    Only names, shapes and finite numbers are checked: changes are computed as weights are read.
    Words that come with a LoRA are left to embeddings.read_bundle.
    """
    check_number(f"the strength of {short(path)}", strength)
    tensors = read_tensors(path)
    try:
        return _read_tensors(path, tensors, strength, shapes)
    except ValueError:
        _check_family(path, tensors, shapes)  # it says more than that something does not fit
        raise


def _read_tensors(
    path: Path, tensors: Factors, strength: float, shapes: Shapes
) -> dict[str, dict[str, Delta]]:
    modules, strays = _sort_keys(path, tensors, shapes)
    settings = read_settings(path, tensors, shapes)
    deltas: dict[str, dict[str, Delta]] = {part: {} for part in shapes}
    for (part, key), found in modules.items():
        what = f"{short(path)}: {part}.{key}"
        deltas[part] |= _read_module(what, key, found, shapes[part], settings[part], strength)
    if strays:
        count = f"{len(strays)} of {len(tensors)} keys"
        raise ValueError(f"{short(path)}: {count} have no place in this model{list_keys(strays)}")
    return deltas


def _check_family(path: Path, tensors: Factors, shapes: Shapes) -> None:
    try:
        check_family(tensors, shapes)
    except ValueError as error:
        raise ValueError(f"{short(path)} {error}") from None


def _sort_keys(path: Path, tensors: dict[str, Tensor], shapes: Shapes) -> tuple[Modules, list[str]]:
    try:
        refuse_others(tensors)
    except ValueError as error:
        raise ValueError(f"{short(path)} {error}") from None
    found = {key: tensor for key, tensor in tensors.items() if not key.startswith(BUNDLE)}
    try:
        return group_by_module(found, shapes)
    except ValueError as error:
        raise ValueError(f"{short(path)}: {error}") from None


def _read_module(
    what: str,
    key: str,
    found: Factors,
    shapes: dict[str, torch.Size],
    settings: Settings,
    strength: float,
) -> dict[str, Delta]:
    """The change of a weight, and with peft's (IA)3 of the output also that of its bias."""
    kind, module = _find_kind(found), key.removesuffix(".weight")
    if kind == "(IA)3":
        return _read_ia3(what, key, found, shapes, settings, strength)
    factors = {role: tensor for role, tensor in found.items() if role != "alpha"}
    if "diff_b" in factors:  # alone: the key is that of the bias
        factors["diff"] = factors.pop("diff_b")
    _settle_magnitude(what, factors, settings)
    _widen(factors, shapes[key])
    check_factors(what, kind, factors, shapes[key])
    scale = find_scale(what, find_rank(factors), found.get("alpha"), settings, module)
    if kind == "difference":
        scale = 1.0
    check_number(f"{what}: its scale", strength * scale)
    return {key: Delta(kind, factors, scale, strength)}


def _find_kind(found: Factors) -> str:
    """The kind of a module by the roles of its tensors; a bare alpha counts as a LoRA's."""
    for role in found:
        if role.startswith(("hada_", "lokr_")):
            return "LoHa" if role.startswith("hada_") else "LoKr"
        if role in ("ia3_l", "ia3_w", "on_input"):
            return "(IA)3"
        if role in ("diff", "diff_b"):
            return "difference"
    return "LoRA"


def _widen(factors: Factors, shape: torch.Size) -> None:
    """Fit a plain model's change of the first convolution to an inpainting UNet's.

    What that UNet reads beside the latent stays as it is, as in A1111's web UI.
    """
    for role in ("down", "diff"):
        found = factors.get(role)
        plain = found is not None and found.ndim == len(shape) == 4 and found.shape[1] == LATENT
        if found is not None and plain and shape[1] == INPAINTING:
            factors[role] = F.pad(found, (0, 0, 0, 0, 0, INPAINTING - LATENT))


def _settle_magnitude(what: str, factors: Factors, settings: Settings) -> None:
    """Give a DoRA's magnitude one name; peft's is always for outputs, so it becomes a vector."""
    if "magnitude" in factors:
        factors["magnitude"] = factors["magnitude"].flatten()
    elif "dora_scale" in factors:
        factors["magnitude"] = factors.pop("dora_scale")
    elif settings.get("use_dora"):
        raise ValueError(f"{what}: peft's setting use_dora wants a lora_magnitude_vector, got none")


def _read_ia3(
    what: str,
    key: str,
    found: Factors,
    shapes: dict[str, torch.Size],
    settings: Settings,
    strength: float,
) -> dict[str, Delta]:
    """(IA)3 scales the inputs or the outputs of a weight; peft's of outputs scales the bias too.

    peft stores the scale, LyCORIS the scale less 1.
    """
    role = "ia3_l" if "ia3_l" in found else "ia3_w"
    if set(found) != ({"ia3_l"} if role == "ia3_l" else {"ia3_w", "on_input"}):
        raise ValueError(f"{what} must have an (IA)3's ia3_l, or weight and on_input, only")
    vector, shape = found[role], shapes[key]
    axis = (
        int(bool(found["on_input"].any()))
        if role == "ia3_w"
        else _find_axis(what, vector, shape, settings, key.removesuffix(".weight"))
    )
    if vector.numel() != shape[axis]:
        got = list(vector.shape)
        raise ValueError(f"{what}: its (IA)3 does not fit the weight's {list(shape)}: got {got}")
    check_factors(what, "(IA)3", {"ia3": vector.flatten()}, torch.Size([vector.numel()]))
    change = vector.flatten().float() - (1 if role == "ia3_l" else 0)
    around = [-1 if i == axis else 1 for i in range(len(shape))]
    deltas = {key: Delta("(IA)3", {"ia3": change.view(around)}, 1.0, strength)}
    bias = f"{key.removesuffix('.weight')}.bias"
    if role == "ia3_l" and axis == 0 and bias in shapes:
        deltas[bias] = Delta("(IA)3", {"ia3": change}, 1.0, strength)
    return deltas


def _find_axis(
    what: str, vector: Tensor, shape: torch.Size, settings: Settings, module: str
) -> int:
    """0 if peft's vector scales outputs, 1 if inputs: its shape says it, or the settings do."""
    if vector.ndim == 2:  # [out, 1] or [1, in]
        return int(len(vector) == 1 < shape[0])
    feedforward = is_feedforward(settings, module)
    if feedforward is None and shape[0] == shape[1]:
        raise ValueError(f"{what}: its (IA)3 needs peft's adapter_config.json: inputs or outputs?")
    return int(vector.numel() == shape[1] if feedforward is None else feedforward)

"""Names in LoRA files: which weight of the model a key belongs to, and what it says of it."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite_weights.keys import ldm_unet_key
from mdp_lite_weights.tensors import list_keys

Shapes = dict[str, dict[str, torch.Size]]  # part ("unet", "text_encoder") -> key -> shape
Place = tuple[str, str]  # a part, and the key of one of its weights or biases
Modules = dict[Place, dict[str, Tensor]]  # of each the tensors of the file, by their role


class Ending(NamedTuple):
    """The end of a key after the name of its module, the role of its tensor and its kind of file.

    The role is one of those that lora_formulas reads, "" for the group 1 of the pattern.
    """

    pattern: str
    role: str
    kind: str


ADAPTER = r"(?:\.[^.]+)?"  # the name that peft has for an adapter: "default", or none
# Before the ending, in diffusers: ...to_q.lora.down.weight, ...q_proj.lora_linear_layer.down.weight
# and its first form, ...attn1.processor.to_q_lora.down.weight.
OLD = r"(?:\.lora|\.lora_linear_layer|_lora)"
ENDINGS = tuple(
    Ending(f"{pattern}$", role, kind)
    for pattern, role, kind in (
        (r"\.lora_(down|up|mid)\.weight", "", "LoRA"),  # kohya, LyCORIS
        (rf"\.lora_A{ADAPTER}\.weight", "down", "LoRA"),  # peft
        (rf"\.lora_B{ADAPTER}\.weight", "up", "LoRA"),
        (rf"{OLD}\.(down|up)\.weight", "", "LoRA"),
        (rf"{OLD}?\.alpha", "alpha", "LoRA"),
        (r"\.dora_scale", "dora_scale", "DoRA"),  # LyCORIS
        (rf"\.lora_magnitude_vector{ADAPTER}(?:\.weight)?", "magnitude", "DoRA"),  # peft
        (rf"\.(hada_(?:w[12]_[ab]|t[12])){ADAPTER}", "", "LoHa"),
        (rf"\.(lokr_(?:w[12](?:_[ab])?|t2)){ADAPTER}", "", "LoKr"),
        (rf"\.(ia3_l){ADAPTER}", "", "(IA)3"),  # peft
        (r"\.(on_input)", "", "(IA)3"),  # LyCORIS, with a .weight
        (r"\.(?:diff|w_norm)", "diff", "full difference"),
        (r"\.(?:diff_b|b_norm)", "diff_b", "full difference"),
    )
)
PREFIXES = {  # before a name with dots: diffusers, OneTrainer, ComfyUI, single files
    "unet": ("", "unet.", "lora_unet.", "diffusion_model.", "model.diffusion_model."),
    "text_encoder": (
        *("", "text_encoder.", "lora_te.", "lora_te1.", "clip_l.", "cond_stage_model.transformer."),
        *("clip_l.transformer.", "text_encoders.clip_l.transformer."),  # SD 1.x
        *("clip_h.transformer.", "text_encoders.clip_h.transformer."),  # SD 2.x
        "conditioner.embedders.0.transformer.",  # SDXL
    ),
    "text_encoder_2": (
        *("text_encoder_2.", "lora_te2.", "clip_g."),
        *("clip_g.transformer.", "text_encoders.clip_g.transformer."),
    ),
}
KOHYA = {  # before a name in which each dot is a _
    "unet": ("lora_unet_", "lycoris_"),
    "text_encoder": ("lora_te_", "lora_te1_"),
    "text_encoder_2": ("lora_te2_",),
}
# Where the three levels of SDXL have other names in LDM than the first three of SD 1.x.
THREE_LEVELS = (
    ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
    *((f"up_blocks.0.attentions.{i}", f"output_blocks.{i}.1") for i in range(3)),
    ("up_blocks.0.upsamplers.0.conv", "output_blocks.2.2.conv"),
)
PEFT = "base_model.model."  # before every name in a file that peft itself wrote
BUNDLE = "bundle_emb."  # before the learned words that come with a LoRA

# What can't be merged: a pattern in a key, and its kind.
OTHERS = {
    r"\boft_": "an OFT",
    r"\.boft_": "a BOFT",
    r"\.[ab][12]\.weight$|\.bm\.weight$": "a GLoRA",
    "vera_lambda": "a VeRA",
    r"^transformer\.(?!text_model|resblocks)": "a LoRA for SD3, FLUX or another transformer",
    "double_blocks": "a LoRA for FLUX or another transformer",
    "joint_blocks": "a LoRA for SD3",
}


def refuse_others(keys: Iterable[str]) -> None:
    """Raises ValueError for a file with keys of another kind, and counts those of each kind."""
    kinds = {key: _find_kind(key) for key in keys}
    if not kinds.keys() - {key for key, kind in kinds.items() if kind == "unknown"}:
        got = f"{len(kinds)} tensors{list_keys(list(kinds), 1)}"
        raise ValueError(f"is not a LoRA: no tensor is named as one's, got {got}")
    for kind in OTHERS.values():
        found = [key for key in kinds if kinds[key] == kind]
        if found:
            rest = Counter(one for one in kinds.values() if one != kind)
            named = ", ".join(f"{count} of {one}" for one, count in rest.most_common()) or "no more"
            raise ValueError(
                f"is {kind}, which is not supported: {len(found)} of {len(kinds)} keys"
                f"{list_keys(found, 1)}; the rest: {named}"
            )


def group_by_module(tensors: Mapping[str, Tensor], shapes: Shapes) -> tuple[Modules, list[str]]:
    """The tensors of a file by the weight that they change, and the keys without a weight."""
    names = dict(_list_names(shapes))
    modules: Modules = {}
    strays: list[str] = []
    for key, tensor in tensors.items():
        name, role = split_key(key)
        if key.endswith(".weight") and f"{key.removesuffix('.weight')}.on_input" in tensors:
            name, role = _clean(key).removesuffix(".weight"), "ia3_w"
        place = _find_place(names.get(name), role, shapes) if role else None
        if place is None:
            strays.append(key)
        elif role in modules.setdefault(place, {}):
            raise ValueError(f"{key} is there twice, under two names")
        else:
            modules[place][role] = tensor
    return modules, strays


def split_key(key: str) -> tuple[str, str]:
    """The module's name in a key and the role of its tensor; the role is "" if it has none."""
    name = _clean(key)
    for pattern, role, _ in ENDINGS:
        if found := re.search(pattern, name):
            return name[: found.start()], role or found[1]
    return name, ""


def _clean(key: str) -> str:
    return key.removeprefix(PEFT).replace(".processor.", ".")


def _find_kind(key: str) -> str:
    for pattern, kind in OTHERS.items():
        if re.search(pattern, key):
            return kind
    if key.startswith(BUNDLE):
        return "bundled words"
    return next((kind for end, _, kind in ENDINGS if re.search(end, _clean(key))), "unknown")


def _find_place(module: Place | None, role: str, shapes: Shapes) -> Place | None:
    """The weight or the bias of a module that a role is about, if the module has one."""
    if module is None:
        return None
    part, name = module
    key = f"{name}.bias" if role == "diff_b" else f"{name}.weight"
    shape = shapes[part].get(key)
    vectors = role in ("diff", "diff_b")  # only these are for norms too
    return None if shape is None or (len(shape) < 2 and not vectors) else (part, key)


def _list_names(shapes: Shapes) -> Iterator[tuple[str, Place]]:
    """Every name that a file may use for a module, with the part and the module's name."""
    levels = len({key.split(".")[1] for key in shapes["unet"] if key.startswith("down_blocks.")})
    for part, keys in shapes.items():
        for key in keys:
            module = key.removesuffix(".weight")
            if key != module:
                for name in _list_spellings(part, module, levels):
                    flat = name.replace(".", "_")
                    yield from ((prefix + name, (part, module)) for prefix in PREFIXES[part])
                    yield from ((prefix + flat, (part, module)) for prefix in KOHYA[part])


def _list_spellings(part: str, module: str, levels: int) -> Iterator[str]:
    """A module's name today, in the first diffusers, and in other layouts."""
    yield module
    if part == "unet":
        yield re.sub(r"\.to_out\.0$", ".to_out", module)
        yield _name_ldm(module, levels)
    else:
        yield re.sub(r"\.(\w+)_proj$", r".to_\1", module)
        yield module.removeprefix("text_model.")  # transformers 5


def _name_ldm(module: str, levels: int) -> str:
    """A UNet module's name in single files, by the number of its levels."""
    for name, ldm in THREE_LEVELS if levels == 3 else ():
        if module == name or module.startswith(f"{name}."):
            return ldm + module.removeprefix(name)
    return ldm_unet_key(module)

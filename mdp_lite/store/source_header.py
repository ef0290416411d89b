"""What a source's file says of it: its settings, each of its type, and the sum over it all."""

import hashlib
import json
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from mdp_lite.pipeline import check
from mdp_lite.pipeline.inversion_methods import Inversion, settled
from mdp_lite.pipeline.result import Tuning

FORMAT = 2
HEADER = "mdp_lite.source"  # in the metadata: the settings, and a SHA-256 over them and all tensors
MOST_HEADER = 2**20  # bytes; ours take some thousand
SETTINGS = {
    "format": int,
    "mdp_lite": str,
    "torch": str,
    "model": str,
    "model_sha256": str,
    "dtype": str,
    "scheduler": dict,
    "prompt": str,
    "negative_prompt": str,
    "guidance_scale": float,
    "seed": int | None,
    "inversion": dict | None,
    "tuning": list,
    "frame": dict,
    "truncated": bool,
    "unet_rows": int,
    "unet_calls": int,
    "backward_rows": int,
}

Settings = dict[str, Any]
Tensors = dict[str, Tensor]


def header(settings: Settings, tensors: Tensors) -> str:
    """The settings with the sum that tells whether they and the tensors are as they were."""
    total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return json.dumps({"sha256": total.hexdigest(), **settings})


def metadata(head: bytes) -> Settings:
    """The metadata of a safetensors file's head, or none."""
    try:
        found = json.loads(head)["__metadata__"]
    except (TypeError, KeyError):
        return {}
    except (ValueError, RecursionError):
        raise ValueError("no readable safetensors file") from None
    return found if isinstance(found, dict) else {}


def parsed(text: str) -> Settings:
    """The settings of a file of this format."""
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise ValueError("damaged: its settings are no JSON object")
    if settings.get("format") != FORMAT:
        raise ValueError(f"has format {settings.get('format')!r}, this version reads {FORMAT}")
    return settings


def checked(settings: Settings) -> Settings:
    """Settings that are all there, each of its type."""
    for name, kind in SETTINGS.items():
        if name not in settings or not _is_a(settings[name], kind):
            raise ValueError(f"{name} must be of type {kind}, got {settings.get(name)!r:.80}")
    return settings


def _is_a(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def inversion(saved: Settings | None, n: int) -> Inversion | None:
    """The inversion that was asked for."""
    if saved is None:
        return None
    if set(saved) != {field.name for field in fields(Inversion)}:
        raise ValueError(f"inversion must have the settings of an Inversion, got {saved!r:.80}")
    return settled(Inversion(**saved), n)


def tuning(saved: list[Any]) -> tuple[Tuning, ...]:
    """What null-text inversion noted of each step."""
    for one in saved:
        if not (isinstance(one, list) and len(one) == 2 and type(one[0]) is int):
            raise ValueError(f"tuning must be pairs of iterations and loss, got {one!r:.80}")
        check.number("the loss of a step", one[1])
    return tuple(Tuning(*one) for one in saved)

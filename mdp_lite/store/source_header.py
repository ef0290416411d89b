"""The header of a saved source: its settings, each of its type, and a SHA-256 over everything."""

import hashlib
import json
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from mdp_lite.names import BadInput
from mdp_lite.pipeline import check
from mdp_lite.pipeline.inversion_methods import Inversion, resolve_inversion
from mdp_lite.pipeline.result import Tuning

FORMAT = 4
HEADER = "mdp_lite.source"  # in the metadata: the settings, and a SHA-256 over them and all tensors
MAX_HEADER = 2**20  # bytes; ours take some thousand
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
    "xl": dict,
    "guidance_scale": float,
    "seed": int | None,
    "inversion": dict | None,
    "tuning": list,
    "fit": dict,
    "truncated": bool,
    "unet_rows": int,
    "unet_calls": int,
    "backward_rows": int,
}

Settings = dict[str, Any]
Tensors = dict[str, Tensor]


def header(settings: Settings, tensors: Tensors) -> str:
    """The settings as JSON, with the SHA-256 over them and the tensors."""
    total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return json.dumps({"sha256": total.hexdigest(), **settings})


def read_metadata(head: bytes) -> Settings:
    """The metadata in the head of a safetensors file; empty if it has none."""
    try:
        found = json.loads(head)["__metadata__"]
    except (TypeError, KeyError):
        return {}
    except (ValueError, RecursionError):
        raise BadInput("no readable safetensors file") from None
    return found if isinstance(found, dict) else {}


def parse_settings(text: str) -> Settings:
    """The settings in a header of this format."""
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise BadInput("damaged: its settings are no JSON object")
    if settings.get("format") != FORMAT:
        raise BadInput(f"has format {settings.get('format')!r}, this version reads {FORMAT}")
    return settings


def check_settings(settings: Settings) -> Settings:
    """The settings, if all are there and each has its type."""
    for name, kind in SETTINGS.items():
        if name not in settings or not _is_a(settings[name], kind):
            raise BadInput(f"{name} must be of type {kind}, got {settings.get(name)!r:.80}")
    return settings


def _is_a(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def read_inversion(saved: Settings | None, n: int) -> Inversion | None:
    """The inversion of the source; None for a generated one."""
    if saved is None:
        return None
    if set(saved) != {field.name for field in fields(Inversion)}:
        raise BadInput(f"inversion must have the settings of an Inversion, got {saved!r:.80}")
    return resolve_inversion(Inversion(**saved), n)


def read_tuning(saved: list[Any]) -> tuple[Tuning, ...]:
    """How null-text inversion tuned each step."""
    for one in saved:
        if not (isinstance(one, list) and len(one) == 2 and type(one[0]) is int):
            raise BadInput(f"tuning must be pairs of iterations and loss, got {one!r:.80}")
        check.number("the loss of a step", one[1])
    return tuple(Tuning(*one) for one in saved)

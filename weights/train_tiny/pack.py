"""A training in a small file, to be committed: halves, and the optimiser's state in 8 bits.

A part that is done has its averaged weights alone. One in training has its weights too, and with
AdamW the root of the second moment, which the next machine would need a hundred steps to find
again; a momentum, which is all that Muon has, is found again in ten.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from train_tiny.fit import load, save
from train_tiny.optimizers import make_optimizers
from train_tiny.recipe import PARTS, Recipe

LIMIT = 40_000_000  # bytes of a committed file
TOP = 448.0  # largest number of float8_e4m3fn


class Progress(NamedTuple):
    """How far a part is: optimiser steps, seconds, done or not, what is trained, and how."""

    step: int
    spent: float
    done: bool
    names: list[str]
    muon: bool


def pack(recipe: Recipe, work: Path, path: Path) -> dict[str, Progress]:
    """Write all parts that work has to one safetensors file; says how far each is.

    Raises ValueError if there is none, or if the file is larger than LIMIT.
    """
    tensors: dict[str, Tensor] = {}
    found: dict[str, Progress] = {}
    for part in PARTS:
        state = load(work / f"{part}.pt")
        if state:
            settings = getattr(recipe, f"{part}_training")
            done = bool(settings.steps) and state["step"] >= settings.steps
            found[part] = Progress(
                state["step"],
                state["spent"],
                done,
                [] if done else state["names"],
                settings.muon,
            )
            tensors |= {f"{part}.{key}": t for key, t in pack_part(state, found[part]).items()}
    if not found:
        raise ValueError(f"nothing to pack: want some of {', '.join(PARTS)} as .pt in {work.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, {"progress": json.dumps(found)})
    size = path.stat().st_size
    if size > LIMIT:
        raise ValueError(f"{path.name} has {size} bytes, want {LIMIT} at most")
    return found


def describe(found: dict[str, Progress]) -> str:
    """As in: vae done at step 6000, unet at step 120."""
    return ", ".join(f"{k} {'done ' * v.done}at step {v.step}" for k, v in found.items())


def pack_part(state: dict[str, Any], progress: Progress) -> dict[str, Tensor]:
    """A part's averaged weights as halves; if it is not done also its weights and its moments."""
    tensors = {f"ema.{name}": _half(t) for name, t in state["ema"].items()}
    if progress.done:
        return tensors
    tensors |= {f"model.{name}": _half(t) for name, t in state["model"].items()}
    return tensors if progress.muon else tensors | pack_moments(state)


def pack_moments(state: dict[str, Any]) -> dict[str, Tensor]:
    """The roots of AdamW's second moments in 8 bits, each with its scale."""
    tensors = {}
    moments = state["optimizers"][0]["state"]
    for name, i in zip(state["names"], sorted(moments), strict=True):
        root = moments[i]["exp_avg_sq"].sqrt()
        scale = root.max().clamp_min(1e-30) / TOP
        tensors[f"root.{name}"] = (root / scale).to(torch.float8_e4m3fn).contiguous()
        tensors[f"scale.{name}"] = scale.reshape(1)
    return tensors


def _half(tensor: Tensor) -> Tensor:
    return tensor.half().contiguous()


def unpack(path: Path, work: Path) -> dict[str, Progress]:
    """Write the parts of a packed file as checkpoints in work, which then resume."""
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
        progress = json.loads(file.metadata()["progress"])
    found = {part: Progress(*values) for part, values in progress.items()}
    for part, values in found.items():
        prefix = f"{part}."
        own = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
        save(work / f"{part}.pt", unpack_part(own, values))
    return found


def unpack_part(tensors: dict[str, Tensor], progress: Progress) -> dict[str, Any]:
    """The checkpoint of a part as fit reads it."""
    ema = _under(tensors, "ema.")
    return {
        "model": _under(tensors, "model.") or ema,
        "ema": ema,
        "names": progress.names,
        "optimizers": unpack_moments(tensors, progress),
        "step": progress.step,
        "spent": progress.spent,
    }


def unpack_moments(tensors: dict[str, Tensor], progress: Progress) -> list[dict[str, Any]]:
    """AdamW's state, with no momentum; nothing of a part that is done or that Muon trains."""
    names = progress.names
    if not names or progress.muon:
        return []
    roots, scales = _under(tensors, "root."), _under(tensors, "scale.")
    parameters = {name: nn.Parameter(torch.zeros(1)) for name in names}
    state = make_optimizers(parameters, use_muon=False)[0].state_dict()
    state["state"] = {
        i: {
            "step": torch.tensor(float(progress.step)),
            "exp_avg": torch.zeros_like(roots[name]),
            "exp_avg_sq": (roots[name] * scales[name]).square(),
        }
        for i, name in enumerate(names)
    }
    return [state]


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it, as float32."""
    return {k.removeprefix(prefix): t.float() for k, t in tensors.items() if k.startswith(prefix)}

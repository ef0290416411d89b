"""A training in a small file, to be committed: weights as halves.

A part that is done has its averaged weights alone, one in training its weights too. The state of
the optimisers is not there: Muon finds its momentum again in ten steps, and AdamW, which trains the
biases, norms and embeddings, its moments in some hundred.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from mdp_lite.names import BadInput
from train_tiny.fit import load
from train_tiny.fit import save as save_checkpoint
from train_tiny.recipe import PARTS, Recipe

LIMIT = 40_000_000  # bytes of a committed file


class Progress(NamedTuple):
    """How far a part is: optimiser steps, seconds, done or not, and what is trained."""

    step: int
    spent: float
    done: bool
    names: list[str]


def pack(recipe: Recipe, work: Path, path: Path) -> dict[str, Progress]:
    """Write all parts that work has to one safetensors file; says how far each is.

    Raises BadInput if there is none, or if the file would be larger than LIMIT.
    """
    states = {part: state for part in PARTS if (state := load(work / f"{part}.pt"))}
    if not states:
        raise BadInput(f"nothing to pack: want some of {', '.join(PARTS)} as .pt in {work.name}")
    found = {part: read_progress(recipe, part, state) for part, state in states.items()}
    tensors = {
        f"{part}.{key}": tensor
        for part, state in states.items()
        for key, tensor in pack_part(state, found[part]).items()
    }
    data = save(tensors, {"progress": json.dumps(found)})
    if len(data) > LIMIT:
        raise BadInput(f"{path.name} would have {len(data)} bytes, want {LIMIT} at most")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return found


def read_progress(recipe: Recipe, part: str, state: dict[str, Any]) -> Progress:
    """How far the checkpoint of a part is."""
    settings = getattr(recipe, f"{part}_training")
    done = bool(settings.steps) and state["step"] >= settings.steps
    return Progress(state["step"], state["spent"], done, [] if done else state["names"])


def describe(found: dict[str, Progress]) -> str:
    """As in: vae done at step 6000, unet at step 120."""
    return ", ".join(f"{k} {'done ' * v.done}at step {v.step}" for k, v in found.items())


def pack_part(state: dict[str, Any], progress: Progress) -> dict[str, Tensor]:
    """A part's averaged weights as halves; if it is not done also its weights."""
    kept = ("ema",) if progress.done else ("ema", "model")
    return {f"{one}.{name}": _half(t) for one in kept for name, t in state[one].items()}


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
        save_checkpoint(work / f"{part}.pt", unpack_part(own, values))
    return found


def unpack_part(tensors: dict[str, Tensor], progress: Progress) -> dict[str, Any]:
    """The checkpoint of a part as fit reads it."""
    ema = _under(tensors, "ema.")
    return {
        "model": _under(tensors, "model.") or ema,
        "ema": ema,
        "names": progress.names,
        "optimizers": [],
        "step": progress.step,
        "spent": progress.spent,
    }


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it, as float32."""
    return {k.removeprefix(prefix): t.float() for k, t in tensors.items() if k.startswith(prefix)}

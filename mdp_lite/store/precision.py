"""The dtype of latents in a saved source, which is that of the device where it was made."""

import torch

from mdp_lite.files.atomic import warn_once
from mdp_lite.method.sample import Trajectory
from mdp_lite.pipeline.runner import ModelRunner
from mdp_lite.store.source_header import Tensors

WIDE = {"x", "eps", "noise", "channels", "direction"}  # the parts of a path that are wide
ROUNDED = "a saved source has float64 latents: they are rounded to float32, as mps has no float64"
WIDENED = "a saved source has float32 latents, as it was made on mps: here edits start from them"


def find_wide(tensors: Tensors) -> torch.dtype:
    """The wide dtype of a file, by its grid: float64, or float32 if it was made on mps."""
    return torch.float32 if tensors["a"].dtype == torch.float32 else torch.float64


def place_path(tensors: Tensors, runner: ModelRunner) -> Trajectory:
    """The path of a file on the runner's device, in its wide dtype; another dtype is logged once.

    float32 to float64 and back loses nothing, so a source made on mps comes back there unchanged.
    """
    path = {name: tensors[name] for name in Trajectory._fields if name in tensors}
    if find_wide(tensors) != runner.wide:
        warn_once(ROUNDED if runner.wide == torch.float32 else WIDENED)
        path |= {name: path[name].to(runner.wide) for name in WIDE & path.keys()}
    return Trajectory(**{name: part.to(runner.device) for name, part in path.items()})

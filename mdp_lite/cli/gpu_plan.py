"""What `info` and `plan` say about a GPU: what fits, and what waits on the CPU for it."""

from typing import Any

import torch

from mdp_lite.checkpoint.assign import auto_dtype
from mdp_lite.checkpoint.load import Examined
from mdp_lite.cli.units import SIZES, format_count
from mdp_lite.engine.edit_bytes import EditSize
from mdp_lite.engine.gpu import GpuSettings, find_budget
from mdp_lite.engine.placement import RESERVE_BYTES, describe_placement
from mdp_lite.pipeline.gpu_models import facts_of_checkpoint, place_edit

CUDA = torch.device("cuda")


def plan_gpu(
    examined: Examined, device: torch.device, gpu: GpuSettings, dtype: torch.dtype | None,
    mode: str, size: EditSize,
) -> dict[str, Any] | None:  # fmt: skip
    """Where the parts of a checkpoint lie for edits of a size, for --json.

    It is of the GPU here, or of one with as much memory as gpu says; None with neither. Without a
    dtype it is the default on a GPU.
    """
    if device.type != "cuda" and gpu.memory is None:
        return None
    dtype = dtype or auto_dtype(CUDA, examined.found.tensors["unet"])
    budget = find_budget(device, gpu)
    found = place_edit(facts_of_checkpoint(examined, dtype), size, gpu, mode, budget)
    return {
        "picture": f"{size.width}x{size.height}",
        "dtype": str(dtype).removeprefix("torch."),
        "memory_bytes": budget + RESERVE_BYTES,
        "budget_bytes": max(budget, 0),
        **found._asdict(),
        "placement": describe_placement(found),
    }


def format_gpu(found: dict[str, Any]) -> list[str]:
    """The same as lines for people."""
    fits = "fits" if found["fits"] else "does not fit"
    peak = format_count(found["peak_bytes"], SIZES)
    line = f"{found['picture']} in {found['dtype']} {fits}: {peak} at most, {_format_budget(found)}"
    return [line, found["placement"]]


def _format_budget(found: dict[str, Any]) -> str:
    """What of a GPU can be used; if that is nothing, also why."""
    budget, memory, reserve = (
        format_count(size, SIZES)
        for size in (found["budget_bytes"], found["memory_bytes"], RESERVE_BYTES)
    )
    if found["budget_bytes"]:
        return f"{budget} can be used"
    return f"{budget} of {memory} can be used, as {reserve} is reserved for CUDA"

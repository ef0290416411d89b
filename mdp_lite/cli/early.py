"""What only a checkpoint's schedule can refuse is refused when no weight has been read yet."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from mdp_lite.checkpoint.load import Examined
from mdp_lite.cli.commands.sweep import SweepOptions
from mdp_lite.cli.edit_options import EditOptions
from mdp_lite.cli.model_options import SamplingOptions
from mdp_lite.method.schedule import ddim_grid
from mdp_lite.names import VARIANTS
from mdp_lite.pipeline import check
from mdp_lite.pipeline.request import build_weights

Number = float | None
Window = tuple[str | None, Number, Number, str | None, Number, Number]


def check_schedule(args: Any, examined: Examined) -> None:
    """Raise BadInput for steps, sizes and windows of a command line that do not fit the model.

    A saved source has its own steps: its windows are checked when it has been read.
    """
    sampling: SamplingOptions | None = getattr(args, "sampling", None)
    _check_size(args if sampling is None else sampling, examined)
    source = getattr(getattr(args, "source", None), "picture", None)
    if sampling is None or (source is not None and source.endswith(".safetensors")):
        return
    n = sampling.steps
    n = examined.defaults.num_inference_steps if n is None else n
    ddim_grid(examined.scheduler, n)
    for window in _list_windows(args):
        build_weights(n, examined.defaults, *window)


def _check_size(options: Any, examined: Examined) -> None:
    factor = examined.models["vae"].config.factor
    for name in ("width", "height"):
        side = getattr(options, name, None)
        if side is not None:
            check.side(name, side, factor)


def _list_windows(args: Any) -> Iterator[Window]:
    """Variant, t_max, t_m, schedule, strength and weight of each edit of a command line."""
    edit: EditOptions | None = getattr(args, "edit", None)
    if edit is not None:
        for variant in VARIANTS if edit.variant == "all" else (edit.variant,):
            yield variant, edit.t_max, edit.t_m, edit.schedule, edit.strength, edit.weight
    if isinstance(args, SweepOptions):
        grid = args.grid
        none = (None,)
        lists = (grid.variants or none, grid.t_max or none, grid.t_m or none)
        for variant, t_max, t_m, schedule in product(*lists, grid.schedules or none):
            yield variant, t_max, t_m, schedule, None, None

"""What only a checkpoint's schedule can refuse is refused when no weight has been read yet."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

from mdp_lite.checkpoint.load import Examined
from mdp_lite.cli.commands.sweep import SweepOptions
from mdp_lite.cli.edit_options import EditOptions
from mdp_lite.cli.requests import read_xl_options
from mdp_lite.cli.sampling_options import SamplingOptions
from mdp_lite.cli.xl import check_xl, name_option
from mdp_lite.method.schedule import ddim_grid
from mdp_lite.names import VARIANTS
from mdp_lite.pipeline import check
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD
from mdp_lite.pipeline.noise import will_record_noise
from mdp_lite.pipeline.request import build_weights

Number = float | None
Window = tuple[str | None, Number, Number, str | None, Number, Number]


def check_schedule(args: Any, examined: Examined) -> None:
    """Raise BadInput for steps, sizes, windows and SDXL's options that do not fit the model.

    A saved source has its own steps: its windows are checked when it has been read.
    """
    sampling: SamplingOptions | None = getattr(args, "sampling", None)
    _check_size(args if sampling is None else sampling, examined)
    if sampling is not None:
        _check_xl(args, sampling, examined)
    source = getattr(getattr(args, "source", None), "picture", None)
    if sampling is None or (source is not None and source.endswith(".safetensors")):
        return
    n, noisy = sampling.count_steps(examined.defaults), _records_noise(args, examined)
    ddim_grid(examined.scheduler, n)
    for window in _list_windows(args):
        build_weights(n, examined.defaults, *window, noisy)


def _records_noise(args: Any, examined: Examined) -> bool:
    """Whether the source will have recorded noise; of a batch each row says what its source is."""
    source = getattr(args, "source", None)
    if source is None:
        return False
    method = None if source.picture is None else args.inversion.method or DEFAULT_METHOD
    return will_record_noise(examined.scheduler, method, source.record_noise)


def _check_size(options: Any, examined: Examined) -> None:
    factor = examined.models["vae"].config.factor
    for name in ("width", "height"):
        side = getattr(options, name, None)
        if side is not None:
            check.side(name, side, factor)


def _check_xl(args: Any, sampling: SamplingOptions, examined: Examined) -> None:
    """Raise BadInput for what a model with one text encoder would not read."""
    config, negative = examined.models["unet"].config, sampling.negative_prompt
    xl = read_xl_options(sampling.xl, sampling.xl.prompt_2)
    prompts = getattr(args, "prompt", None)
    if prompts is None:  # a batch: rows may have texts that are equal
        sizes = replace(xl, prompt_2=None, negative_prompt_2=None)
        return check_xl(config, sizes, "", "", label=name_option)
    for prompt in (prompts,) if isinstance(prompts, str) else prompts:
        check_xl(config, xl, prompt, negative, label=name_option)
    source = getattr(args, "source", None)
    if source is not None and source.source_prompt_2:
        own = read_xl_options(sampling.xl, source.source_prompt_2, "source_prompt_2")
        first = source.source_prompt or ""
        check_xl(config, own, first, negative, "source_prompt_2", name_option)


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

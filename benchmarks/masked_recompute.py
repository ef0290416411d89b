"""Masked edits that compute the mask's rectangle alone: seconds, FLOPs and memory.

    python -m benchmarks.masked_recompute seconds --size sd15 --models FOLDER    # three minutes
    python -m benchmarks.masked_recompute flops --size sd15 --models FOLDER      # one minute

"seconds" times one guided step in turns: whole, while it is recorded, and of windows of several
shares of the map, each with the halo that edits compute too. It says what a window costs by its
FLOPs, where its time goes, and what the recorded steps of an edit take. "flops" says what windows
cost with other halos. --out adds the figures to a JSON file. How near such edits are to those
whose every step is whole is what masked_quality.py measures.
"""

import argparse
import math
import shlex
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import profile

from benchmarks.record import RESULTS, Recorder
from benchmarks.sides import Inputs, Model, inputs, model_of, ours
from mdp_lite.engine import flops
from mdp_lite.engine.pages import Pages
from mdp_lite.engine.windowed import WindowedUNet
from mdp_lite.engine.windows import Window
from mdp_lite.pipeline.recompute import HALO

SHARES = (0.05, 0.1, 0.17, 0.3, 0.5)  # of the map's cells, without the halo
WHOLE, CLOSER = "mdp_lite whole", 0.17  # the share that is also recorded and looked into
CALLS = 33  # steps of an edit in 50 steps with the default window, each with two rows
HALOS = (0, 1, 2, 3, 4, 6, 8)


def choose_window(side: int, share: float, halo: int = HALO) -> Window:
    """A square of so much of a map, off the grid of the lower levels, with the halo."""
    length = round(math.sqrt(share) * side)
    top, left = (side - length) // 2 + 1, max((side - length) // 2 - 1, 0)
    return Window(top, top + length, left, left + length).grow(halo).clip((side, side))


def measure_seconds(
    model: Model, dtype: torch.dtype, recorder: Recorder, halo: int
) -> dict[str, Any]:
    """A guided step of each kind in turns, and what each window costs and keeps."""
    editor = ours(model, dtype, ["eager"])["eager"]
    engine, config, call = editor.runner.engine, editor.models.unet.config, inputs(model, 2)
    call, side = call.to(dtype), call.x.shape[-1]
    want, windows = engine.denoise(*call), dict[str, Any]()
    sides: dict[str, Callable[[], object]] = {WHOLE: partial(engine.denoise, *call)}
    for share in SHARES:
        window, name = choose_window(side, share, halo), f"mdp_lite window {share:g}"
        windowed = engine.windowed(window, (side, side))  # type: ignore[misc]
        recorded = windowed.record(*call)
        got = windowed.recompute(recorded, *call)
        error = ((got - want).float().norm() / want.float().norm()).item()
        cost = flops.window(config, window, (side, side), call.c.shape[1], dtype)
        windows[name] = describe_window(window, side, cost) | {"error": error}
        sides[name] = partial(windowed.recompute, recorded, *call)
        if share == CLOSER:
            sides["mdp_lite recorded"] = partial(record, windowed, call, 2 * cost.kept_bytes)
    found = recorder.compare(sides)
    add_savings(windows, found["sides"])
    each = {name: list_operators(sides[name]) for name in (WHOLE, f"mdp_lite window {CLOSER}")}
    return {
        "rows": 2, "halo": halo, "cells": side, "dtype": str(dtype), "windows": windows,
        "operators": each, **found,
    }  # fmt: skip


def record(windowed: WindowedUNet, call: Inputs, size: int) -> list[Tensor]:
    """A step that is recorded, and copied to where it stays."""
    room = Pages(size)
    return [room.copy(one) for one in windowed.record(*call)]


def describe_window(window: Window, side: int, cost: flops.WindowCost) -> dict[str, float]:
    """A window's shares of the map and of the FLOPs, and the bytes of all steps of an edit."""
    height, width = window.size
    return {
        "area": height * width / side**2, "flops": cost.share,
        "bytes_of_edit": 2 * CALLS * cost.kept_bytes,
    }  # fmt: skip


def add_savings(windows: dict[str, Any], timed: dict[str, Any]) -> None:
    """Beside each window how many times faster it is, and from how many edits on it pays.

    Recording takes a whole step more for each step that edits share.
    """
    whole = timed[WHOLE]["p50"]
    for name, one in windows.items():
        seconds = timed[name]["p50"]
        one["times_faster"] = whole / seconds
        one["edits_to_pay"] = whole / (whole - seconds) if seconds < whole else math.inf


def list_operators(run: Any, most: int = 8) -> dict[str, float]:
    """The seconds of the operators of a call that take the longest, by the profiler."""
    with profile() as seen:
        run()
    found = {one.key: one.self_cpu_time_total / 1e6 for one in seen.key_averages()}
    return dict(sorted(found.items(), key=lambda pair: -pair[1])[:most])


def count_flops(model: Model, dtype: torch.dtype) -> dict[str, Any]:
    """What each halo costs: the shares of the map and of the FLOPs, and the bytes of an edit."""
    editor = ours(model, dtype, ["eager"])["eager"]
    config, call = editor.models.unet.config, inputs(model, 2)
    side, tokens, found = call.x.shape[-1], call.c.shape[1], dict[str, Any]()
    for share, halo in product(SHARES, HALOS):
        window = choose_window(side, share, halo)
        cost = flops.window(config, window, (side, side), tokens, dtype)
        one = describe_window(window, side, cost)
        found.setdefault(f"{share:g}", {})[f"halo {halo}"] = one
    return {"cells": side, "dtype": str(dtype), "shares": found}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("seconds", "flops"))
    parser.add_argument("--size", default="tiny", help="tiny, sd15 (random), or a folder")
    parser.add_argument("--models", type=Path, help="where sd15 is, or is to be written (2 GB)")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--halo", type=int, default=HALO)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--out", type=Path, default=RESULTS / "masked_recompute.json")
    args = parser.parse_args()
    words = ["FOLDER" if word == str(args.models) else word for word in sys.argv[1:]]
    command = shlex.join(["python", "-m", "benchmarks.masked_recompute", *words])
    device = torch.device("cpu")
    recorder = Recorder(args.out, command, args.rounds, device)
    model, dtype = model_of(args.size, args.models, device), getattr(torch, args.dtype)
    if args.what == "seconds":
        figures = measure_seconds(model, dtype, recorder, args.halo)
        recorder.store(f"seconds {model.name} halo {args.halo}", figures)
    else:
        recorder.store(f"flops {model.name}", count_flops(model, dtype))


if __name__ == "__main__":
    main()

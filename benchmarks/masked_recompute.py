"""Masked edits that compute the mask's rectangle alone: seconds, memory, and how near they are.

    python -m benchmarks.masked_recompute seconds --size sd15 --models FOLDER    # three minutes
    python -m benchmarks.masked_recompute quality --count 2                      # two minutes

"seconds" times one guided step in turns: whole, while it is recorded, and of windows of several
shares of the map, each with the cell around it that edits compute too. It says what a window costs
by its FLOPs, where its time goes, and what the recorded steps of an edit take. "quality" compares
edits of the bundled model with the same edits whose every step is whole: the PSNR of their
pictures, and the score of both. --out adds the figures to a JSON file.
"""

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.profiler import profile

from benchmarks.record import RESULTS, Recorder, format_command
from benchmarks.sides import Inputs, Model, inputs, model_of, ours
from mdp_lite import Editor, Request, Source, record_layers
from mdp_lite.engine import flops
from mdp_lite.engine.pages import Pages
from mdp_lite.engine.windowed import WindowedUNet
from mdp_lite.engine.windows import Window
from mdp_lite.eval.cases import EditCase
from mdp_lite.eval.edit_scores import edit_regions, score_edits
from mdp_lite.eval.edits import iterate_edits
from mdp_lite.eval.metrics import psnr
from mdp_lite.eval.reader import load_reader
from mdp_lite.eval.score import decode, render
from mdp_lite.eval.world import draw
from mdp_lite.pipeline.recompute import HALO

SHARES = (0.05, 0.1, 0.17, 0.3, 0.5)  # of the map's cells, without the halo
WHOLE, CLOSER = "mdp_lite whole", 0.17  # the share that is also recorded and looked into
CALLS = 33  # steps of an edit in 50 steps with the default window, each with two rows
LOCAL = ("object", "color", "position", "add", "remove")  # kinds of edits that a mask can hold
SOURCES = ("generated", "inverted")


def choose_window(side: int, share: float) -> Window:
    """A square of so much of a map, off the grid of the lower levels, with the halo."""
    length = round(math.sqrt(share) * side)
    top, left = (side - length) // 2 + 1, max((side - length) // 2 - 1, 0)
    return Window(top, top + length, left, left + length).grow(HALO).clip((side, side))


def measure_seconds(model: Model, dtype: torch.dtype, recorder: Recorder) -> dict[str, Any]:
    """A guided step of each kind in turns, and what each window costs and keeps."""
    editor = ours(model, dtype, ["eager"])["eager"]
    engine, config, call = editor.runner.engine, editor.models.unet.config, inputs(model, 2)
    call, side = call.to(dtype), call.x.shape[-1]
    want, windows = engine.denoise(*call), dict[str, Any]()
    sides: dict[str, Callable[[], object]] = {WHOLE: partial(engine.denoise, *call)}
    for share in SHARES:
        window, name = choose_window(side, share), f"mdp_lite window {share:g}"
        windowed = engine.windowed(window, (side, side))  # type: ignore[misc]
        recorded = windowed.record(*call)
        got = windowed.recompute(recorded, *call)
        error = ((got - want).float().norm() / want.float().norm()).item()
        cost = flops.window(config, window, (side, side), call.c.shape[1], dtype)
        windows[name] = describe_window(window, side, cost, error)
        sides[name] = partial(windowed.recompute, recorded, *call)
        if share == CLOSER:
            sides["mdp_lite recorded"] = partial(record, windowed, call, 2 * cost.kept_bytes)
    found = recorder.compare(sides)
    add_savings(windows, found["sides"])
    each = {name: list_operators(sides[name]) for name in (WHOLE, f"mdp_lite window {CLOSER}")}
    return {
        "rows": 2, "cells": side, "dtype": str(dtype), "windows": windows, "operators": each,
        **found,
    }  # fmt: skip


def record(windowed: WindowedUNet, call: Inputs, size: int) -> list[Tensor]:
    """A step that is recorded, and copied to where it stays."""
    room = Pages(size)
    return [room.copy(one) for one in windowed.record(*call)]


def describe_window(
    window: Window, side: int, cost: flops.WindowCost, error: float
) -> dict[str, float]:
    """A window's shares of the map and of the FLOPs, and the bytes of all steps of an edit."""
    height, width = window.size
    return {
        "area": height * width / side**2, "flops": cost.share, "error": error,
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


def list_masks(case: EditCase) -> Iterator[tuple[str, Tensor]]:
    """The pixels (y, x) that the edit may change, and boxes of several shares around them."""
    region = edit_regions([case])[0]
    yield "what may change", region
    side = region.shape[0]
    middles = [int(region.any(axis).nonzero().float().mean()) for axis in (1, 0)]
    for share in (0.1, 0.17, 0.3):
        length = round(math.sqrt(share) * side)
        top, left = (min(max(one - length // 2, 0), side - length) for one in middles)
        box = torch.zeros_like(region)
        box[top : top + length, left : left + length] = True
        yield f"a box of {share:g}", box


def make_source(editor: Editor, case: EditCase, kind: str, steps: int) -> Source:
    if kind == "generated":
        return editor.generate(case.source, seed=case.seed, num_inference_steps=steps)
    return editor.invert(draw(case.source_scene), case.source, num_inference_steps=steps)


def compare_edits(editor: Editor, case: EditCase, source: Source, mask: Tensor) -> dict[str, float]:
    """PSNR in dB of the edit with layers to the one without, area of the window, both scores."""
    white = Image.fromarray((255 * mask).to(torch.uint8).numpy())
    request = Request(source, case.target, mask=white)
    layers = record_layers(editor, request)
    edits = editor.edits([replace(request, layers=layers)]), editor.edits([request])
    got, want = (decode(editor, some[0].latent) for some in edits)
    height, width = layers.plan.window.size
    pictures, reader = render([case.source_scene]), load_reader()
    scores = [score_edits(reader, [case], pictures, one, True)["both"][0] for one in (got, want)]
    return {
        "psnr": psnr(got, want).item(), "psnr inside": psnr(got, want, mask[None]).item(),
        "area": height * width / source.path.x[0, 0, 0].numel(), "share": layers.plan.share,
        "both": scores[0], "both exact": scores[1],
    }  # fmt: skip


def measure_quality(steps: int, count: int) -> dict[str, Any]:
    """Means over count edits of each kind, for both kinds of sources and each mask."""
    editor = Editor.from_pretrained("tiny", device="cpu", dtype="float32")
    found = defaultdict[str, list[dict[str, float]]](list)
    for kind in LOCAL:
        for case in islice(iterate_edits(kind, "tune"), count):
            for how in SOURCES:
                source = make_source(editor, case, how, steps)
                for name, mask in list_masks(case):
                    one = compare_edits(editor, case, source, mask)
                    found[f"{how}, {name}"].append(one)
    return {"steps": steps, "edits": len(LOCAL) * count, "masks": summarise(found)}


def summarise(found: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Means of all figures, and the lowest PSNR."""
    return {
        name: {key: mean(one[key] for one in some) for key in some[0]}
        | {"lowest psnr": min(one["psnr"] for one in some)}
        for name, some in found.items()
    }


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("seconds", "quality"))
    parser.add_argument("--size", default="tiny", help="tiny, sd15 (random), or a folder")
    parser.add_argument("--models", type=Path, help="where sd15 is, or is to be written (2 GB)")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--count", type=int, default=4, help="edits of each of the five kinds")
    parser.add_argument("--out", type=Path, default=RESULTS / "masked_recompute.json")
    args = parser.parse_args()
    command = format_command("masked_recompute", sys.argv[1:])
    device = torch.device("cpu")
    recorder = Recorder(args.out, command, args.rounds, device)
    if args.what == "seconds":
        model, dtype = model_of(args.size, args.models, device), getattr(torch, args.dtype)
        recorder.store(f"seconds {model.name}", measure_seconds(model, dtype, recorder))
    else:
        recorder.store(f"quality {args.steps}", measure_quality(args.steps, args.count))


if __name__ == "__main__":
    main()

"""Masked edits that compute the mask's rectangle alone, against the same edits computed whole.

    python -m benchmarks.masked_quality    # 300 edits with each halo: half an hour on one core

Edits of the bundled model with recorded layers: the PSNR of each picture to that of the same edit
without layers, and the scores of both. Sources are generated and inverted, masks are squares of
cells around what the edit may change, and each edit is made with several halos. Figures go into
--out after every scene, and a run goes on where an earlier one ended.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice, product
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks.record import RESULTS, commit, format_command
from mdp_lite import Editor, Request, Source, record_layers
from mdp_lite.eval.cases import EditCase
from mdp_lite.eval.edit_scores import edit_regions, score_edits
from mdp_lite.eval.edits import SPLITS, iterate_edits
from mdp_lite.eval.figures_file import to_json
from mdp_lite.eval.interval import difference_interval
from mdp_lite.eval.metrics import psnr
from mdp_lite.eval.reader import load_reader
from mdp_lite.eval.rounds import describe_machine
from mdp_lite.eval.score import decode, render
from mdp_lite.eval.world import draw
from mdp_lite.files import atomic

LOCAL = ("object", "color", "position", "add", "remove")  # kinds of edits that a mask can hold
SOURCES = ("generated", "inverted")
GOAL = 50.0  # dB
Figures = dict[str, list[float]]


def make_box(case: EditCase, share: float, cells: int) -> Tensor:
    """Pixels (y, x) of the largest square of cells that takes at most this share of the map.

    It lies as near to the middle of what the edit may change as the map's edges allow.
    """
    region = edit_regions([case])[0]
    side, length = region.shape[0] // cells, math.floor(math.sqrt(share) * cells)
    middles = [region.any(axis).nonzero().float().mean().item() / side for axis in (1, 0)]
    ends = [min(max(round(one - length / 2), 0), cells - length) for one in middles]
    box = torch.zeros_like(region)
    top, left = (side * end for end in ends)
    box[top : top + side * length, left : left + side * length] = True
    return box


def make_source(editor: Editor, case: EditCase, kind: str, steps: int) -> Source:
    """A source of a case's scene: generated from its caption, or inverted from its picture."""
    if kind == "generated":
        return editor.generate(case.source, seed=case.seed, num_inference_steps=steps)
    return editor.invert(draw(case.source_scene), case.source, num_inference_steps=steps)


def compare_edits(
    editor: Editor, case: EditCase, source: Source, mask: Tensor, halos: list[int]
) -> Iterator[tuple[int, dict[str, float]]]:
    """For each halo the PSNR in dB of the edit with layers to the one without, and both scores.

    "area" is the share of the map that is computed, with the halo.
    """
    white = Image.fromarray((255 * mask).to(torch.uint8).numpy())
    request = Request(source, case.target, mask=white)
    want = decode(editor, editor.edits([request])[0].latent)
    pictures, reader = render([case.source_scene]), load_reader()
    exact = score_edits(reader, [case], pictures, want, True)["both"][0]
    for halo in halos:
        layers = record_layers(editor, request, halo=halo)
        got = decode(editor, editor.edits([replace(request, layers=layers)])[0].latent)
        height, width = layers.plan.window.size
        yield (
            halo,
            {
                "psnr": round(psnr(got, want).item(), 2),
                "inside": round(psnr(got, want, mask[None]).item(), 2),
                "area": round(height * width / source.path.x[0, 0, 0].numel(), 3),
                "score": score_edits(reader, [case], pictures, got, True)["both"][0],
                "exact": exact,
            },
        )


def measure(editor: Editor, kind: str, i: int, settings: dict[str, Any]) -> dict[str, Figures]:
    """The figures of edit i of a kind, by source, mask and halo."""
    found = dict[str, Figures]()
    case = next(islice(iterate_edits(kind, settings["split"]), i, None))
    for how in SOURCES:
        source = make_source(editor, case, how, settings["steps"])
        for share in settings["shares"]:
            mask = make_box(case, share, source.path.x.shape[-1])
            for halo, one in compare_edits(editor, case, source, mask, settings["halos"]):
                have = found.setdefault(f"{how}, {share:.0%}, halo {halo}", {})
                for key, value in one.items():
                    have.setdefault(key, []).append(value)
    return found


def summarise(parts: list[dict[str, Figures]]) -> dict[str, Any]:
    """For each source, mask and halo, and for all of a halo: how near the edits are."""
    names = list(parts[0]) if parts else []
    halos = dict.fromkeys(name.rpartition(", ")[2] for name in names)
    groups = {name: [name] for name in names} | {
        f"all, {halo}": [name for name in names if name.endswith(f", {halo}")] for halo in halos
    }
    return {
        group: _summarise([part[name] for part in parts for name in some])
        for group, some in groups.items()
    }


def _summarise(parts: list[Figures]) -> dict[str, Any]:
    joined = {key: list(chain(*(one[key] for one in parts))) for key in parts[0]}
    near = torch.tensor(joined["psnr"], dtype=torch.float64)
    return {
        "edits": len(near),
        "median": round(median(joined["psnr"]), 1),
        "mean": round(mean(joined["psnr"]), 1),
        "5th percentile": round(near.quantile(0.05).item(), 1),
        "lowest": round(near.min().item(), 1),
        "share of 50 dB": round((near >= GOAL).double().mean().item(), 3),
        "median inside": round(median(joined["inside"]), 1),
        "area": round(mean(joined["area"]), 3),
        "exact score": round(mean(joined["exact"]), 3),
        "difference of scores": [
            round(one, 3) for one in difference_interval(joined["score"], joined["exact"])
        ],
    }


@torch.no_grad()
def run(args: argparse.Namespace) -> None:
    """Measure the edits that the file lacks, and write it after each."""
    editor = Editor.from_pretrained("tiny", device="cpu", dtype="float32")
    settings = {key: getattr(args, key) for key in ("steps", "split", "shares", "halos")}
    data = json.loads(args.out.read_text("utf-8")) if args.out.exists() else {}
    name = f"quality {args.steps} {args.split}"
    section = data.setdefault(name, {"settings": settings, "figures": {}})
    if section.get("settings") != settings:
        raise SystemExit(f"{args.out} has figures of other settings: give another --out")
    for i, kind in product(range(args.count), LOCAL):
        if f"{kind} {i}" not in section["figures"]:
            begun = time.process_time()
            section["figures"][f"{kind} {i}"] = measure(editor, kind, i, settings)
            section |= describe(editor) | {
                "processor seconds of the last": round(time.process_time() - begun, 1),
                "summary": summarise(list(section["figures"].values())),
            }
            atomic.write(args.out, (to_json(data) + "\n").encode())
    print(to_json(section["summary"]))


def describe(editor: Editor) -> dict[str, Any]:
    """Where the figures are from."""
    command = format_command("masked_quality", sys.argv[1:])
    date = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    machine = describe_machine(editor.device)
    return {"machine": machine, "command": command, "commit": commit(), "date": date}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--count", type=int, default=15, help="edits of each of the five kinds")
    parser.add_argument("--split", default="report", choices=list(SPLITS))
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.17])
    parser.add_argument("--halos", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--out", type=Path, default=RESULTS / "masked_quality.json")
    run(parser.parse_args())


if __name__ == "__main__":
    main()

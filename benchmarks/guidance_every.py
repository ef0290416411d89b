"""Edits with guidance_every against the exact ones: quality with tiny, seconds.

`python -m benchmarks.guidance_every quality` edits synthetic scenes, generated and inverted, by the
default edits: how far the pictures are from the exact edits' (PSNR), and how their scores differ
(the share of edits that are right and keep all else). Sides: `2` asks the null row at every second
guided step and moves its direction with the source's, `2 kept` only keeps it, `3` asks at every
third. `python -m benchmarks.guidance_every seconds` times an exact step of two rows against one of
one row that reuses the direction, in turns; `--size` and `--models` are those of this folder.
Both add to a JSON file, `--out`; quality measures only the kinds that it lacks.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import chain, product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.record import RESULTS, Recorder, commit, format_command
from benchmarks.sides import model_of, ours
from mdp_lite.editor import Editor
from mdp_lite.eval.edit_batches import (
    GENERATED,
    BatchSettings,
    EditBatch,
    make_batches,
)
from mdp_lite.eval.edit_scores import score_edits
from mdp_lite.eval.edits import KINDS, SPLITS, iterate_edits
from mdp_lite.eval.figures_file import to_json
from mdp_lite.eval.interval import difference_interval, mean_interval
from mdp_lite.eval.methods import default_cell, local_cell
from mdp_lite.eval.metrics import psnr
from mdp_lite.eval.reader import Reader, load_reader
from mdp_lite.eval.rounds import describe_machine
from mdp_lite.eval.score import decode
from mdp_lite.eval.sweep import run_cells
from mdp_lite.files import atomic
from mdp_lite.method.execute import EditTask, build_tree
from mdp_lite.method.mdp import Guidance
from mdp_lite.method.plan import EditFacts, plan
from mdp_lite.method.sample import Trajectory
from mdp_lite.method.schedule import zero_weights
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD
from mdp_lite.pipeline.sweep import run_to_end

OUT = RESULTS / "guidance_every.json"
EDITS = {
    "generated epsilon": ("synthetic", GENERATED, "epsilon"),
    "inverted x": ("real", DEFAULT_METHOD, "x"),
    "inverted local-leash": ("real", DEFAULT_METHOD, "local"),
}
SIDES = {"2": (2, True), "2 kept": (2, False), "3": (3, True)}  # guidance_every; directions move
Figures = dict[str, list[float]]


class Edited(NamedTuple):
    """Latents and pictures of edits, and the UNet rows of one."""

    x: Tensor
    pictures: Tensor
    rows: int


def run_edit(batch: EditBatch, name: str, side: str | None) -> Edited:
    """The edits of a batch: exact, or by one of SIDES."""
    _, source_name, variant = EDITS[name]
    every, moves = (1, False) if side is None else SIDES[side]
    source = batch.sources[source_name]
    path = source.path if moves else source.path._replace(direction=None)
    n, runner = len(batch.grid.t), batch.editor.runner
    cell = local_cell(n) if variant == "local" else default_cell(variant, n)
    latents, rows = run_cells(
        runner.unet, batch.grid, path, batch.guidance, [cell], source.own_noise,
        runner.v_prediction, every,
    )  # fmt: skip
    return Edited(latents[cell], decode(batch.editor, latents[cell]), rows)


def compare(reader: Reader, batch: EditBatch, exact: Edited, other: Edited) -> Figures:
    """PSNR in dB to the exact picture, the relative error of the latent, and both scores."""
    score = partial(score_edits, reader, batch.cases, batch.pictures, answers=batch.answers)
    apart = (other.x - exact.x).flatten(1).norm(dim=1) / exact.x.flatten(1).norm(dim=1)
    return {
        "psnr": [round(one, 2) for one in psnr(other.pictures, exact.pictures).tolist()],
        "latent": [float(f"{one:.3g}") for one in apart.tolist()],
        "exact": score(target=exact.pictures)["both"],
        "score": score(target=other.pictures)["both"],
        "rows": [other.rows / exact.rows] * len(batch.cases),
    }


@torch.no_grad()
def measure_kind(
    editor: Editor, case: str, kind: str, args: argparse.Namespace
) -> dict[str, Figures]:
    """Every figure of each edit of a kind, by edit and side."""
    sources = frozenset(source for own, source, _ in EDITS.values() if own == case)
    settings = BatchSettings(editor, editor.runner.grid(args.steps), sources, 1.0)
    reader, figures = load_reader(), dict[str, Figures]()
    batches = make_batches(settings, reader, case, iterate_edits(kind, args.split), args.count)
    for batch in batches:
        for name in (name for name in args.edits if EDITS[name][0] == case):
            exact = run_edit(batch, name, None)
            for side in args.sides:
                new = compare(reader, batch, exact, run_edit(batch, name, side))
                have = figures.setdefault(f"{name}, {side}", {})
                for key, values in new.items():
                    have.setdefault(key, []).extend(values)
    return figures


def summarize(kinds: dict[str, dict[str, Figures]]) -> dict[str, Any]:
    """For each edit and side the quantiles of PSNR, and the means of scores and rows."""
    names = dict.fromkeys(name for one in kinds.values() for name in one)
    return {
        name: _summarize([one[name] for one in kinds.values() if name in one]) for name in names
    }


def _summarize(parts: list[Figures]) -> dict[str, Any]:
    joined = {key: list(chain(*(one[key] for one in parts))) for key in parts[0]}
    levels = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.float64)
    finite = torch.tensor(joined["psnr"], dtype=torch.float64)
    return {
        "edits": len(joined["psnr"]),
        "psnr at 5, 25, 50, 75, 95%": [round(q, 1) for q in finite.quantile(levels).tolist()],
        "latent error": float(f"{mean_interval(joined['latent']).mean:.3g}"),
        "exact score": round(mean_interval(joined["exact"]).mean, 4),
        "difference of scores": [
            round(one, 4) for one in difference_interval(joined["score"], joined["exact"])
        ],
        "rows": round(mean_interval(joined["rows"]).mean, 4),
    }


def run_quality(args: argparse.Namespace) -> None:
    """Measure the kinds that the file lacks, write it after each, and print the summary."""
    editor = Editor.from_pretrained("tiny", device="cpu")
    settings = {key: getattr(args, key) for key in ("steps", "split", "count", "sides", "edits")}
    data = json.loads(args.out.read_text("utf-8")) if args.out.exists() else {}
    section = data.setdefault(args.section, {"settings": settings, "figures": {}})
    if section["settings"] != settings:
        raise SystemExit(f"{args.out} has figures of {section['settings']}: give another --out")
    for case, kind in _list_missing(section["figures"], args):
        section["figures"][f"{case} {kind}"] = measure_kind(editor, case, kind, args)
        section |= _describe(editor.device) | {"summary": summarize(section["figures"])}
        _write(args.out, data)
        print(case, kind, flush=True)
    print(to_json(section["summary"]))


def _list_missing(figures: dict[str, Any], args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    for kind, case in product(args.kinds, sorted({EDITS[name][0] for name in args.edits})):
        if f"{case} {kind}" not in figures:
            yield case, kind


def _describe(device: torch.device) -> dict[str, Any]:
    command = format_command("guidance_every", sys.argv[1:])
    date = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    machine = describe_machine(device)
    return {"machine": machine, "command": command, "commit": commit(), "date": date}


def _write(path: Path, data: dict[str, Any]) -> None:
    atomic.write(path, (to_json(data) + "\n").encode())


def build_task(editor: Editor, every: int, side: int) -> EditTask:
    """Two guided steps in the middle of a path of random numbers, the second one reused or not."""
    runner, generator = editor.runner, torch.Generator().manual_seed(0)
    tokens, width = editor.models.c_shape

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(runner.device, runner.wide)

    latent, dtype = (1, 4, side, side), next(editor.models.unet.parameters()).dtype
    c, null = random(2, 1, tokens, width).to(dtype)
    path = Trajectory(random(3, *latent), random(2, *latent), c, direction=random(2, *latent))
    grid, weights = runner.grid(50).cut(24, 26), zero_weights(2)
    guidance = Guidance(c, null, torch.tensor(7.5, device=runner.device))
    table = weights.change(lambda column: column.to(runner.device, runner.wide))
    return EditTask(grid, guidance, path, table, plan(weights, grid, EditFacts(), every))


def run_task(editor: Editor, task: EditTask) -> None:
    """All steps of a task, as an edit runs them."""
    runner = editor.runner
    run_to_end(
        runner.unet, build_tree([task]), runner.v_prediction, 0,
        single_step=runner.engine.single_step,
    )  # fmt: skip


def run_seconds(args: argparse.Namespace) -> None:
    """Two guided steps, exact and with guidance_every=2, in turns, for each engine."""
    device = torch.device(args.device)
    model, dtype = model_of(args.size, args.models, device), getattr(torch, args.dtype)
    command = _describe(device)["command"]
    recorder = Recorder(args.out, command, args.rounds, device)
    for mode, editor in ours(model, dtype, args.engines).items():
        side = editor.models.unet.config.latent_size[0]
        tasks = {
            "guidance_every 2": build_task(editor, 2, side),
            "exact": build_task(editor, 1, side),
        }
        rows = {name: task.plan.unet_rows for name, task in tasks.items()}
        found = recorder.compare({name: partial(run_task, editor, t) for name, t in tasks.items()})
        what = {"threads": torch.get_num_threads(), "rows of two guided steps": rows}
        recorder.store(f"seconds {model.name} {args.dtype} {mode}", what | found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("quality", "seconds"))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--count", type=int, default=60, help="edits of each of the ten kinds")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--split", default="report", choices=list(SPLITS))
    parser.add_argument("--sides", nargs="*", default=list(SIDES), choices=list(SIDES))
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--edits", nargs="*", default=list(EDITS), choices=list(EDITS))
    parser.add_argument("--section", default="quality", help="of the file")
    parser.add_argument("--size", default="tiny", help="tiny, sd15 (random weights), or a folder")
    parser.add_argument("--models", type=Path, default=Path("models"), help="where sd15 is written")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--engines", nargs="*", default=["eager"])
    parser.add_argument("--rounds", type=int)
    args = parser.parse_args()
    (run_quality if args.what == "quality" else run_seconds)(args)


if __name__ == "__main__":
    main()

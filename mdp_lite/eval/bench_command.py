"""What `mdp-lite bench` does; here every inversion on the same drawn pictures, as tables."""

import statistics
from argparse import Namespace
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from mdp_lite.checkpoint.identity import model_hash
from mdp_lite.cli.console import Console
from mdp_lite.cli.dry_run import dry_run_editor
from mdp_lite.editor import Editor
from mdp_lite.eval.cases import Case
from mdp_lite.eval.edits_command import bench_edits
from mdp_lite.eval.inversion_file import keep, kept
from mdp_lite.eval.inversion_tables import Measured, summary, tables
from mdp_lite.eval.inversions import (
    Row,
    Sections,
    drawn_cases,
    inverted,
    measured,
    own_guidance,
    rows,
    section,
    total,
)
from mdp_lite.eval.pie_command import bench_pie
from mdp_lite.eval.reader import SIZE, Reader, load_reader
from mdp_lite.eval.resources import Taken, backward_share, taken
from mdp_lite.eval.speed import speed
from mdp_lite.pipeline.inversion_methods import NEVER
from mdp_lite.pipeline.provenance import Settings
from mdp_lite.pipeline.result import Cost
from mdp_lite.version import __version__

PICTURES = 128
ROUNDS = 3  # single pictures that are timed


class Job(NamedTuple):
    """What is to be measured: rows by name on cases, in so many steps; and where that is kept."""

    editor: Editor
    reader: Reader
    rows: dict[str, Row]
    cases: list[Case]
    steps: int | None
    output: Path | None
    settings: Settings


def bench(args: Namespace, console: Console) -> Made:
    """Time the engine's modes, or compare the inversions or the methods of editing."""
    if args.what != "edits" and (args.kinds or args.split or args.short or args.sheet):
        raise ValueError(f"bench {args.what} takes no kinds, split, short or sheet")
    if args.what != "pie" and (args.data or args.results or args.clip or args.dino):
        raise ValueError(f"bench {args.what} takes no data, results, clip or dino")
    return BENCHES[args.what](args, console)


def inversions(args: Namespace, console: Console) -> Made:
    """Rehearse all rows, so that bad input is found and the cost is known; then measure them."""
    job = _job(args)
    found = kept(job.output, job.settings)
    for note in job.editor.models.notes:
        console.log(note)
    most = {name: _most(job, row) for name, row in job.rows.items() if name not in found}
    data = {"command": "bench", "dry_run": args.dry_run, **job.settings}
    if args.dry_run:
        costs = {name: cost._asdict() for name, cost in most.items()}
        return Made({}, {**data, "most": costs}, _foretold(most))
    for name in sorted(most, key=lambda name: sum(most[name])):  # the cheap ones are there first
        with console.progress(name) as on_step:
            row = job.rows[name]
            found[name] = measured(
                job.editor, job.reader, row, job.cases, job.steps, on_step or _silent
            )
        console.log(f"{name}: {_told(total(found[name]))}")
        keep(job.output, {"settings": job.settings}, found)
    told = _summary(job, found, _alone(job, console))
    keep(job.output, {"settings": job.settings, "summary": told}, found)
    files = [str(job.output)] if job.output else []
    lines = [*(f"wrote {file}" for file in files), *tables(told)]
    return Made({}, {**data, **told, "files": files}, lines)


def _job(args: Namespace) -> Job:
    pictures = PICTURES if args.pictures is None else args.pictures
    if pictures < 1:
        raise ValueError(f"pictures must be 1 or more, got {pictures}")
    if args.rounds is not None or args.engines:
        raise ValueError("bench inversion takes no rounds and no engines: those are of bench speed")
    editor = opened(Namespace(**vars(args) | {"cache": None}))  # a source from there costs nothing
    every = rows(editor, args.steps)
    for name in args.methods or ():
        if name not in every:
            raise ValueError(f"methods must be of {', '.join(every)}, got {name!r}")
    chosen = {name: row for name, row in every.items() if name in (args.methods or every)}
    settings = {  # what the figures depend on
        "pictures": pictures,
        "steps": len(editor.runner.grid(args.steps).t),
        "model": editor.models.name,
        "sha256": model_hash(editor.models.origin),
        "dtype": str(editor.models.origin.dtype).removeprefix("torch."),
        "device": editor.device.type,
        "edit_guidance": editor.models.defaults.guidance_scale,
        "version": __version__,
    }
    cases = drawn_cases(pictures)
    return Job(editor, load_reader(), chosen, cases, args.steps, args.output, settings)


def _silent(done: int, count: int) -> None:
    """Where nobody watches."""


def _most(job: Job, row: Row) -> Cost:
    """The most that all pictures may cost: the first one's, with models that do nothing."""
    if row.how.method == "null-text":
        row = row._replace(how=replace(row.how, early_stop=NEVER))
    figures = measured(
        dry_run_editor(job.editor), job.reader, row, job.cases[:1], job.steps, _silent
    )
    return Cost(*(len(job.cases) * part for part in total(figures)))


def _foretold(most: dict[str, Cost]) -> list[str]:
    lines = [f"{name}: {_told(cost)}" for name, cost in most.items()]
    return [*lines, f"at most: {_told(summed(Cost(0, 0), *most.values()))}"]


def _told(cost: Cost) -> str:
    backward = f" and {cost.backward_rows:,} backward" if cost.backward_rows else ""
    return f"{cost.unet_rows:,} UNet rows{backward}"


def _alone(job: Job, console: Console) -> dict[str, Taken]:
    """Seconds and memory of inverting one picture: the median of some, the methods in turn."""
    every: dict[str, list[Taken]] = {name: [] for name in job.rows}
    with console.progress("alone") as on_step:
        for k, case in enumerate((job.cases * ROUNDS)[:ROUNDS]):
            for name, row in job.rows.items():
                g = own_guidance(job.editor, row)
                invert = partial(inverted, job.editor, row, [case], job.steps, g)
                if k == 0:
                    invert()  # first calls allocate and choose kernels
                every[name].append(taken(invert, job.editor.device))
            (on_step or _silent)(k + 1, ROUNDS)
    return {name: _median(some) for name, some in every.items()}


def _median(some: list[Taken]) -> Taken:
    peaks = [one.peak_bytes for one in some if one.peak_bytes is not None]
    seconds = statistics.median(one.seconds for one in some)
    return Taken(seconds, int(statistics.median(peaks)) if peaks else None)


def _summary(job: Job, found: dict[str, Sections], alone: dict[str, Taken]) -> Settings:
    """What is told of the rows that were asked for."""
    models, cells = job.editor.models, SIZE // job.editor.runner.factor
    tokens = models.text_encoder.config.max_position_embeddings
    share = backward_share(models.unet, cells, cells, tokens)
    parts = {
        name: Measured(found[name], section(own_guidance(job.editor, row)), alone[name])
        for name, row in job.rows.items()
    }
    spent = {name: total(found[name])._asdict() for name in job.rows}
    told = {"threads": torch.get_num_threads(), "backward_share": share, "spent": spent}
    return {**job.settings, **told, "methods": summary(parts, share)}


BENCHES = {"speed": speed, "edits": bench_edits, "pie": bench_pie, "inversion": inversions}

"""What `mdp-lite bench pie` does: edit PIE-Bench by any method, and compute its metrics."""

import csv
import io
import math
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from mdp_lite.checkpoint import atomic
from mdp_lite.cli.console import Console
from mdp_lite.editor import Editor
from mdp_lite.eval.contest import Method, anchors, made, methods
from mdp_lite.eval.edit_tables import table
from mdp_lite.eval.given import Given, Making, Said, inverting
from mdp_lite.eval.perception import Clip, Dino, load_clip, load_dino, perceived
from mdp_lite.eval.pie import PICTURES, Record, records
from mdp_lite.eval.pie_metrics import Figure, figures, mean, pixels
from mdp_lite.pictures import images
from mdp_lite.pictures.images import to_image

SEED = 1234  # of its own runs
RESULTS = Path("output")
CSV = "evaluation_result.csv"
SHOWN = (
    "structure_distance", "psnr_unedit_part", "mse_unedit_part", "ssim_unedit_part", "psnr", "ssim",
    "clip_similarity_target_image", "clip_similarity_target_image_edit_part",
)  # fmt: skip


class Job(NamedTuple):
    """The edits, who makes them, where what they make is kept, and networks that look at it."""

    editor: Editor
    data: Path
    results: Path
    records: list[Record]
    methods: dict[str, Method | None]
    making: Making
    clip: Clip | None
    dino: Dino | None


def bench_pie(args: Namespace, console: Console) -> Made:
    """Make what is not there yet, then compute every figure of what is."""
    job = _job(args)
    left = [(record, name) for record in job.records for name in missing(job, record)]
    counted = f"{len(job.records)} edits by {len(job.methods)} methods, {len(left)} to be made"
    data = {"command": "bench", "dry_run": args.dry_run, "edits": len(job.records)}
    if args.dry_run:
        return Made({}, {**data, "left": len(left)}, [counted])
    with console.progress("pie") as on_step:
        for k, record in enumerate(job.records, 1):
            edit(job, record)
            if on_step:
                on_step(k, len(job.records))
    rows = {record.key: evaluated(job, record) for record in job.records}
    file = job.results / CSV
    atomic.write(file, written(rows).encode())
    means = averaged(rows.values(), tuple(job.methods))
    told = {name: {k: _plain(v) for k, v in one.items()} for name, one in means.items()}
    return Made(
        {}, {**data, "means": told, "files": [str(file)]}, [f"wrote {file}", *tables(means)]
    )


def edit(job: Job, record: Record) -> None:
    """The pictures of one edit that are not there yet, by every method."""
    names = missing(job, record)
    if not names:
        return
    source = images.open_picture(job.data / PICTURES / record.picture)
    tracks = frozenset(method.track for name in names if (method := job.methods[name]))
    said = [Said(record.source, record.target, SEED)]
    given = inverting(job.making._replace(tracks=tracks), said, pixels(source) * 2 - 1)
    for name in names:
        path = place(job, name, record)
        path.parent.mkdir(parents=True, exist_ok=True)
        to_image(pictured(given, name, job.methods[name])).save(
            path
        )  # by Pillow's defaults: theirs


def pictured(given: Given, name: str, method: Method | None) -> Tensor:
    """What a method makes (1, 3, y, x); an anchor is none."""
    return (made(given, method) if method else anchors(given)[name]).pictures


def evaluated(job: Job, record: Record) -> dict[str, Figure]:
    """Every figure of one edit, by "DEFAULT_METHOD|METRIC"."""
    source = images.open_picture(job.data / PICTURES / record.picture)
    found: dict[str, Figure] = {}
    for name in job.methods:
        with Image.open(place(job, name, record)) as picture:
            one = figures(source, picture, record.mask)
            texts = record.source, record.target
            one |= perceived(job.clip, job.dino, source, picture, record.mask, texts)
        found |= {f"{name}|{metric}": value for metric, value in one.items()}
    return found


def missing(job: Job, record: Record) -> list[str]:
    """The methods whose picture of an edit is not there."""
    return [name for name in job.methods if not place(job, name, record).is_file()]


def place(job: Job, method: str, record: Record) -> Path:
    """Where a method's picture of an edit is, with the name of its source."""
    return job.results / method.replace(" ", "-") / PICTURES / record.picture


def written(rows: dict[str, dict[str, Figure]]) -> str:
    """The figures as evaluate.py writes them: a head, and a row for each edit."""
    text = io.StringIO()
    head = list(next(iter(rows.values())))
    writer = csv.writer(text)
    writer.writerow(["file_id", *head])
    writer.writerows([key, *(row[name] for name in head)] for key, row in rows.items())
    return text.getvalue()


def averaged(
    rows: Iterable[dict[str, Figure]], names: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    """The mean of each metric by method, in the units of published tables."""
    every = list(rows)
    metrics = dict.fromkeys(column.split("|")[1] for column in every[0])
    return {
        name: {m: format_count(m, mean([row[f"{name}|{m}"] for row in every])) for m in metrics}
        for name in names
    }


def tables(means: dict[str, dict[str, float]]) -> list[str]:
    """A Markdown table: PSNR in dB, MSE times 10^4, SSIM times 10^2, structure times 10^3."""
    shown = [metric for metric in SHOWN if metric in next(iter(means.values()))]
    rows = [["method", *shown]]
    for name, one in means.items():
        cells = [one[metric] for metric in shown]
        rows.append([name, *("-" if math.isnan(value) else f"{value:.2f}" for value in cells)])
    return table(rows)


def _job(args: Namespace) -> Job:
    if args.data is None:
        raise ValueError("bench pie needs --data, the folder of PIE-Bench: it is not ours to give")
    found = records(args.data)[: args.pictures]
    editor = opened(Namespace(**vars(args) | {"cache": None}))
    grid = editor.runner.grid(args.steps)
    every = {"no edit": None, "vae": None, **methods("real", len(grid.t))}
    for name in args.methods or ():
        if name not in every:
            raise ValueError(f"methods must be of {', '.join(every)}, got {name!r}")
    some = {name: method for name, method in every.items() if name in (args.methods or every)}
    making = Making(editor, grid, frozenset(), 1.0)
    clip, dino = args.clip and load_clip(args.clip), args.dino and load_dino(args.dino)
    return Job(editor, args.data, args.results or RESULTS, found, some, making, clip, dino)


def _plain(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None

"""The command `mdp-lite bench pie`: edit PIE-Bench by any method, and compute its metrics."""

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from mdp_lite.cli.commands.bench import BenchOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.loading import open_editor
from mdp_lite.cli.reports import Report
from mdp_lite.cli.units import pluralize
from mdp_lite.editor import Editor
from mdp_lite.eval.edit_batches import (
    BatchSettings,
    EditBatch,
    EditPrompts,
    check_plain,
    invert_batch,
)
from mdp_lite.eval.figures_file import try_to_write
from mdp_lite.eval.inversion_tables import format_table
from mdp_lite.eval.methods import EditMethod, build_methods, make_anchors, run_method
from mdp_lite.eval.perception import Clip, Dino, load_clip, load_dino, score_perception
from mdp_lite.eval.pie import PICTURES, PieEdit, open_source, read_edits
from mdp_lite.eval.pie_metrics import Figure, compute_metrics, mean, to_pixels, to_table_units
from mdp_lite.files import atomic
from mdp_lite.names import BadInput
from mdp_lite.pictures.images import to_image

SEED = 1234  # of the authors' runs
RESULTS = Path("output")
CSV = "evaluation_result.csv"
METRICS = (  # of the printed table
    "structure_distance", "psnr_unedit_part", "mse_unedit_part", "ssim_unedit_part", "psnr", "ssim",
    "clip_similarity_target_image", "clip_similarity_target_image_edit_part",
)  # fmt: skip


class PieBench(NamedTuple):
    """The edits, the methods, the folders of data and results, and the networks that score them.

    A method is None for an anchor.
    """

    editor: Editor
    data: Path
    results: Path
    edits: list[PieEdit]
    methods: dict[str, EditMethod | None]
    settings: BatchSettings
    clip: Clip | None
    dino: Dino | None


def bench_pie(args: BenchOptions, console: Console) -> Report:
    """Make the pictures that are missing, then compute every figure of all."""
    job = _build_job(args)
    left = [(edit, name) for edit in job.edits for name in find_missing(job, edit)]
    edits, methods = pluralize(len(job.edits), "edit"), pluralize(len(job.methods), "method")
    counts = f"{edits} by {methods}, {len(left)} to be made"
    data = {"command": "bench", "dry_run": args.run.dry_run, "edits": len(job.edits)}
    if args.run.dry_run:
        return Report({}, {**data, "left": len(left)}, [counts])
    with console.progress("pie") as on_step:
        for k, edit in enumerate(job.edits, 1):
            make_pictures(job, edit)
            if on_step:
                on_step(k, len(job.edits))
    figures = {edit.key: evaluate(job, edit) for edit in job.edits}
    file = job.results / CSV
    done = try_to_write(lambda: atomic.write(file, format_csv(figures).encode()), console)
    means = average(figures.values(), tuple(job.methods))
    plain = {name: {k: _to_plain(v) for k, v in one.items()} for name, one in means.items()}
    files = [str(file)] if done else []
    lines = [*(f"wrote {file}" for file in files), *format_means(means)]
    return Report({}, {**data, "means": plain, "files": files}, lines, failed=not done)


def make_pictures(job: PieBench, edit: PieEdit) -> None:
    """Make the pictures of one edit that are missing, by every method."""
    names = find_missing(job, edit)
    if not names:
        return
    source = open_source(job.data, edit)
    sources = frozenset(method.source for name in names if (method := job.methods[name]))
    prompts = [EditPrompts(edit.source, edit.target, SEED)]
    settings = job.settings._replace(sources=sources)
    batch = invert_batch(settings, prompts, to_pixels(source) * 2 - 1)
    for name in names:
        path, picture = picture_path(job, name, edit), run(batch, name, job.methods[name])
        file = io.BytesIO()  # by Pillow's defaults, as the authors do
        to_image(picture).save(file, Image.registered_extensions()[path.suffix.lower()])
        atomic.write(path, file.getvalue())


def run(batch: EditBatch, name: str, method: EditMethod | None) -> Tensor:
    """The picture (1, 3, y, x) by a method or an anchor."""
    return (run_method(batch, method) if method else make_anchors(batch)[name]).pictures


def evaluate(job: PieBench, edit: PieEdit) -> dict[str, Figure]:
    """Every figure of one edit, by "METHOD|METRIC"."""
    source = open_source(job.data, edit)
    figures: dict[str, Figure] = {}
    for name in job.methods:
        with Image.open(picture_path(job, name, edit)) as picture:
            one = compute_metrics(source, picture, edit.mask)
            texts = edit.source, edit.target
            one |= score_perception(job.clip, job.dino, source, picture, edit.mask, texts)
        figures |= {f"{name}|{metric}": value for metric, value in one.items()}
    return figures


def find_missing(job: PieBench, edit: PieEdit) -> list[str]:
    """The methods whose picture of an edit does not exist."""
    return [name for name in job.methods if not picture_path(job, name, edit).is_file()]


def picture_path(job: PieBench, method: str, edit: PieEdit) -> Path:
    """The file of a method's picture of an edit; it has the name of its source."""
    return job.results / method.replace(" ", "-") / PICTURES / edit.picture


def format_csv(figures: dict[str, dict[str, Figure]]) -> str:
    """The figures as evaluate.py writes them: a head, and a line for each edit."""
    text = io.StringIO()
    head = list(next(iter(figures.values())))
    writer = csv.writer(text)
    writer.writerow(["file_id", *head])
    writer.writerows([key, *(one[name] for name in head)] for key, one in figures.items())
    return text.getvalue()


def average(
    figures: Iterable[dict[str, Figure]], names: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    """The mean of each metric by method, in the units of published tables."""
    every = list(figures)
    metrics = dict.fromkeys(column.split("|")[1] for column in every[0])
    return {
        name: {m: to_table_units(m, mean([one[f"{name}|{m}"] for one in every])) for m in metrics}
        for name in names
    }


def format_means(means: dict[str, dict[str, float]]) -> list[str]:
    """A Markdown table: PSNR in dB, MSE times 10^4, SSIM times 10^2, structure times 10^3."""
    metrics = [metric for metric in METRICS if metric in next(iter(means.values()))]
    lines = [["method", *metrics]]
    for name, one in means.items():
        values = [one[metric] for metric in metrics]
        lines.append([name, *("-" if math.isnan(value) else f"{value:.2f}" for value in values)])
    return format_table(lines)


def _build_job(args: BenchOptions) -> PieBench:
    if args.pie.data is None:
        raise BadInput("bench pie needs --data, the folder of PIE-Bench: it is not ours to give")
    edits = read_edits(args.pie.data)[: args.pictures]
    editor = check_plain(open_editor(replace(args.model, cache=None), args.engine))
    grid = editor.runner.grid(args.steps)
    every = {"no edit": None, "vae": None, **build_methods("real", len(grid.t))}
    for name in args.methods or ():
        if name not in every:
            raise BadInput(f"methods must be of {', '.join(every)}, got {name!r}")
    methods = {name: method for name, method in every.items() if name in (args.methods or every)}
    settings = BatchSettings(editor, grid, frozenset(), 1.0)
    pie = args.pie
    clip = load_clip(pie.clip) if pie.clip else None
    dino = load_dino(pie.dino) if pie.dino else None
    return PieBench(
        editor, args.pie.data, pie.results or RESULTS, edits, methods, settings, clip, dino
    )


def _to_plain(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None

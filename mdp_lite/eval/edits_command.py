"""The command `mdp-lite bench edits`: every method on the suite of synthetic edits."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from torch import nn

from mdp_lite.checkpoint.identity import model_hash
from mdp_lite.cli.commands.bench import BenchOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.loading import open_editor
from mdp_lite.cli.reports import Report
from mdp_lite.cli.units import pluralize
from mdp_lite.editor import Editor
from mdp_lite.eval.cases import EditCase
from mdp_lite.eval.edit_batches import (
    CASES,
    BatchSettings,
    EditBatch,
    check_plain,
    make_batches,
)
from mdp_lite.eval.edit_tables import format_tables, summarize
from mdp_lite.eval.edits import SPLITS
from mdp_lite.eval.figures_file import read_figures, try_to_write, write_figures
from mdp_lite.eval.inversions import Sections, join_sections
from mdp_lite.eval.methods import (
    ANCHORS,
    EditMethod,
    build_candidates,
    build_methods,
    make_anchors,
    run_method,
    score_output,
)
from mdp_lite.eval.resources import backward_share
from mdp_lite.eval.worlds import World, find_world
from mdp_lite.names import BadInput
from mdp_lite.pictures.images import to_image
from mdp_lite.pictures.output import write_picture
from mdp_lite.pictures.sheets import Row, sheet
from mdp_lite.pipeline.provenance import Settings
from mdp_lite.version import __version__

EDITS, STEPS = 64, 12  # of each kind: about an hour on two cores, by UNet rows
SHORT, SHORT_STEPS = 2, 6  # of --short: minutes
CountSteps = Callable[[int, int], None]  # (done, total)


class EditsBench(NamedTuple):
    """What to measure: methods by case on so many edits of each kind; and the file for figures.

    The edits are of the world that the model was trained on. settings are all that the figures
    depend on.
    """

    editor: Editor
    world: World
    reader: nn.Module
    methods: dict[str, dict[str, EditMethod]]
    kinds: list[str]
    count: int
    split: str
    output: Path | None
    settings: Settings


def bench_edits(args: BenchOptions, console: Console) -> Report:
    """Measure the methods that the output file lacks, and report all that are asked for."""
    job = build_job(args)
    figures = read_figures(job.output, job.settings)
    for note in job.editor.models.notes:
        console.log(note)
    data = {"command": "bench", "dry_run": args.run.dry_run, **job.settings}
    if args.run.dry_run:
        return Report({}, data, _describe_job(job))
    measure_missing(job, figures, console)
    summary = {**job.settings, **summarize(_select_figures(job, figures))}
    head = {"settings": job.settings, "summary": summary}
    writes = {job.output: partial(write_figures, job.output, head, figures)}
    if args.edits.sheet:
        with console.progress("sheet"):
            writes[args.edits.sheet] = partial(
                write_picture, make_sheet(job), args.edits.sheet, None
            )
    done = {path: try_to_write(write, console) for path, write in writes.items()}
    files = [str(path) for path in done if path and done[path]]
    lines = [*(f"wrote {file}" for file in files), *format_tables(summary)]
    return Report({}, {**data, **summary, "files": files}, lines, failed=not all(done.values()))


def measure_missing(job: EditsBench, figures: dict[str, Sections], console: Console) -> None:
    """Add the figures that are missing; the file is written after each kind of edit."""
    for case, some in job.methods.items():
        for kind in job.kinds:
            have = figures.setdefault(f"{case} {kind}", {})
            left = {name: method for name, method in some.items() if name not in have}
            if left:
                with console.progress(f"{case} {kind}") as on_step:
                    have |= measure_kind(job, case, kind, left, on_step or _ignore)
                write = partial(write_figures, job.output, {"settings": job.settings}, figures)
                try_to_write(write, console)


def measure_kind(
    job: EditsBench, case: str, kind: str, methods: dict[str, EditMethod], on_step: CountSteps
) -> Sections:
    """Every figure of every edit of a kind, by method."""
    parts: list[Sections] = []
    done, total = 0, job.count * (len(methods) + 1)
    candidates = job.world.iterate_edits(kind, job.split)
    for batch in _make_batches(job, case, candidates, job.count, methods):
        anchors = make_anchors(batch).items()
        figures = {name: score_output(job.reader, batch, one) for name, one in anchors}
        for name, method in methods.items():
            figures[name] = score_output(job.reader, batch, run_method(batch, method))
            done += len(batch.cases)
            on_step(done, total)
        done += len(batch.cases)
        on_step(done, total)
        parts.append(figures)
    return join_sections(parts)


def make_sheet(job: EditsBench) -> Image.Image:
    """One edit of each kind in each case: the source, the true answer, and every method."""
    rows: list[Row] = []
    for case, methods in job.methods.items():
        firsts = [next(job.world.iterate_edits(kind, job.split)) for kind in job.kinds]
        for batch in _make_batches(job, case, firsts, len(firsts), methods):
            anchors = make_anchors(batch)
            outputs = {"source": anchors["no edit"]}
            outputs |= {"truth": anchors["truth"]} if "truth" in anchors else {}
            outputs |= {name: run_method(batch, method) for name, method in methods.items()}
            for k, one in enumerate(batch.cases):
                labels = {"source": f"{one.source} -> {one.target}"}
                pictures = {name: to_image(o.pictures[k : k + 1]) for name, o in outputs.items()}
                rows.append([(labels.get(name, name), p) for name, p in pictures.items()])
    return sheet(rows)


def _make_batches(
    job: EditsBench, case: str, candidates: Iterable[EditCase], count: int,
    methods: dict[str, EditMethod],
) -> Iterator[EditBatch]:  # fmt: skip
    """Batches of edits with the sources that the methods start from."""
    sources = frozenset(method.source for method in methods.values())
    grid = job.editor.runner.grid(job.settings["steps"])
    backward, guidance = job.settings["backward"], job.settings["guidance"]
    settings = BatchSettings(job.editor, grid, sources, backward, guidance, job.world)
    return make_batches(settings, job.reader, case, candidates, count)


def build_job(args: BenchOptions) -> EditsBench:
    """What the options ask for. Raises BadInput."""
    if args.speed.rounds is not None or args.speed.engines:
        raise BadInput("bench edits takes no rounds and no engines: those are of bench speed")
    split = "report" if args.edits.split is None else args.edits.split
    few, steps = (SHORT, SHORT_STEPS) if args.edits.short else (EDITS, STEPS)
    count = few if args.pictures is None else args.pictures
    steps = steps if args.steps is None else args.steps
    if count < 1:
        raise BadInput(f"pictures must be 1 or more, got {count}")
    if args.edits.guidance_scale == 1:
        raise BadInput("bench edits compares guided edits: want a guidance scale above 1, got 1")
    editor = check_plain(open_editor(replace(args.model, cache=None), args.engine))
    n = len(editor.runner.grid(steps).t)
    build = build_candidates if split == "tune" else build_methods
    every = {case: build(case, n) for case in CASES}
    methods = {case: _select_methods(some, args.methods, every) for case, some in every.items()}
    world = find_world(editor.models.knowledge.pictures)
    selected = _select_names("kinds", args.edits.kinds, tuple(world.kinds))
    kinds = [kind for kind in world.kinds if kind in selected]
    cells = world.size // editor.runner.factor
    settings = _build_settings(editor, count, split, n, args.edits.guidance_scale, cells)
    reader = world.reader.load()
    return EditsBench(editor, world, reader, methods, kinds, count, split, args.output, settings)


def _build_settings(
    editor: Editor, count: int, split: str, n: int, guidance: float | None, cells: int
) -> Settings:
    """All that the figures depend on; the latents are cells x cells."""
    models = editor.models
    tokens = models.c_shape[0]
    return {
        "edits": count,
        "split": split,
        "first_seed": SPLITS[split],
        "steps": n,
        "guidance": editor.runner.guidance_scale(guidance),
        "model": models.name,
        "sha256": model_hash(models.origin),
        "dtype": str(models.origin.dtype).removeprefix("torch."),
        "device": editor.device.type,
        "backward": round(backward_share(models.unet, cells, cells, tokens), 3),
        "version": __version__,
    }


def _select_methods(
    some: dict[str, EditMethod], names: tuple[str, ...], every: dict[str, dict[str, EditMethod]]
) -> dict[str, EditMethod]:
    """The methods of a case with these names. Raises BadInput for a name that no case has."""
    known = tuple(dict.fromkeys(name for names in every.values() for name in names))
    selected = _select_names("methods", names, known)
    return {name: method for name, method in some.items() if name in selected}


def _select_names(what: str, names: tuple[str, ...], known: tuple[str, ...]) -> list[str]:
    """The names, or all that are known. Raises BadInput for another."""
    for name in names:
        if name not in known:
            raise BadInput(f"{what} must be of {', '.join(known)}, got {name!r}")
    return list(names or known)


def _select_figures(job: EditsBench, figures: dict[str, Sections]) -> dict[str, Sections]:
    """The figures of the kinds and methods that are asked for; a file may hold more."""
    names = {*ANCHORS, *(name for some in job.methods.values() for name in some)}
    return {
        f"{case} {kind}": {n: v for n, v in figures[f"{case} {kind}"].items() if n in names}
        for case in job.methods
        for kind in job.kinds
    }


def _describe_job(job: EditsBench) -> list[str]:
    count = job.count * len(job.kinds)
    return [
        f"{case}: {pluralize(count, 'edit')} by {pluralize(len(some), 'method')}"
        for case, some in job.methods.items()
    ]


def _ignore(done: int, count: int) -> None:
    """A progress report that nobody sees."""

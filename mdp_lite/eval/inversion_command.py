"""The command `mdp-lite bench inversion`: all inversions on the same synthetic pictures."""

import statistics
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from mdp_lite.checkpoint.identity import model_hash
from mdp_lite.cli.commands.bench import BenchOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.dry_run import dry_run_editor
from mdp_lite.cli.loading import open_editor
from mdp_lite.cli.reports import Report
from mdp_lite.cli.units import pluralize
from mdp_lite.editor import Editor
from mdp_lite.eval.cases import EditCase
from mdp_lite.eval.figures_file import read_figures, try_to_write, write_figures
from mdp_lite.eval.inversion_tables import InversionFigures, format_tables, summarize
from mdp_lite.eval.inversions import (
    InversionSetup,
    Sections,
    add_rows,
    build_setups,
    default_guidance,
    invert_cases,
    make_mixed_cases,
    measure_setup,
    section_name,
)
from mdp_lite.eval.reader import SIZE, Reader, load_reader
from mdp_lite.eval.resources import ResourceUse, backward_share, measure_resources
from mdp_lite.eval.worlds import POSTCARDS, find_world
from mdp_lite.names import BadInput
from mdp_lite.pipeline.inversion_methods import NEVER
from mdp_lite.pipeline.provenance import Settings
from mdp_lite.pipeline.result import Cost, add_costs
from mdp_lite.version import __version__

PICTURES = 128
ROUNDS = 3  # single pictures that are timed


class InversionBench(NamedTuple):
    """What to measure: setups by name on cases, in so many steps; and the file for the figures.

    settings are all that the figures depend on.
    """

    editor: Editor
    reader: Reader
    setups: dict[str, InversionSetup]
    cases: list[EditCase]
    steps: int | None
    output: Path | None
    settings: Settings


def bench_inversion(args: BenchOptions, console: Console) -> Report:
    """Measure the setups that the output file lacks, and report all that are asked for.

    First all of them run with models that answer zeros: that finds bad input and the cost.
    """
    job = _build_job(args)
    figures = read_figures(job.output, job.settings)
    for note in job.editor.models.notes:
        console.log(note)
    left = {name: one for name, one in job.setups.items() if name not in figures}
    at_most = {name: _find_most_rows(job, one) for name, one in left.items()}
    data = {"command": "bench", "dry_run": args.run.dry_run, **job.settings}
    if args.run.dry_run:
        costs = {name: cost._asdict() for name, cost in at_most.items()}
        return Report({}, {**data, "at_most": costs}, _describe_costs(at_most))
    for name in sorted(at_most, key=lambda name: sum(at_most[name])):  # the cheap ones first
        figures[name] = _measure(job, name, console)
        write = partial(write_figures, job.output, {"settings": job.settings}, figures)
        try_to_write(write, console)
    summary = _summarize(job, figures, _time_one_picture(job, console))
    head = {"settings": job.settings, "summary": summary}
    done = try_to_write(partial(write_figures, job.output, head, figures), console)
    files = [str(job.output)] if job.output and done else []
    lines = [*(f"wrote {file}" for file in files), *format_tables(summary)]
    return Report({}, {**data, **summary, "files": files}, lines, failed=not done)


def _build_job(args: BenchOptions) -> InversionBench:
    pictures = PICTURES if args.pictures is None else args.pictures
    if pictures < 1:
        raise BadInput(f"pictures must be 1 or more, got {pictures}")
    if args.speed.rounds is not None or args.speed.engines:
        raise BadInput("bench inversion takes no rounds and no engines: those are of bench speed")
    # Without a cache, because a source from a cache costs nothing.
    editor = check_world(open_editor(replace(args.model, cache=None), args.engine))
    every = build_setups(editor, args.steps)
    for name in args.methods or ():
        if name not in every:
            raise BadInput(f"methods must be of {', '.join(every)}, got {name!r}")
    setups = {name: one for name, one in every.items() if name in (args.methods or every)}
    settings = {
        "pictures": pictures,
        "steps": len(editor.runner.grid(args.steps).t),
        "model": editor.models.name,
        "sha256": model_hash(editor.models.origin),
        "dtype": str(editor.models.origin.dtype).removeprefix("torch."),
        "device": editor.device.type,
        "edit_guidance": editor.models.defaults.guidance_scale,
        "version": __version__,
    }
    cases = make_mixed_cases(pictures)
    return InversionBench(editor, load_reader(), setups, cases, args.steps, args.output, settings)


def check_world(editor: Editor) -> Editor:
    """The editor, unless it says that it knows another world than that of the pictures."""
    name, pictures = editor.models.name, editor.models.knowledge.pictures
    if find_world(pictures) is not POSTCARDS:
        want = f"a model of {POSTCARDS.pictures}, got {name}, which was trained on {pictures}"
        raise BadInput(f"bench inversion wants {want}: --model tiny is one")
    return editor


def _measure(job: InversionBench, name: str, console: Console) -> Sections:
    """All figures of one setup."""
    with console.progress(name) as on_step:
        setup, on_step = job.setups[name], on_step or _ignore
        sections = measure_setup(job.editor, job.reader, setup, job.cases, job.steps, on_step)
    console.log(f"{name}: {_format_cost(add_rows(sections))}")
    return sections


def _ignore(done: int, count: int) -> None:
    """A progress report that nobody sees."""


def _find_most_rows(job: InversionBench, setup: InversionSetup) -> Cost:
    """The most that all pictures may cost, by a dry run of the first one."""
    if setup.inversion.method == "null-text":
        setup = setup._replace(inversion=replace(setup.inversion, early_stop=NEVER))
    editor, cases = dry_run_editor(job.editor), job.cases[:1]
    sections = measure_setup(editor, job.reader, setup, cases, job.steps, _ignore)
    return Cost(*(len(job.cases) * part for part in add_rows(sections)))


def _describe_costs(at_most: dict[str, Cost]) -> list[str]:
    lines = [f"{name}: {_format_cost(cost)}" for name, cost in at_most.items()]
    return [*lines, f"at most: {_format_cost(add_costs(Cost(0, 0), *at_most.values()))}"]


def _format_cost(cost: Cost) -> str:
    backward = f" and {cost.backward_rows:,} backward" if cost.backward_rows else ""
    return f"{pluralize(cost.unet_rows, 'UNet row')}{backward}"


def _time_one_picture(job: InversionBench, console: Console) -> dict[str, ResourceUse]:
    """Seconds and memory of inverting one picture: the median of some, the methods in turns."""
    every: dict[str, list[ResourceUse]] = {name: [] for name in job.setups}
    with console.progress("one picture") as on_step:
        for k, case in enumerate((job.cases * ROUNDS)[:ROUNDS]):
            for name, setup in job.setups.items():
                g = default_guidance(job.editor, setup)
                invert = partial(invert_cases, job.editor, setup, [case], job.steps, g)
                if k == 0:
                    invert()  # first calls allocate and choose kernels
                every[name].append(measure_resources(invert, job.editor.device))
            (on_step or _ignore)(k + 1, ROUNDS)
    return {name: _find_median(some) for name, some in every.items()}


def _find_median(some: list[ResourceUse]) -> ResourceUse:
    peaks = [one.peak_bytes for one in some if one.peak_bytes is not None]
    seconds = statistics.median(one.seconds for one in some)
    return ResourceUse(seconds, int(statistics.median(peaks)) if peaks else None)


def _summarize(
    job: InversionBench, figures: dict[str, Sections], one_picture: dict[str, ResourceUse]
) -> Settings:
    """The summary of the setups that are asked for."""
    models, cells = job.editor.models, SIZE // job.editor.runner.factor
    tokens = models.c_shape[0]
    share = backward_share(models.unet, cells, cells, tokens)
    methods = {
        name: InversionFigures(
            figures[name], section_name(default_guidance(job.editor, setup)), one_picture[name]
        )
        for name, setup in job.setups.items()
    }
    spent = {name: add_rows(figures[name])._asdict() for name in job.setups}
    head = {"threads": torch.get_num_threads(), "backward_share": share, "spent": spent}
    return {**job.settings, **head, "methods": summarize(methods, share)}

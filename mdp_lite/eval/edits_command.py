"""What `mdp-lite bench edits` does: every method on the suite of drawn edits, as tables."""

from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from mdp_lite.checkpoint.identity import model_hash
from mdp_lite.cli.console import Console
from mdp_lite.editor import Editor
from mdp_lite.eval.contest import Method, anchors, made, measured, methods, settings
from mdp_lite.eval.edit_tables import summary, tables
from mdp_lite.eval.edits import KINDS, SPLITS, edits
from mdp_lite.eval.given import CASES, Given, Making, batches
from mdp_lite.eval.inversion_file import keep, kept
from mdp_lite.eval.inversions import Sections
from mdp_lite.eval.reader import SIZE, Reader, load_reader
from mdp_lite.eval.resources import backward_share
from mdp_lite.pictures.images import to_image
from mdp_lite.pictures.sheets import Row, sheet
from mdp_lite.pipeline.provenance import Settings
from mdp_lite.version import __version__

EDITS, STEPS = 64, 12  # of each kind: about an hour on two cores, by UNet rows
SHORT, SHORT_STEPS = 2, 6  # of --short: minutes
OnStep = Callable[[int, int], None]


class Job(NamedTuple):
    """What is to be measured: methods by case on so many edits of each kind; where that is kept."""

    editor: Editor
    reader: Reader
    methods: dict[str, dict[str, Method]]
    kinds: list[str]
    count: int
    split: str
    output: Path | None
    settings: Settings


def bench_edits(args: Namespace, console: Console) -> Made:
    """Measure what a file does not have yet, and tell all that it has."""
    job = _job(args)
    found = kept(job.output, job.settings)
    for note in job.editor.models.notes:
        console.log(note)
    data = {"command": "bench", "dry_run": args.dry_run, **job.settings}
    if args.dry_run:
        return Made({}, data, _foretold(job))
    _measure(job, found, console)
    told = {**job.settings, **summary(_asked(job, found))}
    keep(job.output, {"settings": job.settings, "summary": told}, found)
    if args.sheet:
        with console.progress("sheet"):
            gallery(job).save(args.sheet)
    files = [str(path) for path in (job.output, args.sheet) if path]
    lines = [*(f"wrote {file}" for file in files), *tables(told)]
    return Made({}, {**data, **told, "files": files}, lines)


def _measure(job: Job, found: dict[str, Sections], console: Console) -> None:
    """What is not found yet, kept after each kind of edit."""
    for case, some in job.methods.items():
        for kind in job.kinds:
            have = found.setdefault(f"{case} {kind}", {})
            left = {name: method for name, method in some.items() if name not in have}
            if left:
                with console.progress(f"{case} {kind}") as on_step:
                    have |= contested(job, case, kind, left, on_step or _silent)
                keep(job.output, {"settings": job.settings}, found)


def contested(job: Job, case: str, kind: str, some: dict[str, Method], on_step: OnStep) -> Sections:
    """Every figure of every edit of a kind, by method."""
    parts: list[Sections] = []
    done, total = 0, job.count * (len(some) + 1)
    for given in _given(job, case, edits(kind, job.split), job.count, some):
        now = {name: measured(job.reader, given, one) for name, one in anchors(given).items()}
        for name, method in some.items():
            now[name] = measured(job.reader, given, made(given, method))
            done += len(given.cases)
            on_step(done, total)
        done += len(given.cases)
        on_step(done, total)
        parts.append(now)
    return {
        name: {key: [v for one in parts for v in one[name][key]] for key in figures}
        for name, figures in parts[0].items()
    }


def gallery(job: Job) -> Image.Image:
    """One edit of each kind in each case: the source, the true answer, and every method."""
    rows: list[Row] = []
    for case, some in job.methods.items():
        firsts = [next(edits(kind, job.split)) for kind in job.kinds]
        for given in _given(job, case, firsts, len(firsts), some):
            still = anchors(given)
            shown = {"source": still["no edit"]}
            shown |= {"truth": still["truth"]} if "truth" in still else {}
            shown |= {name: made(given, method) for name, method in some.items()}
            for k, one in enumerate(given.cases):
                texts = {"source": f"{one.source} -> {one.target}"}
                rows.append(
                    [(texts.get(n, n), to_image(m.pictures[k : k + 1])) for n, m in shown.items()]
                )
    return sheet(rows)


def _given(
    job: Job, case: str, candidates: Iterable, count: int, some: dict[str, Method]
) -> Iterable[Given]:
    editor, steps = job.editor, job.settings["steps"]
    needed = frozenset(method.track for method in some.values())
    how = Making(editor, editor.runner.grid(steps), needed, job.settings["backward"])
    return batches(how, job.reader, case, candidates, count)


def _job(args: Namespace) -> Job:
    if args.rounds is not None or args.engines:
        raise ValueError("bench edits takes no rounds and no engines: those are of bench speed")
    split = "report" if args.split is None else args.split
    few, steps = (SHORT, SHORT_STEPS) if args.short else (EDITS, STEPS)
    count = few if args.pictures is None else args.pictures
    steps = steps if args.steps is None else args.steps
    if count < 1:
        raise ValueError(f"pictures must be 1 or more, got {count}")
    editor = opened(Namespace(**vars(args) | {"cache": None}))
    n = len(editor.runner.grid(steps).t)
    every = {case: (settings if split == "tune" else methods)(case, n) for case in CASES}
    chosen = {case: _chosen(some, args.methods, every) for case, some in every.items()}
    kinds = _named("kinds", args.kinds, tuple(KINDS))
    models, cells = editor.models, SIZE // editor.runner.factor
    tokens = models.text_encoder.config.max_position_embeddings
    told = {  # what the figures depend on
        "edits": count,
        "split": split,
        "first_seed": SPLITS[split],
        "steps": n,
        "guidance": editor.runner.guidance_scale(None),
        "model": models.name,
        "sha256": model_hash(models.origin),
        "dtype": str(models.origin.dtype).removeprefix("torch."),
        "device": editor.device.type,
        "backward": round(backward_share(models.unet, cells, cells, tokens), 3),
        "version": __version__,
    }
    return Job(editor, load_reader(), chosen, kinds, count, split, args.output, told)


def _chosen(
    some: dict[str, Method], asked: list[str] | None, every: dict[str, dict[str, Method]]
) -> dict[str, Method]:
    """The methods of a case that are asked for; one that no case has is an error."""
    known = tuple(dict.fromkeys(name for names in every.values() for name in names))
    names = _named("methods", asked, known)
    return {name: method for name, method in some.items() if name in names}


def _named(what: str, asked: list[str] | None, known: tuple[str, ...]) -> list[str]:
    for name in asked or ():
        if name not in known:
            raise ValueError(f"{what} must be of {', '.join(known)}, got {name!r}")
    return list(asked or known)


def _asked(job: Job, found: dict[str, Sections]) -> dict[str, Sections]:
    """What is told: the jobs and methods that were asked for, of all that a file has."""
    names = {"no edit", "vae", "truth"} | {n for some in job.methods.values() for n in some}
    return {
        f"{case} {kind}": {n: v for n, v in found[f"{case} {kind}"].items() if n in names}
        for case in job.methods
        for kind in job.kinds
    }


def _foretold(job: Job) -> list[str]:
    edited = job.count * len(job.kinds)
    return [f"{case}: {edited} edits by {len(some)} methods" for case, some in job.methods.items()]


def _silent(done: int, count: int) -> None:
    """Where nobody watches."""

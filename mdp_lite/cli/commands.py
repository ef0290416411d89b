"""What the sub-commands of mdp-lite do; arguments reads their options, __main__ prints."""

import math
import time
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path

from mdp_lite.checkpoint import atomic
from mdp_lite.checkpoint.load import convert
from mdp_lite.cli.compile import compile
from mdp_lite.cli.console import Console, generated, inverted, note_cut, saved, source_of, where_of
from mdp_lite.cli.dry_run import dry_run_editor
from mdp_lite.cli.info import about, listing
from mdp_lite.cli.loading import open_editor, read_choices
from mdp_lite.cli.plan import plan
from mdp_lite.cli.reports import (
    Made,
    describe_edit,
    named,
    report,
    row_of,
    total,
)  # fmt: skip
from mdp_lite.cli.sweep import sweep
from mdp_lite.editor import Edit, Editor, Source
from mdp_lite.method.schedule import paper_window
from mdp_lite.names import VARIANTS
from mdp_lite.pictures import images
from mdp_lite.pictures.sheets import Row, sheet
from mdp_lite.pipeline import check
from mdp_lite.pipeline.request import Request, variant_of


def run(args: Namespace, console: Console) -> Made:
    """Rehearse a command, so that bad input is found before any work; then run it and write."""
    started = time.monotonic()
    if args.command == "info":
        data, lines = listing() if args.list else about(args.model, read_choices(args), args.hash)
        return Made({}, {"command": "info", **data}, lines)
    if args.command == "convert":
        return converted(args, console)
    editor = open_editor(args)
    if args.command == "plan":
        return plan(args, editor, console)
    if args.command == "compile":
        return compile(args, editor, console)
    command = COMMANDS[args.command]
    notes: list[str] = list(editor.models.notes)
    made = command(
        args, dry_run_editor(editor), Console(notes.append, lambda name: nullcontext(), SILENT)
    )
    for path in files_of(made):
        for read in (args.picture, getattr(args, "mask", None)):
            images.check_output(path, read)
    for text in dict.fromkeys(notes):
        console.log(text)
    if not args.dry_run:
        made = command(args, editor, console._replace(note=SILENT))
        for path, (image, settings) in made.pictures.items():
            images.save_png(image, path, settings)
        for path, content in made.others:
            atomic.write(path, content)
    verb = "would write" if args.dry_run else "wrote"
    data = {
        "command": args.command,
        "dry_run": args.dry_run,
        **made.data,
        "files": [str(path) for path in files_of(made)],
        "seconds": round(time.monotonic() - started, 3),
    }
    return Made(made.pictures, data, [*(f"{verb} {path}" for path in files_of(made)), *made.lines])


def files_of(made: Made) -> list[Path]:
    """All that a command writes."""
    return [*made.pictures, *(path for path, _ in made.others)]


def converted(args: Namespace, console: Console) -> Made:
    """A model in another form."""
    with console.progress("convert") as on_step:
        done = convert(
            args.model,
            args.output,
            check.dtype(args.dtype),
            read_choices(args),
            on_step,
            args.dry_run,
        )
    for note in done.notes:
        console.log(note)
    sizes = {name: f"{size / 1e6:,.1f} MB" for name, size in done.weights.items()}
    verb = "would write" if args.dry_run else "wrote"
    data = {
        "command": "convert",
        "dry_run": args.dry_run,
        "layout": done.layout,
        "weights": done.weights,
        "notes": list(done.notes),
        "files": [str(done.out)],
    }
    lines = [f"  {name}: {size}" for name, size in sizes.items()]
    return Made({}, data, [f"{verb} {done.out} ({done.layout})", *lines])


def generate(args: Namespace, editor: Editor, console: Console) -> Made:
    """A picture from a prompt and a seed."""
    source = generated(args, editor, console, args.prompt, args.seed)
    settings = describe_source(editor.models.name, source)
    made = report({args.output: (source.image, settings)}, source.cost, source.truncated)
    return made._replace(others=saved(args, source))


def invert(args: Namespace, editor: Editor, console: Console) -> Made:
    """A picture's path, and how near what it decodes to is to the picture."""
    source = inverted(args, editor, console, args.prompt)
    settings = describe_source(editor.models.name, source)
    again = source.frame.undone(source.image, source.picture)
    made = report({args.output: (again, settings)}, source.cost, source.truncated)
    made = made._replace(others=saved(args, source))
    if args.dry_run:
        return made
    fitted = source.frame.fitted(source.picture)
    trip = editor.runner.decode(editor.runner.encode(fitted))
    psnr = {
        "the picture as fitted": images.psnr(source.image, fitted),
        "the VAE's own round trip": images.psnr(source.image, trip),
    }
    shown = {k: f"{v:.2f} dB" if math.isfinite(v) else "identical" for k, v in psnr.items()}
    lines = [f"PSNR of the reconstruction against {k}: {v}" for k, v in shown.items()]
    values = [round(v, 3) if math.isfinite(v) else None for v in psnr.values()]  # JSON has no inf
    data = made.data | dict(zip(("psnr_to_picture", "psnr_to_vae"), values, strict=True))
    return made._replace(data=data, lines=[*lines, *made.lines])


def edit(args: Namespace, editor: Editor, console: Console) -> Made:
    """A picture, or one made from a prompt and a seed, steered towards a prompt."""
    source = source_of(args, editor, console)
    request = Request(source, args.prompt, args.variant, args.t_max, args.t_m)
    variants = VARIANTS if args.variant == "all" else (variant_of(request, editor.models.defaults),)
    ends = [edited(args, editor, console, source, variant) for variant in variants]
    edits = [one for one, _ in ends]
    asked = {
        key: getattr(args, key)
        for key in ("t_max", "t_m", "schedule", "strength", "deadline", "proximal")
    }
    pictures = {}
    for one in edits:
        path = args.output if len(edits) == 1 else named(args.output, f"-{one.variant}")
        pictures[path] = (one.picture, describe_edit(editor.models.name, source, one, asked))
    settings = describe_edit(
        editor, source, edits[0], asked | {"variant": args.variant or edits[0].variant}
    )
    pages = {"sheet": (args.sheet or named(args.output, ".sheet"), [row_of(source, edits)])}
    if args.previews:
        pages["previews"] = (args.previews, [shots for _, shots in ends])
    shown = {name: (page, sheet(rows)) for name, (page, rows) in pages.items()}
    if args.save_mask and edits[0].mask:
        shown["save-mask"] = (args.save_mask, edits[0].mask)
    for name, (page, image) in shown.items():
        if page in pictures:
            raise ValueError(f"{name} must be another file than the picture, got {str(page)!r}")
        pictures[page] = (image, settings)
    made = report(
        pictures,
        total(source.cost, *(one.cost for one in edits)),
        source.truncated or edits[0].truncated,
    )
    costs = {one.variant: one.cost._asdict() for one in edits}
    late = [f"{one.variant}: stopped at the deadline" for one in edits if not one.finished]
    data = {"finished": not late, "costs": {"source": source.cost._asdict(), **costs}}
    return made._replace(
        data=made.data | data, lines=[*made.lines, *late], others=saved(args, source)
    )


def demo(args: Namespace, editor: Editor, console: Console) -> Made:
    """Both cases with all four variants: one sheet, and every picture alone."""
    with console.progress("generate") as on_step:
        drawn = editor.generate(SYNTHETIC[0], SEED, STEPS, on_step=on_step)
    example = images.open_picture((editor.models.folder or Path()) / "example.png")
    with console.progress("invert") as on_step:
        real = editor.invert(example, REAL[0], "replay", STEPS, on_step=on_step)
    t_max, t_m = paper_window(STEPS)
    asked = {"t_max": t_max, "t_m": t_m, "schedule": SCHEDULE}
    pictures, rows, costs = {}, [], [drawn.cost, real.cost]
    for case, source, prompt in (("synthetic", drawn, SYNTHETIC[1]), ("real", real, REAL[1])):
        edits = []
        for variant in VARIANTS:
            with console.progress(f"{case} {variant}") as on_step:
                edits.append(editor.edit(source, prompt, variant, **asked, on_step=on_step))
        settings = describe_source(editor.models.name, source)
        pictures[args.output / f"{case}-source.png"] = (source.image, settings)
        for one in edits:
            settings = describe_edit(editor.models.name, source, one, asked)
            pictures[args.output / f"{case}-{one.variant}.png"] = (one.image, settings)
        rows.append(row_of(source, edits))
        costs += [one.cost for one in edits]
    page = args.output / "sheet.png"
    pictures[page] = (sheet(rows), describe_source(editor.models.name, drawn))
    made = report(pictures, total(*costs), False)
    return made._replace(lines=[*made.lines, f"before and after: {page}"])


def edited(
    args: Namespace, editor: Editor, console: Console, source: Source, variant: str
) -> tuple[Edit, Row]:
    """One edit of a source, and with --previews some of what it headed for on its way."""
    note_cut(editor, console, args.prompt)
    request = Request(
        source, args.prompt, variant, args.t_max, args.t_m, args.schedule, args.strength,
        None, args.guidance_scale, args.negative_prompt or None, where_of(args), args.paste,
        args.feather, args.proximal,
    )  # fmt: skip
    shots: Row = []
    last = 0
    with console.progress(f"edit {variant}") as on_step:
        for done, steps, _, (at,) in editor.steps([request], deadline=args.deadline):
            if on_step:
                on_step(done, steps, at.x)
            last, before = PREVIEWS * done // steps, last
            if args.previews and (last > before or not shots):
                shots.append((f"{variant}: {done} of {steps} steps", editor.preview(at)))
    return editor.result(at), shots


SILENT = lambda text: None  # noqa: E731
PREVIEWS = 8  # of an edit, on the sheet of --previews
COMMANDS = {"generate": generate, "invert": invert, "edit": edit, "sweep": sweep, "demo": demo}
# What `demo` shows: (source, target) prompts; the example picture lies beside the bundled model.
SYNTHETIC = (
    "a red house on the left, grass, clear day with the sun",
    "a blue house on the left, grass, clear day with the sun",
)
SEED, STEPS = 7, 30
SCHEDULE = "cosine"  # with constant weights, c and beta are one picture
REAL = (
    "an orange house on the right, grass, clear day with the sun",
    "an orange house on the right, snow, clear day with the sun",
)

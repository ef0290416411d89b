"""What `mdp-lite compile` does: packages of a model's UNet, so that nobody waits for a compiler."""

import os
import time
from argparse import Namespace

from mdp_lite.checkpoint.identity import model_hash
from mdp_lite.cli.console import Console
from mdp_lite.cli.units import SIZES, format_count
from mdp_lite.editor import Editor
from mdp_lite.engine import aot, packages
from mdp_lite.engine.engine import attending
from mdp_lite.engine.packages import Package, Shape
from mdp_lite.pipeline import check


def compile(args: Namespace, editor: Editor, console: Console) -> Made:
    """One package for each count of rows, in a folder; a dry run says which."""
    _check(args)
    models, shapes = editor.models, _shapes(args, editor)
    attend = attending(editor.device, traced=True)
    made = aot.made_for(models.unet, editor.device, attend, model_hash(models.origin))
    for note in models.notes:
        console.log(note)
    done: list[tuple[Package, float]] = []
    for shape in () if args.dry_run else shapes:
        console.log(f"compiling {_told(shape)}: a minute or several")
        started = time.monotonic()
        package = aot.compiled(models.unet, attend, shape, made, args.output)
        done.append((package, time.monotonic() - started))
    paths = [str(args.output / f"{packages.named(made, shape)}.json") for shape in shapes]
    data = {
        "command": "compile",
        "dry_run": args.dry_run,
        "made": vars(made),
        "shapes": [shape._asdict() for shape in shapes],
        "files": paths,
        "bytes": [package.size for package, _ in done],
        "seconds": [round(seconds, 3) for _, seconds in done],
    }
    if args.dry_run:
        return Made({}, data, [f"would write {path}" for path in paths])
    lines = [
        f"wrote {package.path}: {_told(package.shape)}, {format_count(package.size, SIZES)}, {took:.0f} s"
        for package, took in done
    ]
    return Made({}, data, lines)


def _check(args: Namespace) -> None:
    """Everything that can be refused before a minute of work is."""
    aot.need_compiler()
    for rows in args.rows:
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}")
    nearest = next(one for one in (args.output, *args.output.absolute().parents) if one.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise ValueError(f"output must be a folder that can be written, got {str(args.output)!r}")


def _shapes(args: Namespace, editor: Editor) -> list[Shape]:
    """What is compiled: pictures of one size under all counts of rows."""
    codec, tokens = editor.runner, editor.models.text_encoder.config.max_position_embeddings
    sides = (("height", args.height, codec.size[1]), ("width", args.width, codec.size[0]))
    height, width = (
        check.side(name, own if side is None else side, codec.factor) // codec.factor
        for name, side, own in sides
    )
    return [Shape(rows, height, width, tokens) for rows in dict.fromkeys(args.rows)]


def _told(shape: Shape) -> str:
    rows = "1 row" if shape.rows == 1 else f"{shape.rows} rows"
    return f"{rows} of {shape.height}x{shape.width} cells"

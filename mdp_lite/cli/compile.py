"""`mdp-lite compile`: packages of a model's UNet, so that no edit waits for a compiler."""

import time

from mdp_lite.checkpoint.identity import model_hash
from mdp_lite.cli.commands.compile import CompileOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.reports import Report
from mdp_lite.cli.units import SIZES, format_count, pluralize
from mdp_lite.editor import Editor
from mdp_lite.engine import aot, packages
from mdp_lite.engine.engine import choose_attention, choose_mode
from mdp_lite.engine.packages import Package, Shape
from mdp_lite.files import atomic
from mdp_lite.names import BadInput


def compile_packages(args: CompileOptions, editor: Editor, console: Console) -> Report:
    """Compile one package for each count of rows; a dry run only lists them."""
    _check_options(args, editor)
    models, shapes = editor.models, _build_shapes(args, editor)
    attend = choose_attention(editor.device, traced=True)
    target = aot.package_target(models.unet, editor.device, attend, model_hash(models.origin))
    for note in models.notes:
        console.log(note)
    compiled: list[tuple[Package, float]] = []
    for shape in () if args.run.dry_run else shapes:
        console.log(f"compiling {_describe_shape(shape)}: a minute or several")
        started = time.monotonic()
        package = aot.compile_package(models.unet, attend, shape, target, args.output)
        compiled.append((package, time.monotonic() - started))
    paths = [str(args.output / f"{packages.package_name(target, shape)}.json") for shape in shapes]
    data = {
        "command": "compile",
        "dry_run": args.run.dry_run,
        "made_for": vars(target),
        "shapes": [shape._asdict() for shape in shapes],
        "files": paths,
        "bytes": [package.size for package, _ in compiled],
        "seconds": [round(seconds, 3) for _, seconds in compiled],
    }
    if args.run.dry_run:
        return Report({}, data, [f"would write {path}" for path in paths])
    return Report({}, data, [_describe_package(*one) for one in compiled])


def _check_options(args: CompileOptions, editor: Editor) -> None:
    """Raise BadInput for what would fail only after minutes of work."""
    choose_mode("aot", editor.device, packages=True)
    aot.need_compiler()
    try:
        atomic.check(args.output / "package.json")
    except OSError:
        want = "output must be a folder that can be written"
        raise BadInput(f"{want}, got {str(args.output)!r}") from None


def _build_shapes(args: CompileOptions, editor: Editor) -> list[Shape]:
    """The shapes to compile: pictures of one size, in all counts of rows."""
    runner, tokens = editor.runner, editor.models.c_shape[0]
    width, height = (side // runner.factor for side in runner.image_size(args.width, args.height))
    return [Shape(rows, height, width, tokens) for rows in args.rows]


def _describe_package(package: Package, seconds: float) -> str:
    size = format_count(package.size, SIZES)
    return f"wrote {package.path}: {_describe_shape(package.shape)}, {size}, {seconds:.0f} s"


def _describe_shape(shape: Shape) -> str:
    return f"{pluralize(shape.rows, 'UNet row')} of {shape.height}x{shape.width} cells"

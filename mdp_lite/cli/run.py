"""Running one command: first a dry run that finds bad input, then the command, then its files."""

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mdp_lite.cli.commands.edit import EditCommandOptions
from mdp_lite.cli.commands.generate import GenerateOptions
from mdp_lite.cli.commands.invert import InvertOptions
from mdp_lite.cli.commands.mcp import McpOptions
from mdp_lite.cli.compile import compile_packages
from mdp_lite.cli.console import Console, collect_messages, ignore
from mdp_lite.cli.convert import convert_model
from mdp_lite.cli.demo import make_demo
from mdp_lite.cli.dry_run import dry_run_editor
from mdp_lite.cli.early import check_schedule
from mdp_lite.cli.edit import make_edits
from mdp_lite.cli.generate import generate_picture
from mdp_lite.cli.info import show_model
from mdp_lite.cli.inputs import is_file, read_pipes
from mdp_lite.cli.invert import invert_picture
from mdp_lite.cli.loading import open_editor
from mdp_lite.cli.memory import add_memory
from mdp_lite.cli.model_options import EngineOptions, ModelOptions
from mdp_lite.cli.plan import show_plan
from mdp_lite.cli.reports import Report
from mdp_lite.cli.sampling_options import choose_steps
from mdp_lite.cli.streams import check_open, name_stream
from mdp_lite.cli.sweep import make_sweep
from mdp_lite.cli.values import STDOUT
from mdp_lite.editor import Editor
from mdp_lite.files import atomic
from mdp_lite.names import BadInput
from mdp_lite.pictures import images
from mdp_lite.pictures.output import picture_bytes

Command = Callable[[Any, Editor, Console], Report]  # of the options of the command
OnePicture = GenerateOptions | EditCommandOptions | InvertOptions  # whose -o is a picture

# Commands that read a checkpoint themselves, those that never write pictures, and all others.
WITHOUT_EDITOR = {"info": show_model, "convert": convert_model}
WITHOUT_PICTURES: dict[str, Command] = {"plan": show_plan, "compile": compile_packages}
WITH_PICTURES: dict[str, Command] = {
    "generate": generate_picture,
    "invert": invert_picture,
    "edit": make_edits,
    "sweep": make_sweep,
    "demo": make_demo,
}


def run_command(args: Any, console: Console) -> Report:
    """Run a command, with its own options as args. Raises BadInput before any work."""
    if args.command in WITHOUT_EDITOR:
        return WITHOUT_EDITOR[args.command](args, console)
    if writes_stdout(args) and not args.run.dry_run:
        check_open(sys.stdout, "-o - writes a PNG to stdout")
        if sys.stdout.isatty():
            raise BadInput("-o - writes a PNG to a pipe or a file, got a terminal as stdout")
    args = read_pipes(args)
    started, editor = time.monotonic(), _open_editor(args)
    args = choose_steps(args, editor.models.defaults)
    if args.command in WITHOUT_PICTURES:
        return WITHOUT_PICTURES[args.command](args, editor, console)
    command = WITH_PICTURES[args.command]
    report = _check(command, args, editor, console)
    if not args.run.dry_run:
        report = command(args, editor, console._replace(log=ignore))
        _write_files(report, args.save.file_quality if isinstance(args, OnePicture) else None)
    return _finish_report(args, report, time.monotonic() - started)


def writes_stdout(args: Any) -> bool:
    """Whether stdout gets a picture or messages of MCP, so that the report belongs on stderr."""
    if isinstance(args, McpOptions):
        return not (args.http or args.run.dry_run)
    return isinstance(args, OnePicture) and str(args.output) == STDOUT


def _open_editor(args: Any) -> Editor:
    """The model of a command.

    The demo's is the bundled one in float32, so that its pictures are the same on every device.
    """
    if args.command == "demo":
        return open_editor(ModelOptions(dtype="float32"), EngineOptions())
    plans = args.command == "plan"
    return open_editor(args.model, args.engine, partial(check_schedule, args), plans)


def _check(command: Command, args: Any, editor: Editor, console: Console) -> Report:
    """Dry-run a command and check that its files can be written; log its messages once."""
    messages: list[str] = list(editor.models.notes)
    calls: list[tuple[int, ...]] = []
    report = command(args, dry_run_editor(editor, calls), collect_messages(messages))
    if args.run.dry_run:
        report = add_memory(report, editor, calls)
    for path in _list_files(report):
        for read in [None, *filter(is_file, _list_inputs(args))]:
            if str(path) != STDOUT:
                _check_stream(path)
                images.check_output(path, read)
    for text in dict.fromkeys(messages):
        console.log(text)
    return report


def _check_stream(path: Path) -> None:
    """Raise BadInput for a path such as /dev/stdout if that stream was closed."""
    if number := atomic.find_descriptor(path):
        stream = {1: sys.stdout, 2: sys.stderr}.get(number)
        if stream is not None:
            check_open(stream, f"{path} must be open")


def _list_inputs(args: Any) -> list[str | None]:
    """The pictures that a command reads."""
    if isinstance(args, InvertOptions):
        return [args.picture]
    masks = [args.mask.mask] if isinstance(args, EditCommandOptions) else []
    return [args.source.picture, *masks] if hasattr(args, "source") else []


def _write_files(report: Report, quality: int | None) -> None:
    """Write a command's files, and to stdout what is for it."""
    files = dict(_encode_files(report, quality))
    picture = files.pop(Path(STDOUT), None)
    atomic.write_each(files.items())
    if picture is not None:
        with name_stream(sys.stdout):
            sys.stdout.buffer.write(picture)
            sys.stdout.buffer.flush()


def _encode_files(report: Report, quality: int | None) -> Iterator[tuple[Path, bytes]]:
    """Each file of a command and its content."""
    for path, (image, settings) in report.pictures.items():
        yield path, picture_bytes(image, path.suffix or ".png", settings, quality)
    yield from report.others


def _finish_report(args: Any, report: Report, seconds: float) -> Report:
    """The report with the files and what every command has."""
    files = _list_files(report)
    verb = "would write" if args.run.dry_run else "wrote"
    data = {
        "command": args.command,
        "dry_run": args.run.dry_run,
        **report.data,
        "files": [str(path) for path in files],
        "seconds": round(seconds, 3),
    }
    names = ("a PNG to stdout" if str(path) == STDOUT else str(path) for path in files)
    return report._replace(data=data, lines=[*(f"{verb} {name}" for name in names), *report.lines])


def _list_files(report: Report) -> list[Path]:
    return [*report.pictures, *(path for path, _ in report.others)]

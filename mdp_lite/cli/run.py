"""Running one command: first a dry run that finds bad input, then the command, then its files."""

import time
from argparse import Namespace
from collections.abc import Callable
from itertools import chain
from pathlib import Path

from mdp_lite import atomic
from mdp_lite.cli.compile import compile_packages
from mdp_lite.cli.console import Console, collect_messages, ignore, show_warnings
from mdp_lite.cli.convert import convert_model
from mdp_lite.cli.demo import make_demo
from mdp_lite.cli.dry_run import dry_run_editor
from mdp_lite.cli.edit import make_edits
from mdp_lite.cli.generate import generate_picture
from mdp_lite.cli.info import show_model
from mdp_lite.cli.invert import invert_picture
from mdp_lite.cli.loading import open_editor
from mdp_lite.cli.plan import show_plan
from mdp_lite.cli.reports import Report
from mdp_lite.cli.sweep import make_sweep
from mdp_lite.editor import Editor
from mdp_lite.pictures import images

Command = Callable[[Namespace, Editor, Console], Report]

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


def run_command(args: Namespace, console: Console) -> Report:
    """Run a command. Raises BadInput before any work."""
    with show_warnings(args.quiet):
        return _run_command(args, console)


def _run_command(args: Namespace, console: Console) -> Report:
    if args.command in WITHOUT_EDITOR:
        return WITHOUT_EDITOR[args.command](args, console)
    started, editor = time.monotonic(), open_editor(args)
    if args.command in WITHOUT_PICTURES:
        return WITHOUT_PICTURES[args.command](args, editor, console)
    command = WITH_PICTURES[args.command]
    report = _check(command, args, editor, console)
    if not args.dry_run:
        report = command(args, editor, console._replace(log=ignore))
        _write_files(report)
    return _finish_report(args, report, time.monotonic() - started)


def _check(command: Command, args: Namespace, editor: Editor, console: Console) -> Report:
    """Dry-run a command and check that its files can be written; log its messages once."""
    messages: list[str] = list(editor.models.notes)
    report = command(args, dry_run_editor(editor), collect_messages(messages))
    for path in _list_files(report):
        for read in (args.picture, getattr(args, "mask", None)):
            images.check_output(path, read)
    for text in dict.fromkeys(messages):
        console.log(text)
    return report


def _write_files(report: Report) -> None:
    """Write a command's files; an error names those that were written before it."""
    pictures = report.pictures.items()
    atomic.write_each(
        chain(
            ((path, images.png_bytes(image, settings)) for path, (image, settings) in pictures),
            report.others,
        )
    )


def _finish_report(args: Namespace, report: Report, seconds: float) -> Report:
    """The report with the files and what every command has."""
    files = _list_files(report)
    verb = "would write" if args.dry_run else "wrote"
    data = {
        "command": args.command,
        "dry_run": args.dry_run,
        **report.data,
        "files": [str(path) for path in files],
        "seconds": round(seconds, 3),
    }
    lines = [*(f"{verb} {path}" for path in files), *report.lines]
    return report._replace(data=data, lines=lines)


def _list_files(report: Report) -> list[Path]:
    return [*report.pictures, *(path for path, _ in report.others)]

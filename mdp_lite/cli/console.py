"""The terminal: a command's messages and progress bars on stderr, its report on stdout."""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from mdp_lite.cli.model_options import RunOptions
from mdp_lite.cli.streams import discard, name_stream
from mdp_lite.cli.waiting import WaitingLine, keep_alive

if TYPE_CHECKING:  # they import torch, which `--help` must not cost
    from mdp_lite.cli.reports import Report
    from mdp_lite.editor import OnStep

SIZE = (80, 24)  # columns and rows of a terminal that says it has none
UNITS = {"convert": "B", "batch": "edit", "look": "row"}  # of a bar; all others count steps
# What a loop of steps does outside them, by the first word of its name: the VAE takes seconds.
BEFORE_STEPS = {"invert": "encoding the picture"}
AFTER_STEPS = dict.fromkeys(("generate", "invert", "edit"), "decoding the picture")


def ignore(text: str) -> None:
    """Write nothing."""


class Console(NamedTuple):
    """Where a command writes: log takes a sentence, progress(name) shows a loop's progress.

    progress(name) is a context whose value is an on_step function, or None if nothing is shown.
    status adds a few words to the bar that is shown. wait shows a line with the seconds that have
    passed, on a terminal, until the next sentence or bar; without a text it erases the line.
    """

    log: Callable[[str], None]
    progress: Callable[[str], AbstractContextManager[Any]]
    status: Callable[[str], None]
    wait: Callable[[str], None] = ignore


def open_console(run: RunOptions) -> Console:
    """The console of a command line: nothing with --quiet, and bars only on a terminal."""
    bars: list[Any] = []  # those that are shown now
    shown = not run.quiet and sys.stderr.isatty()
    line = WaitingLine(shown)

    def log(text: str) -> None:
        line.clear()
        print_message(text)

    def progress(name: str) -> "AbstractContextManager[OnStep | None]":
        line.clear()
        return show_bar(name, shown, bars)

    return Console(
        log=ignore if run.quiet else log,
        progress=progress,
        status=lambda text: bars[-1].set_postfix_str(text, refresh=False) if bars else None,
        wait=lambda text: line.show(text) if text else line.clear(),
    )


def collect_messages(messages: list[str]) -> Console:
    """A console that shows nothing and appends its messages to a list."""
    return Console(messages.append, lambda name: nullcontext(), ignore)


@contextmanager
def show_bar(name: str, shown: bool, bars: list[Any]) -> "Iterator[OnStep | None]":
    """Show a bar on stderr and yield the function that moves it; it is in bars until the end."""
    if not shown:
        yield None
        return
    from tqdm import tqdm  # an error message must not cost its import

    unit, kind = UNITS.get(name, "step"), name.partition(" ")[0]
    scale = unit == "B"
    with tqdm(desc=name, unit=unit, unit_scale=scale, leave=False, file=sys.stderr) as bar:
        if bar.ncols is not None and bar.ncols < 1:  # so say some containers: then tqdm shows none
            bar.ncols, bar.nrows = SIZE
        bar.set_postfix_str(BEFORE_STEPS.get(kind, ""))

        def on_step(done: int, total: int, latent: Any = None) -> None:
            bar.total = total
            if kind in AFTER_STEPS:
                bar.set_postfix_str(AFTER_STEPS[kind] if done == total else "", refresh=False)
            bar.update(done - bar.n)
            if done == total:  # tqdm leaves out a change that follows another at once
                bar.refresh()

        bars.append(bar)
        try:
            with keep_alive(bar.refresh):  # a step of a large model takes seconds
                yield on_step
        finally:
            bars.pop()


@contextmanager
def show_warnings(quiet: bool) -> Iterator[None]:
    """Write what the library logs on stderr, as a command's messages; with quiet only errors."""
    log, handler = logging.getLogger("mdp_lite"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("mdp-lite: %(message)s"))
    handler.setLevel(logging.ERROR if quiet else logging.WARNING)
    handler.addFilter(lambda record: not _has_handler(logging.getLogger(), handler.stream))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def _has_handler(log: logging.Logger, stream: TextIO) -> bool:
    """Whether a logger writes to a stream already, as that of a service does."""
    return any(getattr(handler, "stream", None) is stream for handler in log.handlers)


def print_report(run: RunOptions, report: "Report", file: TextIO) -> None:
    """Print a report: one JSON object with --json, else lines unless --quiet is given.

    Raises CannotWrite.
    """
    text = json.dumps(report.data) if run.json else "" if run.quiet else "\n".join(report.lines)
    if text:
        with name_stream(file):
            print(text, file=file, flush=True)


def print_message(text: str) -> None:
    """Print one line on stderr; if that can't be written, nobody can be told."""
    try:
        print(f"mdp-lite: {text}", file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)


def print_error(error: object) -> None:
    """Print an error as one line on stderr, or its type if it has no text."""
    print_message(" ".join(str(error).split()) or type(error).__name__)

"""The terminal: a command's messages and progress bars on stderr, its report on stdout."""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from mdp_lite.cli.model_options import RunOptions

if TYPE_CHECKING:  # they import torch, which `--help` must not cost
    from mdp_lite.cli.reports import Report
    from mdp_lite.editor import OnStep

UNITS = {"convert": "B", "batch": "edit", "look": "row"}  # of a bar; all others count steps


class Console(NamedTuple):
    """Where a command writes: log takes a sentence, progress(name) shows a loop's progress.

    progress(name) is a context whose value is an on_step function, or None if nothing is shown.
    status adds a few words to the bar that is shown.
    """

    log: Callable[[str], None]
    progress: Callable[[str], AbstractContextManager[Any]]
    status: Callable[[str], None]


def ignore(text: str) -> None:
    """Write nothing."""


def open_console(run: RunOptions) -> Console:
    """The console of a command line: nothing with --quiet, and bars only on a terminal."""
    bars: list[Any] = []  # those that are shown now
    return Console(
        log=ignore if run.quiet else print_message,
        progress=lambda name: show_bar(name, not run.quiet and sys.stderr.isatty(), bars),
        status=lambda text: bars[-1].set_postfix_str(text, refresh=False) if bars else None,
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

    unit = UNITS.get(name, "step")
    scale = unit == "B"
    with tqdm(desc=name, unit=unit, unit_scale=scale, leave=False, file=sys.stderr) as bar:

        def on_step(done: int, total: int, latent: Any = None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        bars.append(bar)
        try:
            yield on_step
        finally:
            bars.pop()


@contextmanager
def show_warnings(quiet: bool) -> Iterator[None]:
    """Write what the library logs on stderr, as a command's messages; with quiet only errors."""
    log, handler = logging.getLogger("mdp_lite"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("mdp-lite: %(message)s"))
    handler.setLevel(logging.ERROR if quiet else logging.WARNING)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def print_report(run: RunOptions, report: "Report", file: TextIO) -> None:
    """Print a report: one JSON object with --json, else lines unless --quiet is given."""
    if run.json:
        print(json.dumps(report.data), file=file, flush=True)
    elif not run.quiet:
        print("\n".join(report.lines), file=file, flush=True)


def print_message(text: str) -> None:
    """Print one line on stderr."""
    print(f"mdp-lite: {text}", file=sys.stderr)


def print_error(error: object) -> None:
    """Print an error as one line on stderr, or its type if it has no text."""
    print_message(" ".join(str(error).split()) or type(error).__name__)

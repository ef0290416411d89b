"""The terminal: messages and progress bars of a command, on stderr."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple


class Console(NamedTuple):
    """Where a command writes: log takes a sentence, progress(name) shows a loop's progress.

    progress(name) is a context whose value is an on_step function, or None if nothing is shown.
    status adds a few words to the bar that is shown.
    """

    log: Callable[[str], None]
    progress: Callable[[str], AbstractContextManager[Any]]
    status: Callable[[str], None]

"""The standard streams: those that are closed, as cron and daemons start a command, and full ones.

Python has None for a closed stream, and the next file that is opened gets its descriptor: a message
on stderr could end up in a picture.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from mdp_lite.names import BadInput, CannotWrite

STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}  # with the mode of each, by descriptor
NAMES = {"<stdout>": "standard output", "<stderr>": "standard error"}


def replace_closed_streams() -> None:
    """Open the null device for each closed standard stream, before any other file is opened."""
    for name, mode in STREAMS.items():
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode)  # noqa: SIM115  # it gets the lowest free descriptor
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def escape_unknown_letters() -> None:
    """Let stdout and stderr escape letters that their encoding lacks: a file's name is no error."""
    for name in ("stdout", "stderr"):
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_closed(stream: TextIO | None) -> bool:
    """Whether a standard stream was closed; one that leads to the null device is not."""
    return stream is None or getattr(stream, "name", None) == os.devnull


def check_open(stream: TextIO | None, what: str) -> None:
    """Raise BadInput if a standard stream that is needed was closed; what says what needs it."""
    if is_closed(stream):
        raise BadInput(f"{what}, got a closed one")


@contextmanager
def name_stream(stream: TextIO) -> Iterator[None]:
    """Raise CannotWrite with the stream's name if it can't be written, as its disk is full.

    BrokenPipeError stays: nobody reads any more.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is not None:  # a file's, as of the shell's completion
            raise CannotWrite(error.errno, error.strerror, str(error.filename)) from None
        discard(stream)
        name = NAMES.get(getattr(stream, "name", ""), "standard output")
        raise CannotWrite(error.errno, error.strerror, name) from None


def discard(stream: TextIO) -> None:
    """Let what a stream still holds go nowhere, so that the exit of the process does not fail."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

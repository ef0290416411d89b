"""One check of the doctor: its outcome, and how an error or a warning becomes a part of it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from mdp_lite.names import BadCheckpoint, MdpError

State = Literal["pass", "fail", "skipped"]
MEND = "mend what the text names, then run this again"
DAMAGED = "get the file again, or give another model"
REPORT = "if the checks above pass, report this with the whole output of mdp-lite doctor"


class Check(NamedTuple):
    """The outcome of a check: its name, its state, what was found, and what to do about it.

    figures are what was measured, as numbers and texts for --json.
    """

    name: str
    state: State
    text: str
    advice: str = ""
    figures: dict[str, Any] = {}


def judge(
    name: str, works: bool, text: str, advice: str, figures: dict[str, Any] | None = None
) -> Check:
    """A check that passes, or that fails with advice."""
    found = {} if figures is None else figures
    return Check(name, "pass" if works else "fail", text, "" if works else advice, found)


def run_check(name: str, examine: Callable[[], Check]) -> Check:
    """The outcome of examine(); an error that it raises is a failed check, not a traceback."""
    try:
        return examine()
    except BadCheckpoint as error:
        return Check(name, "fail", _join_lines(error), DAMAGED)
    except MdpError as error:  # its text says what it got and wants
        return Check(name, "fail", _join_lines(error), MEND)
    except Exception as error:
        return Check(name, "fail", f"{type(error).__name__}: {_join_lines(error)}", REPORT)


def _join_lines(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """The list of what the library warns of meanwhile, which no handler gets."""
    log, found = logging.getLogger("mdp_lite"), list[str]()

    def take(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            found.append(record.getMessage())
        return False

    log.filters.insert(0, take)  # before those of an outer list, which let nothing pass
    try:
        yield found
    finally:
        log.removeFilter(take)

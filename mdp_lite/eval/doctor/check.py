"""One check of the doctor: its outcome, how an error becomes one, and what is never printed."""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mdp_lite.names import MdpError

State = Literal["pass", "fail", "skipped"]
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")  # whose values are secret
PASSWORD = re.compile(r"(?<=://)[^/@\s]+(?=@)")  # in an address: user:password
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
    except MdpError as error:  # its text says what it got and wants
        return Check(name, "fail", _join_lines(error), "see the text of this line")
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


def hide_private(value: Any) -> Any:
    """A value for --json with ~ for the home folder, and no token or password, in all its texts."""
    if isinstance(value, str):
        return _hide_in_text(value)
    if isinstance(value, dict):
        return {hide_private(key): hide_private(one) for key, one in value.items()}
    return [hide_private(one) for one in value] if isinstance(value, list | tuple) else value


def _hide_in_text(text: str) -> str:
    for name in TOKENS:
        if token := os.environ.get(name):
            text = text.replace(token, "***")
    text = PASSWORD.sub("***", text)
    for home in list_homes():
        text = re.sub(rf"(?<![\w.~-]){re.escape(home)}(?![\w.-])", "~", text)
    return text


def list_homes() -> list[str]:
    """The home folder as it is named and where it really is; nothing for a root folder."""
    try:
        named = Path.home()
    except RuntimeError:  # a user without a home folder
        return []
    folders = (named, Path(os.path.realpath(named)))
    return [str(one) for one in dict.fromkeys(folders) if one != Path(one.anchor)]

"""What the doctor prints: all checks as one object and as lines, without anything private."""

import math
import os
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mdp_lite.eval.doctor.check import Check

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")  # whose values are secret
PASSWORD = re.compile(r"(?<=://)[^/@\s]+(?=@)")  # in an address: user:password
WIDTH, INDENT = 100, 24  # columns of a line, and those before its text


def print_checks(
    checks: Sequence[Check], warned: Sequence[str] = ()
) -> tuple[dict[str, Any], list[str]]:
    """The object for --json and the lines for people, from the checks and what was warned of."""
    checks = [Check(**clean(one._asdict())) for one in checks]
    warned, states = clean(list(warned)), [one.state for one in checks]
    counts = {state: states.count(state) for state in ("pass", "fail", "skipped")}
    lines = [line for one in checks for line in format_check(one)]
    lines += [line for text in warned for line in _wrap(f"{'warning':<{INDENT}}", text)]
    lines.append(f"{counts['pass']} passed, {counts['fail']} failed, {counts['skipped']} skipped")
    data = {"counts": counts, "checks": [one._asdict() for one in checks], "warnings": warned}
    return data, lines


def format_check(one: Check) -> list[str]:
    """A check as lines of at most 100 columns: its state, its name, what was found, advice."""
    lines = _wrap(f"{one.state:<8}{one.name:<{INDENT - 8}}", one.text)
    return lines + (_wrap(" " * INDENT, f"-> {one.advice}") if one.advice else [])


def _wrap(head: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=head, subsequent_indent=" " * INDENT, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def clean(value: Any) -> Any:
    """A value for --json: ~ for the home folder and no token or password in all its texts.

    JSON has no NaN and no infinity: they become None.
    """
    if isinstance(value, str):
        return _hide_private(value)
    if isinstance(value, dict):
        return {clean(key): clean(one) for key, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return [clean(one) for one in value] if isinstance(value, list | tuple) else value


def _hide_private(text: str) -> str:
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

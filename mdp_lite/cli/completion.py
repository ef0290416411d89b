"""What shells show at a tab: the words that can follow, in zsh and fish with a line about each.

Typer would format such lines by rich, which takes longer to import than all the rest.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout, suppress
from io import StringIO
from typing import Any

import typer

VARIABLE = "_MDP_LITE_COMPLETE"  # the scripts of Typer set it to complete_ and the shell
ACTION = "_TYPER_COMPLETE_FISH_ACTION"


def describe_items(items: list[Any], lines: Mapping[str, str | None]) -> list[Any]:
    """Typer's completions without help; fish and zsh get a word, a tab, and the line about it.

    lines are those about words; other words have none. An item that stands for files goes: shells
    complete files where there is no item.
    """
    items = [item for item in items if item.value and item.type == "plain"]
    described = os.environ.get(VARIABLE) in ("complete_fish", "complete_zsh")
    for item in items:
        item.help = None
        line = " ".join((lines.get(item.value) or "").split())
        if described and line:
            item.value = f"{item.value}\t{line}"
    return items


def print_completions(run: Callable[[], Any]) -> None:
    """Run Typer for the shell that asks. For zsh its lines for fish are written in zsh's form."""
    if os.environ[VARIABLE] != "complete_zsh":
        run()
        return
    os.environ |= {VARIABLE: "complete_fish", ACTION: "get-args"}
    with redirect_stdout(StringIO()) as out, suppress(SystemExit):
        run()
    items = [_quote(*line.split("\t")) for line in out.getvalue().splitlines() if line]
    typer.echo("_arguments '*: :((" + "\n".join(items) + "))'" if items else "_files")


def _quote(*parts: str) -> str:
    """A word and its line as _arguments reads them, in the quotes of Typer's own form."""
    quotes = (("\\", ""), ('"', '""'), ("'", "''"), ("$", "\\$"), ("`", "\\`"), (":", r"\\:"))
    for mark, quoted in quotes:
        parts = tuple(part.replace(mark, quoted) for part in parts)
    return ":".join(f'"{part}"' for part in parts)

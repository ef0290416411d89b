"""What expressions of Prometheus read: enough of the language for the files in examples/."""

import re
from typing import NamedTuple

GROUPS = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?\s*(?:\[[^\]]*\])?(\s*\()?")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
WORDS = {"and", "or", "unless"}


class Selector(NamedTuple):
    """A metric, and what an expression wants of its labels."""

    metric: str
    matchers: tuple[tuple[str, str], ...]


def find_groups(expression: str) -> set[str]:
    """The labels by which an expression groups."""
    return {name.strip() for found in GROUPS.findall(expression) for name in found.split(",")}


def find_selectors(expression: str) -> list[Selector]:
    """The metrics that an expression reads; functions are those with a bracket behind."""
    return [
        Selector(name, tuple(MATCHER.findall(matchers)))
        for name, matchers, is_function in SELECTOR.findall(GROUPS.sub(" ", expression))
        if not is_function and name not in WORDS
    ]

"""The README is short, its code runs (test_docs_code.py), and what it quotes is in the code."""

import re

import pytest

from support.pages import find_blocks
from support.places import ROOT

README = (ROOT / "README.md").read_text("utf-8")
METHOD = (ROOT / "docs" / "method.md").read_text("utf-8")
ENTRY = re.compile(r"^\|[^|]*\| `([^`]+)` \| `(mdp_lite/[\w/]+\.py)` \|$", re.MULTILINE)
LINE = re.compile(r"^`(mdp_lite/[\w/]+\.py)`: `([^`]+)`$", re.MULTILINE)
QUOTES = [*ENTRY.findall(README), *((line, file) for file, line in LINE.findall(METHOD))]


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 130


def test_its_first_example_is_eight_lines_with_the_import() -> None:
    code = [line for line in find_blocks(README)[0].code.splitlines() if line]
    assert len(code) == 8 and code[0].startswith("from mdp_lite import ")


def test_all_quotes_are_found() -> None:
    assert len(ENTRY.findall(README)) == 6
    equations = METHOD.count("```math")
    assert equations >= 18 and len(LINE.findall(METHOD)) >= equations


@pytest.mark.parametrize(("line", "file"), QUOTES)
def test_a_quoted_line_is_in_its_file(line: str, file: str) -> None:
    lines = (ROOT / file).read_text("utf-8").splitlines()
    assert line in [one.split("  # ")[0].strip() for one in lines]


def test_the_map_names_every_room() -> None:
    rooms = [path.parent.name for path in (ROOT / "mdp_lite").glob("*/__init__.py")]
    text = README[README.index("## Map") : README.index("## How good")]
    assert [room for room in rooms if f"{room}/`" not in text] == []

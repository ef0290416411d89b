"""What the README quotes is in the code."""

import re

import pytest

from support.places import ROOT

README = (ROOT / "README.md").read_text("utf-8")
QUOTES = re.findall(r"^\|[^|]*\| `([^`]+)` \| `(mdp_lite/[\w/]+\.py)` \|$", README, re.MULTILINE)
LINKS = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
MODULES = sorted(path.name for path in (ROOT / "mdp_lite").glob("*.py"))


def test_the_equation_table_is_found():
    assert len(QUOTES) >= 8


@pytest.mark.parametrize(("line", "file"), QUOTES)
def test_a_quoted_line_stands_in_its_file(line, file):
    assert line in (ROOT / file).read_text("utf-8")


@pytest.mark.parametrize("link", LINKS)
def test_a_linked_file_exists(link):
    assert (ROOT / link).exists()


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith("__init__")])
def test_the_file_guide_names_every_module(module):
    assert f"`{module}`" in README

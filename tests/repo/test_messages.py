"""What users read from an installed wheel names only what the wheel has."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.places import ROOT

PACKAGES = ("mdp_lite", "kernels/mdp_lite_kernels", "weights/mdp_lite_weights")
FILES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
ABSENT = ("docs/", "OPERATIONS.md", "PLANNING.md", "CONTRIBUTING.md", "constraints.txt", "tests/")
WITH_DOC = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def messages(text: str) -> Iterator[str]:
    """The strings of a file that are no docstrings."""
    tree = ast.parse(text)
    every = list(ast.walk(tree))
    bodies = [one.body for one in every if isinstance(one, WITH_DOC) and one.body]
    docs = {id(body[0].value) for body in bodies if isinstance(body[0], ast.Expr)}
    for one in every:
        if isinstance(one, ast.Constant) and isinstance(one.value, str) and id(one) not in docs:
            yield one.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_message_names_a_file_that_is_not_installed(path: Path) -> None:
    found = [one for one in messages(path.read_text("utf-8")) if any(a in one for a in ABSENT)]
    assert found == []


def test_docstrings_may_name_them_and_messages_may_not() -> None:
    assert list(messages('"""docs/a.md"""\ndef f():\n    "docs/b"\n    return "docs/c"')) == [
        "docs/c"
    ]


def test_every_page_says_the_same_pythons() -> None:
    """The versions are those of pyproject.toml."""
    meta = (ROOT / "pyproject.toml").read_text("utf-8")
    minors = [m for m in range(9, 30) if f"Programming Language :: Python :: 3.{m}" in meta]
    said = f"Python 3.{minors[0]} to 3.{minors[-1]}"
    for page in ("README.md", "docs/quickstart.md"):
        assert said in (ROOT / page).read_text("utf-8"), page
    for path in (ROOT / "docs").glob("*.md"):
        text = path.read_text("utf-8")
        assert text.count("Python 3.") == text.count(said), path

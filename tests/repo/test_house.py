"""The house style that a machine can check: tools, sizes, docstrings, types."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from support.places import ROOT

ROOMS = ("mdp_lite", "kernels", "weights", "benchmarks")
FILES = [p for room in ROOMS for p in sorted((ROOT / room).rglob("*.py"))]
TOP = (ROOT / "setup.py", *sorted((ROOT / "tests").rglob("*.py")))
PACKAGE = [p for p in FILES if p.is_relative_to(ROOT / "mdp_lite")]
SHIPPED = [
    p for p in FILES if any(part.startswith("mdp_lite") for part in p.parts[len(ROOT.parts) :])
]
PICKLES = ROOT / "weights" / "mdp_lite_weights" / "pickles.py"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def functions(path: Path) -> Iterator[Function]:
    return (n for n in ast.walk(parse(path)) if isinstance(n, Function))


def calls(path: Path, *names: str) -> list[ast.Call]:
    """Where the file calls one of these, named as the source writes them."""
    found = (n for n in ast.walk(parse(path)) if isinstance(n, ast.Call))
    return [n for n in found if ast.unparse(n.func) in names]


def unpickles(path: Path) -> list[str]:
    """Loads that could run code: in what is shipped one file alone may load, and tensors alone."""
    pickled = calls(path, "pickle.load", "pickle.loads", "pickle.Unpickler")
    tensors = ["weights_only=True"] if path == PICKLES or path not in SHIPPED else []
    pickled += [
        call
        for call in calls(path, "torch.load")
        if not any(ast.unparse(keyword) in tensors for keyword in call.keywords)
    ]
    return [where(path, call) for call in pickled]


TOOLS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "pyright": ["pyright", "--warnings", "--pythonpath", sys.executable],
}


# pyright takes longer than all else here; `make lint` runs it as well.
QUICK = [pytest.param(n, marks=pytest.mark.slow if n == "pyright" else []) for n in TOOLS]


@pytest.mark.parametrize("tool", QUICK)
def test_tool_finds_nothing(tool: str) -> None:
    quiet = os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}  # it would ask for newer versions
    command = [sys.executable, "-m", *TOOLS[tool]]
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_are_at_most_300_lines() -> None:
    sizes = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in (*FILES, *TOP)}
    assert {name: n for name, n in sizes.items() if n > 300} == {}


def test_functions_are_at_most_40_lines() -> None:
    spans = {
        f"{where(path, f)} {f.name}": f.end_lineno - f.lineno + 1
        for path in FILES
        for f in functions(path)
        if f.end_lineno and f.name != "__init__"
    }
    assert {name: n for name, n in spans.items() if n > 40} == {}


def test_public_names_have_docstrings() -> None:
    bare = [
        f"{where(path, node)} {node.name}"
        for path in PACKAGE
        for node in parse(path).body
        if isinstance(node, Function | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert bare == []


def test_every_argument_and_result_has_a_type() -> None:
    bare = [
        f"{where(path, f)} {f.name}({arg.arg})"
        for path in SHIPPED
        for f in functions(path)
        for arg in (*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs)
        if arg.annotation is None and arg.arg not in ("self", "cls")
    ]
    bare += [
        f"{where(path, f)} {f.name} -> ?"
        for path in SHIPPED
        for f in functions(path)
        if f.returns is None and f.name != "__init__"
    ]
    assert bare == []


def test_library_code_never_prints() -> None:
    console = ROOT / "mdp_lite" / "cli" / "console.py"
    library = [p for p in SHIPPED if p != console]
    assert [where(p, call) for p in library for call in calls(p, "print")] == []


def test_nothing_is_unpickled() -> None:
    assert [at for path in FILES for at in unpickles(path)] == []


def test_no_path_of_one_machine() -> None:
    private = re.compile(r"(?<![\w.])/(home|root|Users|tmp|opt|work)/")
    assert [str(p) for p in FILES if private.search(p.read_text())] == []

"""Imports only go down the floors of the house, and only engine/ names a compiler."""

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from support.places import ROOT
from support.planted_imports import ALLOWED, PLANTED

ROOMS = ("mdp_lite", "kernels/mdp_lite_kernels", "weights/mdp_lite_weights", "weights/train_tiny")
STDLIB = sys.stdlib_module_names

CORE = {"torch", "safetensors", "einops", "PIL", "numpy"}
ONLY_IN = {  # what one module of mdp_lite alone may import
    "mdp_lite_weights": ("mdp_lite.checkpoint.load",),
    "mdp_lite_kernels": ("mdp_lite.engine.engine", "mdp_lite.engine.fusing", "mdp_lite.engine.vae"),
    "transformers": (
        "mdp_lite.checkpoint.tokenizer",
        "mdp_lite.eval.perception",
    ),  # one in the core
    "tokenizers": ("mdp_lite.checkpoint.tokenizer",),
    "tqdm": ("mdp_lite.cli.console",),
    "ray": ("mdp_lite.batch.cluster", "mdp_lite.serve.cluster"),  # of the extra [ray], one a room
    "opentelemetry": ("mdp_lite.serve.traces",),  # of the extra [trace]
}
LAZY = ("transformers", "ray", "opentelemetry")  # seconds of import, or not there
LEAVES = {  # packages that know nothing of mdp_lite, and what they may import
    "mdp_lite_kernels": {"torch", "triton", "mdp_lite_kernels"},
    "mdp_lite_weights": {"torch", "numpy", "safetensors", "huggingface_hub", "mdp_lite_weights"},
}
COMPILERS = (
    "torch.compile",
    "torch.jit",
    "torch.cuda.CUDAGraph",
    "torch.cuda.graph",
    "torch.cuda.graphs",
    "torch.cuda.make_graphed_callables",
    "torch._inductor",
    "torch._dynamo",
    "torch._C._aoti",
    "torch.export",
)
MAY_COMPILE = ("mdp_lite.engine.engine", "mdp_lite.engine.aot", "mdp_lite.engine.capture")
MAIN, JOINS = "mdp_lite.__main__", "mdp_lite.joins"  # where sub-packages meet
# The rooms of mdp_lite, ground floor first: a room imports only itself and rooms before it.
FLOORS = (
    "names", "version", "files", "models", "pictures", "method", "checkpoint", "engine",
    "pipeline", "store", "editor", "batcher", "cli", "model_pool",
)  # fmt: skip
LOOSE = {"__init__", "__main__", "editor", "joins", "names", "version"}  # files in no room
THE_PAPER = ("method", "models")  # readable without any other room
PAPER_MAY = {"torch", "einops"}


def module_name(path: Path) -> str:
    """The dotted name a file under one of the source roots is imported by."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    parts = parts[1:] if parts[0] in ("kernels", "weights") else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(p): p for room in ROOMS for p in sorted((ROOT / room).rglob("*.py"))}
SUBPACKAGES = {"serve", "app", "batch", "eval", "mcp_server"}
STANDS_ON = {"mcp_server": "serve"}  # the one sub-package above another: it needs its extra too


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def imports(tree: ast.AST, lazy: bool = False) -> Iterator[tuple[str, bool]]:
    """(dotted name, whether importing the module leaves it out) for every import."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from ((f"{base}.{alias.name}", lazy) for alias in node.names)
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        hint = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        yield from imports(node, lazy or later or hint)


def named(tree: ast.AST) -> Iterator[str]:
    """Every dotted name the code imports or reads, with local aliases spelt out."""
    local: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            local |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom):
            full = {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
            yield from full.values()
            local |= full
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            head, _, rest = ast.unparse(node).partition(".")
            yield f"{local.get(head, head)}.{rest}"


def extras() -> dict[str, set[str]]:
    """The import names each optional extra of pyproject.toml declares."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = project["optional-dependencies"].items()
    return {k: {re.split(r"[^\w-]", d)[0].replace("-", "_") for d in v} for k, v in declared}


EXTRAS = extras()
EXTRA_OF = {
    "batch": "ray",
    "mcp_server": "mcp",
}  # of a room whose extra has another name; ray itself is in ONLY_IN


def subpackage(name: str) -> str | None:
    """`eval` for mdp_lite.eval.world; None for the flat core and for anything outside mdp_lite."""
    parts = name.split(".")
    return parts[1] if parts[0] == "mdp_lite" and parts[1:2] and parts[1] in SUBPACKAGES else None


def wrong_import(module: str, name: str, lazy: bool) -> str | None:
    """Why `module` may not import `name`, or None."""
    top = name.split(".")[0]
    leaf = LEAVES.get(module.split(".")[0])
    if name.startswith("."):
        return "relative import"
    if top in STDLIB:
        return None
    if leaf is not None:
        return None if top in leaf else "a leaf package imports only its own short list"
    if not within(module, "mdp_lite"):  # the recipe stands above everything that is shipped
        return "nothing imports tests or benchmarks" if top in ("tests", "benchmarks") else None
    if top in ONLY_IN:
        if module not in ONLY_IN[top]:
            return f"only {' and '.join(ONLY_IN[top])} may"
        return "must be imported inside a function" if top in LAZY and not lazy else None
    if top == "typer":
        return None if within(module, "mdp_lite.cli") else "only cli/ may"
    if top == "mdp_lite":
        return wrong_room(module, name, lazy)
    if within(module, "mdp_lite") and room_of(module) in THE_PAPER:
        return None if top in PAPER_MAY else "method and models import torch and einops alone"
    room = subpackage(module)
    rooms = [one for one in (room, STANDS_ON.get(room or "")) if one]
    allowed = CORE.union(*(EXTRAS.get(EXTRA_OF.get(one, one), set()) for one in rooms))
    return None if top in allowed else "not a declared dependency of this room"


def wrong_room(module: str, name: str, lazy: bool) -> str | None:
    """Why a module of mdp_lite may not import this other module of mdp_lite, or None."""
    room, other = subpackage(module), subpackage(name)
    if within(name, JOINS):  # else it would be a way round the next rules
        return None if module == MAIN and lazy else "only __main__ may, inside a function"
    if other is None or other == room or (room and STANDS_ON.get(room) == other):
        return climbs(module, name)
    if module in (MAIN, JOINS) and lazy:  # a sub-command imports its own sub-package
        return None
    return "sub-packages never import each other" if room else "the core imports no sub-package"


def room_of(name: str) -> str:
    """`method` for mdp_lite.method.mdp, `editor` for mdp_lite.editor."""
    return f"{name}.".split(".")[1]


def climbs(module: str, name: str) -> str | None:
    """Why an import goes up the floors, or None."""
    room, other = room_of(module), room_of(name)
    if room in THE_PAPER and other not in (*THE_PAPER, "names"):
        return f"{room} imports nothing of ours but method, models and names"
    if room in FLOORS and other in FLOORS and FLOORS.index(other) > FLOORS.index(room):
        return f"{room} stands below {other}"
    return None


def violations(module: str, source: str) -> list[str]:
    """One line for each rule that this source, under this module name, breaks."""
    tree = ast.parse(source)
    reasons = ((name, wrong_import(module, name, lazy)) for name, lazy in imports(tree))
    found = [f"{module} imports {name}: {why}" for name, why in reasons if why]
    if module not in MAY_COMPILE:
        compiled = sorted({n for n in named(tree) if any(within(n, c) for c in COMPILERS)})
        found += [
            f"{module} names {name}: only {' and '.join(MAY_COMPILE)} may" for name in compiled
        ]
    return found


@pytest.mark.parametrize("module", SOURCES)
def test_imports_run_one_way(module: str) -> None:
    assert violations(module, SOURCES[module].read_text()) == []


def test_every_folder_of_mdp_lite_is_a_known_room() -> None:
    folders = {p.parent.name for p in (ROOT / "mdp_lite").glob("*/__init__.py")}
    assert folders == SUBPACKAGES | (set(FLOORS) - LOOSE)


def test_nothing_lies_loose_in_mdp_lite() -> None:
    assert {p.stem for p in (ROOT / "mdp_lite").glob("*.py")} == LOOSE


def code_lines(path: Path) -> int:
    """Lines of a file that hold code: no docstrings, comments or blank lines."""
    text = path.read_text("utf-8")
    ends = (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT)
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {
        line
        for token in tokens
        if token.type not in (*ends, tokenize.ENDMARKER)
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def test_the_paper_is_short_enough_to_read() -> None:
    files = [p for room in THE_PAPER for p in (ROOT / "mdp_lite" / room).glob("*.py")]
    # 300 of them are for SDXL, samplers of few steps, inpainting UNets and TAESD.
    assert sum(map(code_lines, files)) <= 1800


def test_the_walk_sees_the_code() -> None:
    assert {
        "mdp_lite.models.config",
        "mdp_lite.checkpoint.load",
        "mdp_lite.__main__",
        "mdp_lite_weights",
    } <= set(SOURCES)


def owner(name: str) -> str | None:
    """The module of ours that an imported dotted name comes from."""
    return next((m for m in (name, name.rpartition(".")[0]) if m in SOURCES), None)


def test_no_import_cycle() -> None:
    graph = {
        module: {m for name, _ in imports(ast.parse(path.read_text())) if (m := owner(name))}
        for module, path in SOURCES.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


@pytest.mark.parametrize(("module", "source"), PLANTED)
def test_a_planted_violation_is_found(module: str, source: str) -> None:
    assert violations(module, source) != []


@pytest.mark.parametrize(("module", "source"), ALLOWED)
def test_what_the_design_allows_passes(module: str, source: str) -> None:
    assert violations(module, source) == []

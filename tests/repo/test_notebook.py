"""The notebook in examples/ runs from its first cell to its last, says what is so, and is small."""

import ast
import base64
import importlib.util
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import mdp_lite
from support.places import ROOT

EXAMPLES = ROOT / "examples"
NOTEBOOK = EXAMPLES / "mdp_lite.ipynb"
BOOK = json.loads(NOTEBOOK.read_text("utf-8"))


def runner() -> Any:
    """examples/run_notebook.py, which is no package."""
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("run_notebook", EXAMPLES / "run_notebook.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_all_cells_run_and_their_words_are_true(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    names = runner().run(json.loads(NOTEBOOK.read_text("utf-8")))
    assert names["edit"].cost.unet_rows < names["source"].cost.unet_rows
    assert names["made"].cost.unet_rows < names["made"].naive.unet_rows
    near = {name: _in_window(names, states) for name, states in names["paths"].items()}
    assert near["x"] < min(near["c"], near["beta"])
    assert max(near["c"], near["beta"]) < near["epsilon"]
    for states in names["paths"].values():  # all end nearer to B than to A
        to_b, to_a = (names["measure"](states, names[f"path_{one}"])[50] for one in "ba")
        assert to_b < to_a
    for step, change in names["changes"].items():  # the sky is kept, the ground is let go
        if step > 16:
            assert change[:6].mean() < 0.25 < 0.4 < change[-2:].mean()
    assert list(tmp_path.iterdir()) == []  # it leaves nothing behind


def _in_window(names: dict[str, Any], states: Any) -> float:
    """The mean distance to the source's path over the steps of the window."""
    distances = names["measure"](states, names["path_a"])
    inside = [distance for step, distance in distances.items() if 3 < step <= 29]
    return sum(inside) / len(inside)


def code_of(book: dict[str, Any]) -> Iterator[ast.Module]:
    """The code of each cell."""
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            yield ast.parse("".join(cell["source"]))


def find_private(tree: ast.Module) -> list[str]:
    """Imports that are no public names of mdp_lite or other packages, and names with a _."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [one.name for one in node.names if one.name.startswith("mdp_lite.")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mdp_lite"):
            names = [one.name for one in node.names]
            public = node.module == "mdp_lite" and set(names) <= set(mdp_lite.__all__)
            found += [] if public else [f"{node.module}: {', '.join(names)}"]
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            found.append(node.attr)
        elif isinstance(node, ast.alias | ast.Name):
            name = node.name if isinstance(node, ast.alias) else node.id
            found += [name] if name.startswith("_") and name != "_" else []
    return found


def test_it_uses_only_what_is_public() -> None:
    assert [one for tree in code_of(BOOK) for one in find_private(tree)] == []


@pytest.mark.parametrize("code", [
    "from mdp_lite.pictures.sheets import sheet", "import mdp_lite.cli.sweep as sweep",
    "from mdp_lite import joins", "from mdp_lite import Editor, names", "x = source._path",
    "x = state._replace(step=3)", "from mdp_lite.editor import Editor", "x = _hidden()",
])  # fmt: skip
def test_what_is_private_is_found(code: str) -> None:
    assert find_private(ast.parse(code))


def test_sheets_have_heads_and_pictures_of_a_size_to_see() -> None:
    source = "".join("".join(cell["source"]) for cell in BOOK["cells"])
    for head in ("t_max = {t_max}", "t_m = {t_m}"):
        assert head in source
    for size in _figure_sizes(BOOK):
        assert size[0] >= 400 and size[1] >= 120


def _figure_sizes(book: dict[str, Any]) -> list[tuple[int, int]]:
    """The sizes of all pictures that the cells show."""
    outputs = [out for cell in book["cells"] for out in cell.get("outputs", [])]
    pictures = [out["data"]["image/png"] for out in outputs if "image/png" in out.get("data", {})]
    assert len(pictures) == 7
    return [Image.open(io.BytesIO(base64.b64decode(one))).size for one in pictures]


def test_outputs_are_there_and_small() -> None:
    code = [cell for cell in BOOK["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = [out["output_type"] for cell in code for out in cell["outputs"]]
    assert "error" not in kinds and kinds.count("display_data") >= 7
    text = NOTEBOOK.read_text("utf-8")
    assert len(text) < 2_000_000
    assert not re.search(r"/(tmp|home|root|opt)/", text)

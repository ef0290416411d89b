"""Runs mdp_lite.ipynb and writes its outputs into it: python examples/run_notebook.py

It needs no Jupyter. The output of a cell is what it prints, its figures, and the value of its last
line; pictures are stored as PNG.
"""

import ast
import base64
import contextlib
import io
import json
from pathlib import Path
from typing import Any

import matplotlib

NOTEBOOK = Path(__file__).parent / "mdp_lite.ipynb"


def run(book: dict[str, Any]) -> dict[str, Any]:
    """Run all cells in order and store their outputs in the book; returns the variables."""
    matplotlib.use("Agg")
    names: dict[str, Any] = {}
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    for k, cell in enumerate(code, 1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            value = _run_cell("".join(cell["source"]), cell["id"], names)
        cell["execution_count"] = k
        cell["outputs"] = [*_text_output(printed.getvalue()), *_figures(), *_value_output(value, k)]
    return names


def _run_cell(source: str, name: str, names: dict[str, Any]) -> Any:
    """Run a cell; returns the value of its last line if that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), names)
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), name, "eval"), names)


def _text_output(text: str) -> list[dict[str, Any]]:
    lines = text.splitlines(keepends=True)
    return [{"output_type": "stream", "name": "stdout", "text": lines}] if text else []


def _figures() -> list[dict[str, Any]]:
    """Store the open figures and close them."""
    import matplotlib.pyplot as plt

    found = []
    for number in plt.get_fignums():
        file = io.BytesIO()
        plt.figure(number).savefig(file, format="png")
        found.append({"output_type": "display_data", "metadata": {}, "data": _png(file)})
    plt.close("all")
    return found


def _value_output(value: Any, k: int) -> list[dict[str, Any]]:
    if value is None:
        return []
    data = {"text/plain": [repr(value)]}
    if hasattr(value, "save"):  # a picture
        file = io.BytesIO()
        value.save(file, "PNG", optimize=True)
        data = {**_png(file), "text/plain": [f"a picture of {value.width}x{value.height}"]}
    return [{"output_type": "execute_result", "execution_count": k, "metadata": {}, "data": data}]


def _png(file: io.BytesIO) -> dict[str, Any]:
    return {"image/png": base64.b64encode(file.getvalue()).decode()}


if __name__ == "__main__":
    book = json.loads(NOTEBOOK.read_text("utf-8"))
    run(book)
    NOTEBOOK.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", "utf-8")

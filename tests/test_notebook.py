"""The notebook in examples/ runs from its first cell to its last, and is small."""

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parent.parent / "examples" / "mdp_lite.ipynb"
BOOK = json.loads(NOTEBOOK.read_text("utf-8"))
CODE = [cell for cell in BOOK["cells"] if cell["cell_type"] == "code"]


def test_all_cells_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for cell in CODE:
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert names["edit"].cost.unet_rows < names["source"].cost.unet_rows
    assert names["made"].cost.unet_rows < names["made"].naive.unet_rows
    means = {name: _in_window(names, x) for name, x in names["paths"].items()}
    assert max(means["x"], means["epsilon"]) < min(means["c"], means["beta"])  # as its words say
    assert list(tmp_path.iterdir()) == []  # it leaves nothing behind
    import matplotlib.pyplot as plt

    plt.close("all")


def _in_window(names: dict[str, Any], x: Any) -> float:
    """The mean distance to the source's path over the steps of the window."""
    return float(names["apart"](x, names["path_a"])[3:29].mean())


def test_outputs_are_there_and_small() -> None:
    assert NOTEBOOK.stat().st_size < 2_000_000
    assert all(cell["execution_count"] for cell in CODE)
    errors = [out for cell in CODE for out in cell["outputs"] if out["output_type"] == "error"]
    assert errors == []
    text = NOTEBOOK.read_text("utf-8")
    assert not any(folder in text for folder in ("/tmp/", "/home/", "/root/", "/opt/"))

"""The notebook in examples/ runs from its first cell to its last, says what is so, and is small."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

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
    near = {name: _in_window(names, x) for name, x in names["paths"].items()}
    assert near["x"] < min(near["c"], near["beta"])
    assert max(near["c"], near["beta"]) < near["epsilon"]
    for x in names["paths"].values():  # all end nearer to B than to A
        assert names["apart"](x, names["path_b"])[-1] < names["apart"](x, names["path_a"])[-1]
    for one in names["maps"][16:]:  # after the window: the sky is kept, the ground is let go
        assert one[:6].min() > 0.8 and one[-2:].max() < 0.6
    assert list(tmp_path.iterdir()) == []  # it leaves nothing behind


def _in_window(names: dict[str, Any], x: Any) -> float:
    """The mean distance to the source's path over the steps of the window."""
    return float(names["apart"](x, names["path_a"])[3:29].mean())


def test_outputs_are_there_and_small() -> None:
    code = [cell for cell in BOOK["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = [out["output_type"] for cell in code for out in cell["outputs"]]
    assert "error" not in kinds and kinds.count("execute_result") >= 5
    text = NOTEBOOK.read_text("utf-8")
    assert len(text) < 2_000_000
    assert not re.search(r"/(tmp|home|root|opt)/", text)

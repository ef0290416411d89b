"""How a profile of an edit is divided: calls without those that they make, kinds, float64."""

from typing import Any

import pytest

from benchmarks.profile_edit import OUTSIDE, Operator, divide, own_seconds, read_trace
from mdp_lite.editor import Editor


def call(name: str, begun: float, took: float, tid: int = 1, *types: str) -> dict[str, Any]:
    return {"name": name, "ts": begun, "dur": took, "tid": tid, "args": {"Input type": [*types]}}


def test_a_call_has_its_own_time_only() -> None:
    events = [
        call("aten::linear", 0, 100, 1, "float"), call("aten::addmm", 10, 60, 1, "double"),
        call("aten::copy_", 20, 5), call("aten::add", 80, 20), call("aten::mm", 100, 40),
        call("aten::mm", 10, 30, 2),
    ]  # fmt: skip
    own = own_seconds(reversed(events))
    assert sorted((one.kind, round(one.seconds * 1e6)) for one in own) == [
        ("copy", 5), ("elementwise and other", 20), ("matrix product", 20), ("matrix product", 30),
        ("matrix product", 40), ("matrix product", 55),
    ]  # fmt: skip
    assert [round(one.seconds * 1e6) for one in own if one.double] == [55]


def test_the_shares_of_a_whole() -> None:
    operators = [Operator("norm", 0.2, False), Operator("copy", 0.1, True)]
    found = divide(operators, 0.5)
    assert found["shares"] == pytest.approx({"norm": 0.4, OUTSIDE: 0.4, "copy": 0.2})
    assert found["float64"] == pytest.approx(0.2)


def test_a_trace_of_an_edit(editor: Editor, tmp_path: Any) -> None:
    from torch.profiler import profile

    source = editor.generate("a house", 0, 2)
    with profile(record_shapes=True) as found:
        editor.edit(source, "a boat", t_max=2, t_m=0)
    found.export_chrome_trace(str(tmp_path / "trace.json"))
    own = own_seconds(read_trace(tmp_path / "trace.json"))
    assert {"convolution", "norm", "matrix product", "copy"} <= {one.kind for one in own}
    assert min(one.seconds for one in own) > -1e-6 and any(one.double for one in own)

"""Engine modes: the default for a device, and what is refused before any work."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mdp_lite import Editor, names
from mdp_lite.checkpoint.models import Models
from mdp_lite.cli.application import read_command_line
from mdp_lite.cli.commands.generate import GenerateOptions
from mdp_lite.engine import engine
from mdp_lite.method.mdp import SourceStep, update
from mdp_lite.method.schedule import StepCoefficients, Weights
from mdp_lite_kernels import attention, packed_conv

CPU = torch.device("cpu")
# torch itself has deprecated TorchScript.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


def test_compile_needs_a_compiler_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="engine compile needs a C\\+\\+ compiler .*, got none"):
        engine.choose_mode("compile", CPU)


@pytest.mark.parametrize("mode", names.ENGINES)
def test_the_command_line_knows_the_modes(mode: str) -> None:
    line = ["generate", "a", "--engine", mode]
    args = read_command_line(line)
    assert isinstance(args, GenerateOptions) and args.engine.mode == mode


@pytest.mark.parametrize(
    ("mode", "device", "want"),
    [("auto", "cpu", "eager"), ("auto", "cuda", "graph"), ("eager", "cuda", "eager")],
)
def test_the_mode_is_by_device(mode: str, device: str, want: str) -> None:
    assert engine.choose_mode(mode, torch.device(device)) == want


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("fast", "engine must be one of auto, eager, compile, graph, aot, got 'fast'"),
        ("graph", "engine graph needs a CUDA device, got cpu"),
    ],
)
def test_a_mode_that_cannot_be_is_refused_before_loading(mode: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Editor.from_pretrained("nowhere", device="cpu", engine=mode)


def test_a_denoiser_of_ones_own_is_called_as_it_is(editor: Editor) -> None:
    rows: list[int] = []

    class Own(torch.nn.Module):
        def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
            rows.append(len(x))
            return torch.zeros_like(x)

    own = Own()
    own.config = editor.models.unet.config  # type: ignore[assignment]
    models: Models = replace(editor.models, unet=own)  # type: ignore[arg-type]
    Editor(models, CPU, engine="compile").generate("a", 1, 2)
    assert rows == [2, 2]


def test_a_machine_without_the_native_attention_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With its reason and what to do: the same sentence as `info`."""
    monkeypatch.setattr(attention, "best_path", lambda: 0)
    monkeypatch.setattr(attention, "LIBRARY", tmp_path / "_attention.so")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    engine._warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, "mdp_lite"):
        for _ in range(3):
            assert engine.choose_attention(CPU) is engine.SDPA
    assert [r.message for r in caplog.records].count(caplog.records[0].message) == 1
    assert caplog.records[0].message in engine.list_missing(CPU)
    assert "install gcc, then run `pip install " in caplog.records[0].message


def test_nothing_is_missing_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "best_path", lambda: 0)
    monkeypatch.setattr(packed_conv, "is_available", lambda: False)
    assert engine.list_missing(torch.device("cuda")) == []
    assert len(engine.list_missing(CPU)) == 2


@pytest.mark.parametrize("v", [False, True])
@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("local", [False, True])
def test_the_scripted_update_is_the_update(v: bool, noise: bool, local: bool) -> None:
    made = torch.Generator().manual_seed(1)
    e, x, eps, x0, onward, z = torch.randn(6, 1, 4, 3, 5, generator=made, dtype=torch.float64)
    coeffs = StepCoefficients(torch.tensor(500), *torch.tensor([0.3, 0.4], dtype=torch.float64))
    source = SourceStep(torch.zeros(1, 5, 6), eps, x0, onward, z if noise else None)
    w = Weights(*torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64))
    w = w._replace(local=torch.tensor(0.5)) if local else w
    scripted = engine.script_update()(e, x, coeffs, source, w, v)
    for a, b in zip(scripted[:2], update(e, x, coeffs, source, w, v)[:2], strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
def test_any_number_of_shapes_is_compiled() -> None:
    """torch gives up after eight of one function, which two editors have in common."""
    torch._dynamo.reset()
    transpose = engine.CompiledFunction(lambda x: x.t(), CPU)
    for rows in range(1, 13):
        x = torch.randn(rows, 2)
        assert torch.equal(transpose(x), x.t())
    torch._dynamo.reset()

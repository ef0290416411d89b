"""Sources between devices with float64 and without: nothing is lost in silence."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mdp_lite import Cache, Editor, Source
from mdp_lite.files import atomic
from mdp_lite.store.precision import ROUNDED, WIDE, WIDENED
from support.apple import apple_gpu
from support.source_cases import STEPS, picture


@pytest.fixture(scope="module")
def apple(checkpoint: Path) -> Iterator[Editor]:
    with apple_gpu():
        yield Editor.from_pretrained(checkpoint, "mps", "float32")


@pytest.fixture(autouse=True)
def first_time() -> None:
    """A warning is logged once in a process."""
    atomic.warn_once.cache_clear()


def make(editor: Editor, how: str) -> Source:
    if how == "generate":
        return editor.generate("a red house", 7, STEPS)
    return editor.invert(picture(), "a house", how, STEPS)


def compare(one: Source, other: Source) -> None:
    """The same numbers, each exactly, whatever their dtype."""
    for name, part in one.path._asdict().items():
        twin = getattr(other.path, name)
        assert (part is None) == (twin is None)
        assert part is None or torch.equal(part.cpu().double(), twin.cpu().double()), name


@pytest.mark.parametrize("how", ["generate", "edit-friendly"])
def test_from_mps_to_a_cpu_and_back(
    how: str, apple: Editor, editor: Editor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """float32 fits into float64, so no bit is lost on the way; the CPU says what it got."""
    source, path, other = make(apple, how), tmp_path / "m.safetensors", tmp_path / "c.safetensors"
    apple.save_source(source, path)
    stored = load_file(path)
    assert all(stored[name].dtype == torch.float32 for name in WIDE & stored.keys())
    compare(source, apple.load_source(path))
    assert caplog.messages == []
    here = editor.load_source(path)
    assert here.path.x.dtype == here.grid.a.dtype == torch.float64
    assert caplog.messages == [WIDENED]
    compare(source, here)
    editor.save_source(here, other)
    compare(source, apple.load_source(other))
    assert editor.edit(here, "a blue boat").latent.dtype == torch.float64


def test_from_a_cpu_to_mps(
    apple: Editor, editor: Editor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, path = make(editor, "edit-friendly"), tmp_path / "c.safetensors"
    editor.save_source(source, path)
    there = apple.load_source(path)
    assert caplog.messages == [ROUNDED]
    for name in ("x", "eps", "noise"):
        want = getattr(source.path, name).float()
        assert torch.equal(getattr(there.path, name).cpu(), want)
    latents = [one.edit(src, "a boat").latent for one, src in ((apple, there), (editor, source))]
    assert torch.allclose(latents[0].cpu().double(), latents[1], atol=1e-4)


def test_a_cache_for_each_device(apple: Editor, editor: Editor, tmp_path: Path) -> None:
    """A stored source is only used where it was made, so no picture depends on who was first."""
    pair = [Editor(one.models, one.device, Cache(tmp_path)) for one in (apple, editor)]
    costs = [one.generate("a house", 3, STEPS).cost.unet_rows for one in pair for _ in range(2)]
    assert costs[0] == costs[2] > 0 and costs[1] == costs[3] == 0

"""Advice on bfloat16: for large models that a CPU computes in float32, where it has a gain."""

import pytest
import torch
from torch import nn

from mdp_lite.checkpoint import advice
from mdp_lite.checkpoint.load import load

CPU = torch.device("cpu")
COUNT = advice.LARGE // 4  # weights from which a model is large


def advise(
    monkeypatch: pytest.MonkeyPatch, stored: torch.dtype, dtype: torch.dtype, count: int, good: str
) -> str:
    """The advice on one weight of this size, on a processor that is good at one thing."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {good: True, "architecture": "x86"})
    with torch.device("meta"):
        model = nn.Linear(count, 1, bias=False)
        tensors = {"unet": {"weight": torch.empty(1, dtype=stored)}}
    return "; ".join(advice.advise_dtype(tensors, {"unet": model}, dtype))


@pytest.mark.parametrize("good", advice.GOOD)
def test_large_models_in_float32_on_a_processor_that_is_good_at_bfloat16(
    monkeypatch: pytest.MonkeyPatch, good: str
) -> None:
    said = advise(monkeypatch, torch.float16, torch.float32, COUNT, good)
    assert "float16 becomes float32 on a CPU" in said
    assert "bfloat16 takes 0.5 GB less memory" in said
    said = advise(monkeypatch, torch.float32, torch.float32, COUNT, good)
    assert "float16 becomes" not in said and "bfloat16" in said


def test_elsewhere_only_what_float16_became(monkeypatch: pytest.MonkeyPatch) -> None:
    said = advise(monkeypatch, torch.float16, torch.float32, COUNT, "avx2")
    assert "float16 becomes float32" in said and "bfloat16" not in said
    assert not advise(monkeypatch, torch.float32, torch.float32, COUNT, "avx2")


def test_small_models_and_other_dtypes_get_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not advise(monkeypatch, torch.float16, torch.float32, COUNT - 1, "amx_bf16")
    assert not advise(monkeypatch, torch.float16, torch.bfloat16, COUNT, "amx_bf16")


def test_the_bundled_model_has_no_advice_and_large_ones_have_it_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert not any("bfloat16" in note for note in load("tiny", CPU).notes)
    monkeypatch.setattr(advice, "LARGE", 1)
    notes = load("tiny", CPU, torch.float32).notes
    assert sum("bfloat16" in note for note in notes) == 1
    assert not any("bfloat16" in note for note in load("tiny", CPU, torch.bfloat16).notes)

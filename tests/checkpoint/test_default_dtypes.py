"""The dtype that a model gets by default on a device, and what is said about it."""

import pytest
import torch

from mdp_lite.checkpoint.advice import describe_default, list_advice
from mdp_lite.checkpoint.assign import auto_dtype

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
F32, F16, BF16, F8 = torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn


def stored(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {"weight": torch.empty(1, dtype=dtype)}


@pytest.mark.parametrize(
    ("dtype", "old_gpu", "new_gpu", "cpu"),
    [(F32, F16, F16, F32), (F16, F16, F16, F32), (BF16, F16, BF16, BF16), (F8, F16, F16, F32)],
)
def test_the_default_by_device(
    monkeypatch: pytest.MonkeyPatch,
    dtype: torch.dtype, old_gpu: torch.dtype, new_gpu: torch.dtype, cpu: torch.dtype,
) -> None:  # fmt: skip
    assert auto_dtype(CPU, stored(dtype)) == cpu
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for capability, want in (((7, 5), old_gpu), ((8, 0), new_gpu), ((12, 0), new_gpu)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_, c=capability: c)
        assert auto_dtype(CUDA, stored(dtype)) == want


def test_a_dtype_that_loses_something_is_told_and_no_other() -> None:
    said = {
        (a, b): describe_default({"unet": stored(a)}, CUDA, b)
        for a, b in ((F32, F16), (BF16, F16), (BF16, BF16), (F16, F16), (F8, F16))
    }
    assert [pair for pair, some in said.items() if some] == [(F32, F16), (BF16, F16)]
    assert "float32 becomes float16" in said[F32, F16][0]
    assert 'dtype="float32" (--dtype float32)' in said[BF16, F16][0]
    assert list_advice({"unet": stored(F32)}, {}, CUDA, F16) == said[F32, F16]
    assert list_advice({"unet": stored(F32)}, {}, CPU, F32) == ()

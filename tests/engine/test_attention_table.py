"""Which attention backend a GPU uses, and that the operators are called as torch declares them."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from mdp_lite.engine.attention import (
    CUDNN,
    RUN,
    TABLE,
    attend_by_shape,
    choose_backend,
    choose_cuda_attention,
)
from mdp_lite.engine.engine import choose_attention
from mdp_lite.engine.fusing import Fused
from mdp_lite.models.transformer import SDPA
from support.rehearsing import rehearsal

F16, BF16, F32 = torch.float16, torch.bfloat16, torch.float32
GPU, HOPPER, TURING = torch.device("cuda"), (9, 0), (7, 5)
OPERATORS = {
    "flash": "_scaled_dot_product_flash_attention",
    "efficient": "_scaled_dot_product_efficient_attention",
    "cudnn": "_scaled_dot_product_cudnn_attention",
}


def heads(dtype: torch.dtype, d: int, tokens: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(d)
    q, k, v = (torch.randn(2, 3, n, d).to(dtype) for n in (16, tokens, tokens))
    return q, k, v


@pytest.mark.parametrize(("rules", "capability", "dtype", "d", "want"), [
    (TABLE, HOPPER, F16, 40, "flash"), (TABLE, HOPPER, BF16, 160, "flash"),
    (TABLE, (8, 0), F16, 256, "flash"), (TABLE, HOPPER, F16, 264, "efficient"),
    (TABLE, HOPPER, F32, 40, "efficient"), (TABLE, TURING, F16, 64, "efficient"),
    (TABLE, HOPPER, F16, 36, "torch"), (TABLE, HOPPER, F32, 6, "torch"),
    (TABLE, HOPPER, torch.float64, 64, "torch"), (TABLE, (3, 5), F32, 64, "torch"),
    ((CUDNN, *TABLE), HOPPER, F16, 64, "cudnn"), ((CUDNN, *TABLE), HOPPER, F16, 160, "flash"),
    ((CUDNN, *TABLE), (8, 9), F16, 64, "flash"), ((CUDNN, *TABLE), HOPPER, F32, 64, "efficient"),
])  # fmt: skip
def test_the_backend_is_by_dtype_width_and_gpu(
    rules: tuple, capability: tuple[int, int], dtype: torch.dtype, d: int, want: str
) -> None:
    assert choose_backend(rules, capability, *heads(dtype, d)) == want


def test_gradients_and_odd_layouts_are_left_to_torch() -> None:
    q, k, v = heads(F32, 8)
    for other in (q.transpose(2, 3), q.half(), q.clone().requires_grad_()):
        assert choose_backend(TABLE, HOPPER, other, k, v) == "torch"
    with torch.no_grad():
        assert choose_backend(TABLE, HOPPER, q.clone().requires_grad_(), k, v) == "efficient"
    joined = torch.randn(2, 16, 3 * 3 * 8)  # of one product, as fused weights give them
    parts = (part.unflatten(-1, (3, 8)).transpose(1, 2) for part in joined.chunk(3, dim=-1))
    assert choose_backend(TABLE, HOPPER, *parts) == "efficient"


@pytest.mark.parametrize("name", OPERATORS)
def test_torch_has_the_operator_with_these_arguments(name: str) -> None:
    operator = getattr(torch.ops.aten, OPERATORS[name]).default
    known = [one.name for one in operator._schema.arguments]
    assert known[:3] == ["query", "key", "value"]
    if name != "flash":
        assert known[3:5] == ["attn_bias", "compute_log_sumexp"]
    rest = [one for one in operator._schema.arguments if not one.has_default_value()]
    assert len(rest) == (3 if name == "flash" else 5)


@pytest.mark.parametrize(("dtype", "d", "name"), [
    (F16, 40, "flash"), (BF16, 16, "flash"), (F32, 40, "efficient"), (F16, 512, "efficient"),
])  # fmt: skip
def test_a_backend_is_called_without_a_wait_and_gives_torchs_answer(
    dtype: torch.dtype, d: int, name: str
) -> None:
    call = heads(dtype, d)
    want = SDPA(*(one.double() for one in call))
    with rehearsal() as gpu, torch.no_grad():
        attend = choose_attention(GPU)
        inputs = [one.to("cuda") for one in call]
        gpu.reset()
        out = attend(*inputs)
        assert gpu.launches[OPERATORS[name]] == 1 and not gpu.waits and not gpu.violations
        assert sum(gpu.launches.values()) == 1
        assert out.dtype == dtype and out.shape == want.shape
        far = (out.cpu().double() - want).abs().max() / want.abs().max()
    assert float(far) <= 2 * torch.finfo(dtype).eps


def test_the_choice_is_the_users_and_compiled_code_has_torchs() -> None:
    with rehearsal():
        by_table, asked = (choose_cuda_attention(GPU, one) for one in ("table", "cudnn"))
        assert isinstance(by_table, partial) and by_table.args == (TABLE, HOPPER)
        assert isinstance(asked, partial) and asked.args[0] == (CUDNN, *TABLE)
        assert choose_attention(GPU, fused=replace(Fused(), attention="torch")) is SDPA
        assert choose_attention(GPU, traced=True) is SDPA


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [F16, BF16, F32], ids=str)
@pytest.mark.parametrize("d", [40, 64, 80, 160, 512])
def test_every_backend_of_this_gpu_agrees_with_float64(dtype: torch.dtype, d: int) -> None:
    capability = torch.cuda.get_device_capability()
    call = tuple(one.to("cuda") for one in heads(dtype, d, 77))
    want = SDPA(*(one.double() for one in call))
    names = {choose_backend(rules, capability, *call) for rules in (TABLE, (CUDNN, *TABLE))}
    for name in names:
        far = (RUN[name](*call).double() - want).abs().max() / want.abs().max()
        assert float(far) <= 16 * torch.finfo(dtype).eps, name
    graph = torch.cuda.CUDAGraph()
    attend_by_shape(TABLE, capability, *call)
    with torch.cuda.graph(graph):
        out = attend_by_shape(TABLE, capability, *call)
    graph.replay()
    assert torch.equal(out, attend_by_shape(TABLE, capability, *call))

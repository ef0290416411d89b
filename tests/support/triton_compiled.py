"""The Triton kernels through Triton's real compiler, for an H100 that need not be here.

test_triton_kernels.py runs this file in a new process, because it must not use the interpreter.
"""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mdp_lite_kernels import geglu_jit, group_norm_silu_jit, guided_step_jit, pixels_jit

HOPPER = GPUTarget("cuda", 90, 32)
TYPES = {
    torch.float64: "*fp64", torch.float32: "*fp32", torch.float16: "*fp16",
    torch.bfloat16: "*bf16", torch.uint8: "*u8",
}  # fmt: skip


def assembly(kernel: Any, values: tuple[Any, ...]) -> str:
    """The PTX of a kernel for these arguments, specialised as a launch would."""
    signature, constants, attributes = {}, {}, {}
    for i, (parameter, value) in enumerate(zip(kernel.params, values, strict=True)):
        if parameter.is_constexpr or value is None or (type(value) is int and value == 1):
            signature[parameter.name], constants[(i,)] = "constexpr", value
        elif isinstance(value, Tensor):
            signature[parameter.name] = TYPES[value.dtype]
        else:
            signature[parameter.name] = "i32" if isinstance(value, int) else "fp32"
        aligned = isinstance(value, Tensor) or (type(value) is int and value % 16 == 0)
        if aligned and (i,) not in constants:
            attributes[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, attributes)
    return triton.compile(source, target=HOPPER).asm["ptx"]


@pytest.fixture
def assemblies(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The PTX of every kernel that is launched from here on; nothing runs."""
    found: list[str] = []

    class Launch:
        def __init__(self, kernel: Any) -> None:
            self.kernel = kernel

        def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
            assert all(0 < size < 65536 for size in grid[1:]) and grid[0] < 2**31
            return lambda *values: found.append(assembly(self.kernel, values))

    for module in (geglu_jit, group_norm_silu_jit, guided_step_jit, pixels_jit):
        monkeypatch.setattr(module, "wrap_triton", Launch)
    return found


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((2, 320, 64, 64), torch.float16), ((2, 2560, 8, 8), torch.bfloat16)],
)
def test_group_norm_silu(assemblies: list[str], shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.empty(shape, dtype=dtype).to(memory_format=torch.channels_last)
    scale = x.new_empty(shape[1])
    group_norm_silu_jit.group_norm_silu_op(x, 32, scale, scale, 1e-5, True)
    assert len(assemblies) == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_geglu(assemblies: list[str], dtype: torch.dtype) -> None:
    geglu_jit.geglu_op(torch.empty(2, 64, 2560, dtype=dtype))
    assert "ld.global.v4.b32" in assemblies[0]  # 16 bytes at a time


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_guided_step(assemblies: list[str], dtype: torch.dtype, each: bool) -> None:
    x, one = torch.empty(2, 4, 64, 64, dtype=dtype), torch.empty((2, 1, 1, 1) if each else ())
    out = torch.empty(6 if each else 4, 4, 64, 64, dtype=torch.float16)
    out = out.to(memory_format=torch.channels_last) if each else out
    rest = (x, x, one, x[:1], one, x, x, True, True) if each else (x, x, one, one)
    level = one.double()
    guided_step_jit.guided_step_op(out, x, one, level, level, *rest)
    assert len(assemblies) == 1


@pytest.mark.parametrize("last", [False, True])
def test_pixels_rounds_the_product_before_the_sum(assemblies: list[str], last: bool) -> None:
    picture = torch.empty(1, 3, 64, 64)
    pixels_jit.pixels_op(picture.to(memory_format=torch.channels_last) if last else picture)
    products = re.findall(r"mul(?:\.rn)?\.f32\s+(%\w+), %\w+, 0f437F0000", assemblies[0])  # by 255
    summands = re.findall(r"(?:add|fma)\S*\s+%\w+, (.*);", assemblies[0])
    assert products and not set(products) & {name for one in summands for name in one.split(", ")}

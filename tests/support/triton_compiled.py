"""The Triton kernels through Triton's real compiler, for an H100 that need not be here.

test_triton_kernels.py runs this file in a new process, because it must not use the interpreter.
"""

import re
from collections.abc import Iterator

import pytest
import torch
from triton.backends.compiler import GPUTarget

from mdp_lite_kernels import geglu_jit, group_norm_silu_jit, guided_step_jit, pixels_jit
from support.triton_launches import compile_for, watch_launches

HOPPER = GPUTarget("cuda", 90, 32)


@pytest.fixture
def assemblies() -> Iterator[list[str]]:
    """The PTX of every kernel that is launched from here on; nothing runs."""
    found: list[str] = []
    with watch_launches(lambda one: found.append(compile_for(one, HOPPER).asm["ptx"])):
        yield found


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((2, 320, 64, 64), torch.float16), ((2, 2560, 8, 8), torch.bfloat16)],
)
def test_group_norm_silu(assemblies: list[str], shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.empty(shape, dtype=dtype).to(memory_format=torch.channels_last)
    scale = x.new_empty(shape[1])
    group_norm_silu_jit.group_norm_silu_op(x, 32, scale, scale, 1e-5, True)
    assert len(assemblies) == (2 if shape[2] == 64 else 1)  # a small map's in one launch


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

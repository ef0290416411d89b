"""What our Triton operators launch, seen without a GPU: kernels with their arguments, not run."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mdp_lite_kernels import geglu_jit, group_norm_silu_jit, guided_step_jit, pixels_jit

MODULES = (geglu_jit, group_norm_silu_jit, guided_step_jit, pixels_jit)
TYPES = {
    torch.float64: "*fp64", torch.float32: "*fp32", torch.float16: "*fp16",
    torch.bfloat16: "*bf16", torch.uint8: "*u8",
}  # fmt: skip


class Launch(NamedTuple):
    """A kernel, its arguments, and the options of its launch, such as num_warps."""

    kernel: Any
    values: tuple[Any, ...]
    options: dict[str, Any]


@contextlib.contextmanager
def watch_launches(on_launch: Callable[[Launch], None]) -> Iterator[None]:
    """In the block our operators call on_launch where they would launch a kernel."""

    class Watched:
        def __init__(self, kernel: Any) -> None:
            self.kernel = kernel

        def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
            assert all(0 < size < 65536 for size in grid[1:]) and 0 < grid[0] < 2**31
            return lambda *values, **options: on_launch(Launch(self.kernel, values, options))

    with contextlib.ExitStack() as stack:
        for module in MODULES:
            stack.enter_context(mock.patch.object(module, "wrap_triton", Watched))
        nothing = lambda _: contextlib.nullcontext()  # noqa: E731
        stack.enter_context(mock.patch.object(torch.cuda, "device_of", nothing))
        yield


def compile_for(launch: Launch, target: GPUTarget) -> Any:
    """A launch compiled for a GPU, specialised as there: asm (ptx, cubin) and metadata."""
    import triton

    signature, constants, attributes = {}, {}, {}
    for i, (parameter, value) in enumerate(zip(launch.kernel.params, launch.values, strict=True)):
        if parameter.is_constexpr or value is None or (type(value) is int and value == 1):
            signature[parameter.name], constants[(i,)] = "constexpr", value
        elif isinstance(value, Tensor):
            signature[parameter.name] = TYPES[value.dtype]
        else:
            signature[parameter.name] = "i32" if isinstance(value, int) else "fp32"
        aligned = isinstance(value, Tensor) or (type(value) is int and value % 16 == 0)
        if aligned and (i,) not in constants:
            attributes[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(launch.kernel, signature, constants, attributes)
    return triton.compile(source, target=target, options=launch.options)

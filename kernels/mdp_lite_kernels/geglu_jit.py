"""The device code of geglu.py; it imports triton, so it is imported on demand."""

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]


@triton.jit
def gated(projection, out, size, D: tl.constexpr, BLOCK: tl.constexpr):
    """out = u gelu(gate), gelu(g) = g (1 + erf(g / sqrt 2)) / 2."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    at = i // D * (2 * D) + i % D
    u = tl.load(projection + at, mask=i < size, other=0.0).to(tl.float32)
    gate = tl.load(projection + at + D, mask=i < size, other=0.0).to(tl.float32)
    gelu = 0.5 * gate * (1.0 + tl.erf(gate * 0.7071067811865476))
    tl.store(out + i, u * gelu, mask=i < size)

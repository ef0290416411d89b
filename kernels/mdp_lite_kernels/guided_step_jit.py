"""The device code of guided_step.py; it imports triton, so it is imported on demand."""

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor
from torch.library import triton_op, wrap_triton

from mdp_lite_kernels.shapes import blocks

BLOCK = 512


@triton.jit
def lerp(start: tl.tensor, end: tl.tensor, w: tl.tensor) -> tl.tensor:
    """As torch.lerp: exactly start at w = 0 and end at w = 1."""
    apart = end - start
    return tl.where(tl.abs(w) < 0.5, start + w * apart, end - apart * (1 - w))


@triton.jit
def weight(
    w: tl.tensor, across: tl.tensor, period: tl.tensor,
    n: tl.tensor, i: tl.tensor, there: tl.tensor, x: tl.tensor,
) -> tl.tensor:  # fmt: skip
    """A weight at the values i of picture n, in x's dtype."""
    return tl.load(w + n * across + i % period, mask=there, other=0.0).to(x.dtype)


@triton.jit
def predict(
    out: tl.tensor, g: tl.tensor, g_across: tl.tensor,
    w_beta: tl.tensor, beta_across: tl.tensor, beta_period: tl.tensor,
    n: tl.tensor, i: tl.tensor, there: tl.tensor, here: tl.tensor,
    size: tl.tensor, area: tl.tensor,
    GUIDED: tl.constexpr, BETA: tl.constexpr, LAST: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """The guided prediction from the UNet's rows; LAST: they are in channels-last memory."""
    row = out + n * size + (i % area * (size // area) + i // area if LAST else i)
    rows = tl.num_programs(1) * size
    if GUIDED:
        null = tl.load(row, mask=there, other=0.0).to(here.dtype)
        row += rows
    e = tl.load(row, mask=there, other=0.0).to(here.dtype)
    if BETA:
        e_a = tl.load(row + rows, mask=there, other=0.0).to(here.dtype)
        e = lerp(e, e_a, weight(w_beta, beta_across, beta_period, n, i, there, here))
    if GUIDED:
        e = null + tl.load(g + n * g_across).to(here.dtype) * (e - null)
    return e


@triton.jit
def advance(
    out: tl.tensor, x: tl.tensor, eps_a: tl.tensor, x_a: tl.tensor,
    x0_a: tl.tensor, noise: tl.tensor, onward_to: tl.tensor, eps_to: tl.tensor,
    g: tl.tensor, g_across: tl.tensor,
    a: tl.tensor, a_across: tl.tensor, b: tl.tensor, b_across: tl.tensor,
    w_eps: tl.tensor, eps_across: tl.tensor, eps_period: tl.tensor,
    w_x: tl.tensor, x_across: tl.tensor, x_period: tl.tensor,
    w_beta: tl.tensor, beta_across: tl.tensor, beta_period: tl.tensor,
    size: tl.tensor, area: tl.tensor,
    GUIDED: tl.constexpr, BETA: tl.constexpr, V: tl.constexpr, NOISE: tl.constexpr,
    LAST: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """A block of one picture's values through guidance, the mixes and the step: see guided_step."""
    n = tl.program_id(1)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < size
    at = n * size + i
    here = tl.load(x + at, mask=there, other=0.0)
    e = predict(
        out, g, g_across, w_beta, beta_across, beta_period, n, i, there, here, size, area,
        GUIDED, BETA, LAST,
    )  # fmt: skip
    level, next_level = tl.load(a + n * a_across), tl.load(b + n * b_across)
    a_x, a_eps = tl.sqrt(level).to(here.dtype), tl.sqrt(1 - level).to(here.dtype)
    share = weight(w_eps, eps_across, eps_period, n, i, there, here)
    e_a = tl.load(eps_a + at, mask=there, other=0.0)
    eps = lerp(a_x * e + a_eps * here if V else e, e_a, share)
    x0 = (here - a_eps * eps) / (tl.where(level > 0, a_x, 1.0) if V else a_x)
    if V:  # where a = 0, x is noise alone and the prediction is -x_0
        x0 = tl.where(level > 0, x0, lerp(-e, tl.load(x0_a + at, mask=there, other=0.0), share))
    keep = tl.sqrt(next_level).to(here.dtype)
    if NOISE:
        left = ((1 - next_level) * tl.sqrt(level / (next_level * (1 - level)))).to(here.dtype)
        onward = keep * x0 + left * eps + tl.load(noise + at, mask=there, other=0.0)
    else:
        onward = keep * x0 + tl.sqrt(1 - next_level).to(here.dtype) * eps
    share = weight(w_x, x_across, x_period, n, i, there, here)
    end = tl.load(x_a + at, mask=there, other=0.0)
    tl.store(onward_to + at, lerp(onward, end, share), mask=there)
    tl.store(eps_to + at, lerp(eps, e_a, share), mask=there)


@triton_op("mdp_lite::guided_step", mutates_args={})
def guided_step_op(
    out: Tensor, x: Tensor, g: Tensor, a: Tensor, b: Tensor,
    eps_a: Tensor, x_a: Tensor, w_eps: Tensor, w_x: Tensor,
    w_beta: Tensor | None = None, x0_a: Tensor | None = None, noise: Tensor | None = None,
    guided: bool = True, v_prediction: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The kernel as an operator that torch.compile can trace."""
    onward, eps = torch.empty_like(x), torch.empty_like(x)
    size, area = x[0].numel(), x.shape[2] * x.shape[3]
    full = [t if t is None else t.expand_as(x).contiguous() for t in (eps_a, x_a, x0_a, noise)]
    scalars = [part for t in (g, a, b) for part in (t.contiguous(), int(t.numel() > 1))]
    weights = [part for w in (w_eps, w_x, w_beta) for part in _lay_out(w, x)]
    with torch.cuda.device_of(x):
        wrap_triton(advance)[(blocks(size, BLOCK), x.shape[0])](
            out, x, *full, onward, eps, *scalars, *weights, size, area,
            guided, w_beta is not None, v_prediction, noise is not None,
            not out.is_contiguous(), BLOCK,
        )  # fmt: skip
    return onward, eps


def _lay_out(w: Tensor | None, x: Tensor) -> tuple[Tensor | None, int, int]:
    """A weight in memory, its values between two pictures, and after how many it repeats in one.

    A map for all channels repeats in each, a constant everywhere.
    """
    if w is None or w.numel() == 1:
        return w, 0, 1
    if w.shape == (len(x), 1, 1, 1):
        return w.contiguous(), 1, 1
    w = w.expand(torch.broadcast_shapes(w.shape, (1, 1, *x.shape[2:]))).contiguous()
    return w, 0 if len(w) == 1 else w[0].numel(), w[0].numel()

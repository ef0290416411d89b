"""The device code of guided_step.py; it imports triton, so it is imported on demand."""

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]


@triton.jit
def lerp(start, end, w):
    """As torch.lerp: exactly start at w = 0 and end at w = 1."""
    apart = end - start
    return tl.where(tl.abs(w) < 0.5, start + w * apart, end - apart * (1 - w))


@triton.jit
def weight(w, across, within, n, i, there, x):
    """A weight's value at values i of picture n, in x's dtype."""
    return tl.load(w + n * across + i * within, mask=there, other=0.0).to(x.dtype)


@triton.jit
def advance(
    out, x, eps_a, x_a, x0_a, noise, onward_to, eps_to,
    g, g_across, a, a_across, b, b_across,
    w_eps, eps_across, eps_within, w_x, x_across, x_within, w_beta, beta_across, beta_within,
    size, area,
    GUIDED: tl.constexpr, BETA: tl.constexpr, V: tl.constexpr, NOISE: tl.constexpr,
    LAST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A block of one picture's values through guidance, the mixes and the step: see reference."""
    n = tl.program_id(1)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < size
    at = n * size + i
    here = tl.load(x + at, mask=there, other=0.0)

    # The denoiser's rows; LAST: it leaves them with channels last.
    row = out + n * size + (i % area * (size // area) + i // area if LAST else i)
    rows = tl.num_programs(1) * size
    if GUIDED:
        null = tl.load(row, mask=there, other=0.0).to(here.dtype)
        row += rows
    e = tl.load(row, mask=there, other=0.0).to(here.dtype)
    if BETA:
        e_a = tl.load(row + rows, mask=there, other=0.0).to(here.dtype)
        e = lerp(e, e_a, weight(w_beta, beta_across, beta_within, n, i, there, here))
    if GUIDED:
        e = null + tl.load(g + n * g_across).to(here.dtype) * (e - null)

    level, reached = tl.load(a + n * a_across), tl.load(b + n * b_across)
    a_x, a_eps = tl.sqrt(level).to(here.dtype), tl.sqrt(1 - level).to(here.dtype)
    share = weight(w_eps, eps_across, eps_within, n, i, there, here)
    eps = a_x * e + a_eps * here if V else e
    eps = lerp(eps, tl.load(eps_a + at, mask=there, other=0.0), share)
    if V:  # where a = 0, x is noise alone and the prediction is -x_0
        x0 = (here - a_eps * eps) / tl.where(level > 0, a_x, 1.0)
        x0 = tl.where(level > 0, x0, lerp(-e, tl.load(x0_a + at, mask=there, other=0.0), share))
    else:
        x0 = (here - a_eps * eps) / a_x
    keep = tl.sqrt(reached).to(here.dtype)
    if NOISE:
        left = ((1 - reached) * tl.sqrt(level / (reached * (1 - level)))).to(here.dtype)
        onward = keep * x0 + left * eps + tl.load(noise + at, mask=there, other=0.0)
    else:
        onward = keep * x0 + tl.sqrt(1 - reached).to(here.dtype) * eps
    share = weight(w_x, x_across, x_within, n, i, there, here)
    onward = lerp(onward, tl.load(x_a + at, mask=there, other=0.0), share)
    tl.store(onward_to + at, onward, mask=there)
    tl.store(eps_to + at, eps, mask=there)

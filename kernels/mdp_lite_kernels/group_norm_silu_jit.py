"""The device code of group_norm_silu.py; it imports triton, so it is imported on demand."""

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]


@triton.jit
def channels(GROUPS: tl.constexpr, WIDTH: tl.constexpr, BESIDE: tl.constexpr, ACROSS: tl.constexpr):
    """This program's groups (BESIDE,), their channels (BESIDE, ACROSS), and which of them exist."""
    group = tl.program_id(1) * BESIDE + tl.arange(0, BESIDE)
    j = tl.arange(0, ACROSS)
    return (
        group,
        group[:, None] * WIDTH + j[None, :],
        (group[:, None] < GROUPS) & (j[None, :] < WIDTH),
    )


@triton.jit
def partial(
    x, parts, rows, chunk,
    GROUPS: tl.constexpr, WIDTH: tl.constexpr,
    DEEP: tl.constexpr, BESIDE: tl.constexpr, ACROSS: tl.constexpr,
):  # fmt: skip
    """First pass: mean and summed squared deviation of a chunk's groups, tile by tile.

    Deviations are from a tile's own mean, and tiles are put together by Chan et al. (1983): the
    difference of two large sums, which loses a small variance, is never taken.
    """
    group, channel, exists = channels(GROUPS, WIDTH, BESIDE, ACROSS)
    part, n = tl.program_id(0), tl.program_id(2)
    x += n.to(tl.int64) * rows * (GROUPS * WIDTH)
    mean = tl.zeros([BESIDE], tl.float32)
    square = tl.zeros([BESIDE], tl.float32)
    end = tl.minimum((part + 1) * chunk, rows)
    for first in range(part * chunk, end, DEEP):
        row = first + tl.arange(0, DEEP)
        inside = (row < end)[:, None, None] & exists[None, :, :]
        at = row[:, None, None] * (GROUPS * WIDTH) + channel[None, :, :]
        tile = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
        before = ((first - part * chunk) * WIDTH).to(tl.float32)
        new = (tl.minimum(end - first, DEEP) * WIDTH).to(tl.float32)
        middle = tl.sum(tl.sum(tile, 2), 0) / new
        apart = tl.where(inside, tile - middle[None, :, None], 0.0)
        step = middle - mean
        mean += step * (new / (before + new))
        square += tl.sum(tl.sum(apart * apart, 2), 0)
        square += step * step * (before * new / (before + new))
    chunks, pictures = tl.num_programs(0), tl.num_programs(2)
    at = (n * chunks + part) * GROUPS + group
    tl.store(parts + at, mean, mask=group < GROUPS)
    tl.store(parts + pictures * chunks * GROUPS + at, square, mask=group < GROUPS)


@triton.jit
def moments(
    parts, rows, chunk, group, GROUPS: tl.constexpr, WIDTH: tl.constexpr, CHUNKS: tl.constexpr
):
    """Mean and variance (BESIDE,) of a picture's groups from those of all its chunks."""
    chunks, n = tl.num_programs(0), tl.program_id(2)
    part = tl.arange(0, CHUNKS)
    there = (part < chunks)[:, None] & (group < GROUPS)[None, :]
    at = (n * chunks + part)[:, None] * GROUPS + group[None, :]
    means = tl.load(parts + at, mask=there, other=0.0)
    squares = tl.load(parts + tl.num_programs(2) * chunks * GROUPS + at, mask=there, other=0.0)
    held = tl.maximum(tl.minimum(rows - part * chunk, chunk), 0) * WIDTH
    share = (held.to(tl.float32) / (rows * WIDTH).to(tl.float32))[:, None]
    mean = tl.sum(means * share, 0)
    apart = tl.where(there, means - mean[None, :], 0.0)
    inner = tl.sum(squares, 0) / (rows * WIDTH).to(tl.float32)
    return mean, inner + tl.sum(apart * apart * share, 0)


@triton.jit
def normalise(
    x, parts, weight, bias, y, eps, rows, chunk,
    GROUPS: tl.constexpr, WIDTH: tl.constexpr,
    DEEP: tl.constexpr, BESIDE: tl.constexpr, ACROSS: tl.constexpr,
    CHUNKS: tl.constexpr, SILU: tl.constexpr,
):  # fmt: skip
    """Second pass: (x - mean) / sqrt(variance + eps) weight + bias, then SiLU if SILU."""
    group, channel, exists = channels(GROUPS, WIDTH, BESIDE, ACROSS)
    mean, variance = moments(parts, rows, chunk, group, GROUPS, WIDTH, CHUNKS)
    scale = tl.rsqrt(variance + eps)
    w = tl.load(weight + channel, mask=exists, other=0.0).to(tl.float32)
    shift = tl.load(bias + channel, mask=exists, other=0.0).to(tl.float32)
    part, start = tl.program_id(0), tl.program_id(2).to(tl.int64) * rows * (GROUPS * WIDTH)
    end = tl.minimum((part + 1) * chunk, rows)
    for first in range(part * chunk, end, DEEP):
        row = first + tl.arange(0, DEEP)
        inside = (row < end)[:, None, None] & exists[None, :, :]
        at = start + row[:, None, None] * (GROUPS * WIDTH) + channel[None, :, :]
        tile = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
        tile = (tile - mean[None, :, None]) * scale[None, :, None]
        tile = tile * w[None, :, :] + shift[None, :, :]
        tl.store(y + at, tile * tl.sigmoid(tile) if SILU else tile, mask=inside)

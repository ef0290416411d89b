"""The device code of group_norm_silu.py; it imports triton, so it is imported on demand."""

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor
from torch.library import triton_op, wrap_triton

from mdp_lite_kernels.shapes import blocks, power_of_two

PROGRAMS = 1024  # about 8 for each processor of an H100 or H200
TILE = 4096  # values that a program holds at once
MIN_VALUES = 512  # values that make a chunk worth a program
CHANNELS = 64  # contiguous channels that a program reads: whole cache lines in 16 bits
PARTS = 4096  # chunks times groups that one program of the second pass combines


@triton.jit
def channels(
    GROUPS: tl.constexpr, WIDTH: tl.constexpr, BESIDE: tl.constexpr, ACROSS: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """This program's groups (BESIDE,), their channels (BESIDE, ACROSS), and a mask."""
    group = tl.program_id(1) * BESIDE + tl.arange(0, BESIDE)
    j = tl.arange(0, ACROSS)
    exists = (group[:, None] < GROUPS) & (j[None, :] < WIDTH)
    return group, group[:, None] * WIDTH + j[None, :], exists


@triton.jit
def chunk_moments(
    x: tl.tensor, parts: tl.tensor, rows: tl.tensor, chunk: tl.tensor,
    GROUPS: tl.constexpr, WIDTH: tl.constexpr,
    DEEP: tl.constexpr, BESIDE: tl.constexpr, ACROSS: tl.constexpr,
) -> None:  # fmt: skip
    """First pass: mean and summed squared deviation of a chunk's groups, tile by tile.

    Deviations are from the tile's mean, and tiles are combined by Chan et al. (1983). The
    difference of two large sums would lose a small variance.
    """
    group, channel, exists = channels(GROUPS, WIDTH, BESIDE, ACROSS)  # pyright: ignore
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
def picture_moments(
    parts: tl.tensor, rows: tl.tensor, chunk: tl.tensor, group: tl.tensor,
    GROUPS: tl.constexpr, WIDTH: tl.constexpr, CHUNKS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:  # fmt: skip
    """Mean and variance (BESIDE,) of a picture's groups from the moments of all its chunks."""
    chunks, n = tl.num_programs(0), tl.program_id(2)
    part = tl.arange(0, CHUNKS)
    there = (part < chunks)[:, None] & (group < GROUPS)[None, :]
    at = (n * chunks + part)[:, None] * GROUPS + group[None, :]
    means = tl.load(parts + at, mask=there, other=0.0)
    squares = tl.load(parts + tl.num_programs(2) * chunks * GROUPS + at, mask=there, other=0.0)
    count = tl.maximum(tl.minimum(rows - part * chunk, chunk), 0) * WIDTH
    share = (count.to(tl.float32) / (rows * WIDTH).to(tl.float32))[:, None]
    mean = (means * share).sum(0)  # the method: as a function its type differs between tritons
    apart = tl.where(there, means - mean[None, :], 0.0)
    inner = squares.sum(0) / (rows * WIDTH).to(tl.float32)
    return mean, inner + (apart * apart * share).sum(0)


@triton.jit
def normalise(
    x: tl.tensor, parts: tl.tensor, weight: tl.tensor, bias: tl.tensor, y: tl.tensor,
    eps: tl.tensor, rows: tl.tensor, chunk: tl.tensor,
    GROUPS: tl.constexpr, WIDTH: tl.constexpr,
    DEEP: tl.constexpr, BESIDE: tl.constexpr, ACROSS: tl.constexpr,
    CHUNKS: tl.constexpr, SILU: tl.constexpr,
) -> None:  # fmt: skip
    """Second pass: (x - mean) / sqrt(variance + eps) weight + bias, then SiLU if SILU."""
    group, channel, exists = channels(GROUPS, WIDTH, BESIDE, ACROSS)  # pyright: ignore
    mean, variance = picture_moments(parts, rows, chunk, group, GROUPS, WIDTH, CHUNKS)
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


@triton_op("mdp_lite::group_norm_silu", mutates_args={})
def group_norm_silu_op(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool = True
) -> Tensor:
    """Both passes as an operator that torch.compile can trace."""
    b, rows, width = x.shape[0], x.shape[2] * x.shape[3], x.shape[1] // groups
    across = power_of_two(width)  # channels of a group, in a block
    beside = min(max(CHANNELS // across, 1), power_of_two(groups))  # groups in a block
    lanes = across * beside
    sets = blocks(groups, beside)
    max_chunks = min(blocks(rows, max(MIN_VALUES // lanes, 1)), max(PARTS // beside, 1))
    chunk = blocks(rows, min(blocks(PROGRAMS, b * sets), max_chunks))  # rows in a chunk
    chunks = blocks(rows, chunk)
    deep = min(power_of_two(chunk), max(TILE // lanes, 1))  # rows in a block
    y, parts = torch.empty_like(x), x.new_empty(2, b, chunks, groups, dtype=torch.float32)
    grid, sizes = (chunks, sets, b), (rows, chunk, groups, width, deep, beside, across)
    with torch.cuda.device_of(x):
        wrap_triton(chunk_moments)[grid](x, parts, *sizes)
        wrap_triton(normalise)[grid](
            x, parts, weight, bias, y, eps, *sizes, power_of_two(chunks), silu
        )
    return y

"""The device code of group_norm_silu.py; it imports triton, so it is imported on demand."""

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor
from torch.library import triton_op, wrap_triton

from mdp_lite_kernels.shapes import blocks, power_of_two

WHOLE = 2**15  # values of a group up to which one program does both passes, in one launch
WHOLE_TILE = 2**14  # values that such a program holds at once
SECTOR = 16  # contiguous channels that it reads at least: 32 bytes in 16 bits
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
def channel_shift(
    shift: tl.tensor, apart: tl.tensor, channel: tl.tensor, exists: tl.tensor,
    BESIDE: tl.constexpr, ACROSS: tl.constexpr, SHIFT: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """What is added to each channel (BESIDE, ACROSS) of this program's picture; 0 without SHIFT."""
    added = tl.zeros([BESIDE, ACROSS], tl.float32)
    if SHIFT:
        at = tl.program_id(2) * apart + channel
        added += tl.load(shift + at, mask=exists, other=0.0).to(tl.float32)
    return added


@triton.jit
def moments(
    x: tl.tensor, added: tl.tensor, channel: tl.tensor, exists: tl.tensor,
    start: tl.tensor, end: tl.tensor, GROUPS: tl.constexpr, WIDTH: tl.constexpr,
    DEEP: tl.constexpr, BESIDE: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:  # fmt: skip
    """Mean and summed squared deviation (BESIDE,) of the rows from start to end, tile by tile.

    Deviations are from the tile's mean, and tiles are combined by Chan et al. (1983). The
    difference of two large sums would lose a small variance.
    """
    mean = tl.zeros([BESIDE], tl.float32)
    square = tl.zeros([BESIDE], tl.float32)
    for first in range(start, end, DEEP):  # pyright: ignore
        row = first + tl.arange(0, DEEP)
        inside = (row < end)[:, None, None] & exists[None, :, :]
        at = row[:, None, None] * (GROUPS * WIDTH) + channel[None, :, :]
        tile = tl.load(x + at, mask=inside, other=0.0).to(tl.float32) + added[None, :, :]
        tile = tl.where(inside, tile, 0.0)
        before = ((first - start) * WIDTH).to(tl.float32)
        new = (tl.minimum(end - first, DEEP) * WIDTH).to(tl.float32)
        middle = tl.sum(tl.sum(tile, 2), 0) / new
        apart = tl.where(inside, tile - middle[None, :, None], 0.0)
        step = middle - mean
        mean += step * (new / (before + new))
        square += tl.sum(tl.sum(apart * apart, 2), 0)
        square += step * step * (before * new / (before + new))
    return mean, square


@triton.jit
def write(
    x: tl.tensor, added: tl.tensor, weight: tl.tensor, bias: tl.tensor, y: tl.tensor,
    mean: tl.tensor, scale: tl.tensor, channel: tl.tensor, exists: tl.tensor,
    start: tl.tensor, end: tl.tensor, GROUPS: tl.constexpr, WIDTH: tl.constexpr,
    DEEP: tl.constexpr, SILU: tl.constexpr,
) -> None:  # fmt: skip
    """(x - mean) scale weight + bias of the rows from start to end, then SiLU if SILU."""
    w = tl.load(weight + channel, mask=exists, other=0.0).to(tl.float32)
    b = tl.load(bias + channel, mask=exists, other=0.0).to(tl.float32)
    for first in range(start, end, DEEP):  # pyright: ignore
        row = first + tl.arange(0, DEEP)
        inside = (row < end)[:, None, None] & exists[None, :, :]
        at = row[:, None, None] * (GROUPS * WIDTH) + channel[None, :, :]
        tile = tl.load(x + at, mask=inside, other=0.0).to(tl.float32) + added[None, :, :]
        tile = (tile - mean[None, :, None]) * scale[None, :, None]
        tile = tile * w[None, :, :] + b[None, :, :]
        tl.store(y + at, tile * tl.sigmoid(tile) if SILU else tile, mask=inside)


@triton.jit
def whole_groups(
    x: tl.tensor, shift: tl.tensor, apart: tl.tensor, weight: tl.tensor, bias: tl.tensor,
    y: tl.tensor, eps: tl.tensor, rows: tl.tensor,
    GROUPS: tl.constexpr, WIDTH: tl.constexpr,
    DEEP: tl.constexpr, BESIDE: tl.constexpr, ACROSS: tl.constexpr,
    SHIFT: tl.constexpr, SILU: tl.constexpr,
) -> None:  # fmt: skip
    """Both passes in one program, for groups so small that its processor's cache holds them."""
    _, channel, exists = channels(GROUPS, WIDTH, BESIDE, ACROSS)  # pyright: ignore
    added = channel_shift(shift, apart, channel, exists, BESIDE, ACROSS, SHIFT)
    picture = tl.program_id(2).to(tl.int64) * rows * (GROUPS * WIDTH)
    start = tl.program_id(0) * rows  # 0: one program has all rows
    mean, square = moments(
        x + picture, added, channel, exists, start, rows, GROUPS, WIDTH, DEEP, BESIDE
    )  # pyright: ignore
    scale = tl.rsqrt(square / (rows * WIDTH).to(tl.float32) + eps)
    write(
        x + picture, added, weight, bias, y + picture, mean, scale, channel, exists,
        start, rows, GROUPS, WIDTH, DEEP, SILU,
    )  # fmt: skip


@triton.jit
def chunk_moments(
    x: tl.tensor, shift: tl.tensor, apart: tl.tensor, parts: tl.tensor,
    rows: tl.tensor, chunk: tl.tensor,
    GROUPS: tl.constexpr, WIDTH: tl.constexpr,
    DEEP: tl.constexpr, BESIDE: tl.constexpr, ACROSS: tl.constexpr, SHIFT: tl.constexpr,
) -> None:  # fmt: skip
    """First pass: mean and summed squared deviation of a chunk's groups."""
    group, channel, exists = channels(GROUPS, WIDTH, BESIDE, ACROSS)  # pyright: ignore
    added = channel_shift(shift, apart, channel, exists, BESIDE, ACROSS, SHIFT)
    part, n = tl.program_id(0), tl.program_id(2)
    x += n.to(tl.int64) * rows * (GROUPS * WIDTH)
    end = tl.minimum((part + 1) * chunk, rows)
    mean, square = moments(
        x, added, channel, exists, part * chunk, end, GROUPS, WIDTH, DEEP, BESIDE
    )  # pyright: ignore
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
    x: tl.tensor, shift: tl.tensor, apart: tl.tensor, parts: tl.tensor,
    weight: tl.tensor, bias: tl.tensor, y: tl.tensor,
    eps: tl.tensor, rows: tl.tensor, chunk: tl.tensor,
    GROUPS: tl.constexpr, WIDTH: tl.constexpr,
    DEEP: tl.constexpr, BESIDE: tl.constexpr, ACROSS: tl.constexpr, SHIFT: tl.constexpr,
    CHUNKS: tl.constexpr, SILU: tl.constexpr,
) -> None:  # fmt: skip
    """Second pass: (x - mean) / sqrt(variance + eps) weight + bias, then SiLU if SILU."""
    group, channel, exists = channels(GROUPS, WIDTH, BESIDE, ACROSS)  # pyright: ignore
    added = channel_shift(shift, apart, channel, exists, BESIDE, ACROSS, SHIFT)
    mean, variance = picture_moments(parts, rows, chunk, group, GROUPS, WIDTH, CHUNKS)
    part, picture = tl.program_id(0), tl.program_id(2).to(tl.int64) * rows * (GROUPS * WIDTH)
    end = tl.minimum((part + 1) * chunk, rows)
    write(
        x + picture, added, weight, bias, y + picture, mean, tl.rsqrt(variance + eps), channel,
        exists, part * chunk, end, GROUPS, WIDTH, DEEP, SILU,
    )  # fmt: skip


@triton_op("mdp_lite::group_norm_silu", mutates_args={})
def group_norm_silu_op(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool = True,
    shift: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """One launch or two, by the size of a group, as an operator that torch.compile can trace."""
    values = x.shape[1] // groups * x.shape[2] * x.shape[3]
    y = torch.empty_like(x)
    with torch.cuda.device_of(x):
        run = _run_whole if values <= WHOLE else _run_chunked
        run(x, groups, weight, bias, y, eps, silu, shift)
    return y


def _run_whole(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, y: Tensor, eps: float, silu: bool,
    shift: Tensor | None,
) -> None:  # fmt: skip
    b, rows, width = x.shape[0], x.shape[2] * x.shape[3], x.shape[1] // groups
    across = power_of_two(width)
    beside = min(max(SECTOR // across, 1), power_of_two(groups))
    deep = min(power_of_two(rows), max(WHOLE_TILE // (across * beside), 1))
    warps = min(max(deep * across * beside // 1024, 1), 16)  # 32 values or fewer in a thread
    wrap_triton(whole_groups)[(1, blocks(groups, beside), b)](
        x, shift, _apart(shift), weight, bias, y, eps, rows, groups, width, deep, beside, across,
        shift is not None, silu, num_warps=power_of_two(warps),
    )  # fmt: skip


def _run_chunked(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, y: Tensor, eps: float, silu: bool,
    shift: Tensor | None,
) -> None:  # fmt: skip
    b, rows, width = x.shape[0], x.shape[2] * x.shape[3], x.shape[1] // groups
    across = power_of_two(width)  # channels of a group, in a block
    beside = min(max(CHANNELS // across, 1), power_of_two(groups))  # groups in a block
    lanes = across * beside
    sets = blocks(groups, beside)
    max_chunks = min(blocks(rows, max(MIN_VALUES // lanes, 1)), max(PARTS // beside, 1))
    chunk = blocks(rows, min(blocks(PROGRAMS, b * sets), max_chunks))  # rows in a chunk
    chunks = blocks(rows, chunk)
    deep = min(power_of_two(chunk), max(TILE // lanes, 1))  # rows in a block
    parts = x.new_empty(2, b, chunks, groups, dtype=torch.float32)
    grid, moved = (chunks, sets, b), (shift, _apart(shift))
    sizes = (rows, chunk, groups, width, deep, beside, across, shift is not None)
    wrap_triton(chunk_moments)[grid](x, *moved, parts, *sizes)
    wrap_triton(normalise)[grid](
        x, *moved, parts, weight, bias, y, eps, *sizes, power_of_two(chunks), silu
    )


def _apart(shift: Tensor | None) -> int:
    """Values between the shifts of two pictures: 0 if all have the same."""
    return 0 if shift is None or len(shift) == 1 else shift.stride(0)

"""Windows of maps, and the rings of cells around them."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mdp_lite.engine.windows import Level, Ring, Size, Window, find_window, list_levels

SIDES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def windows(draw: st.DrawFn, sides: st.SearchStrategy[Size] = SIDES) -> Level:
    """A map of some size with a window of at least one cell."""
    height, width = draw(sides)
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    bottom, right = draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))
    return Level(Window(top, bottom, left, right), (height, width))


@given(level=windows())
@settings(max_examples=100, deadline=None)
def test_a_frame_is_the_padded_map_around_the_window(level: Level) -> None:
    x = torch.randn(2, 3, *level.size)
    frame = level.window.grow(1)
    ring = Ring(frame, level)
    got = ring.surround(x[level.window.cells], ring.take(x))
    assert torch.equal(got, F.pad(x, (1, 1, 1, 1))[frame.shift(-1, -1).cells])
    assert got.is_contiguous(memory_format=torch.channels_last)


@given(level=windows())
@settings(max_examples=100, deadline=None)
def test_window_and_outside_are_all_cells(level: Level) -> None:
    numbers = torch.arange(level.size[0] * level.size[1]).view(level.size)
    both = torch.cat([numbers[level.window.cells].flatten(), level.outside])
    assert torch.equal(both.sort().values, numbers.flatten())


@given(level=windows(), count=st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_each_level_covers_the_larger_one(level: Level, count: int) -> None:
    levels = list_levels(*level, count)
    assert len(levels) == count
    for larger, smaller in zip(levels, levels[1:], strict=False):
        mask = torch.zeros(larger.size)
        mask[larger.window.cells] = 1
        pooled = F.max_pool2d(mask[None, None], 2, ceil_mode=True)[0, 0]
        assert smaller.size == tuple(pooled.shape)
        assert smaller.window == find_window(pooled, halo=0)


def test_a_window_is_clipped_to_the_map() -> None:
    mask = torch.zeros(6, 8)
    mask[0, 5], mask[2, 6] = 0.1, 1
    assert find_window(mask, 0) == Window(0, 3, 5, 7)
    assert find_window(mask, 2) == Window(0, 5, 3, 8)


@pytest.mark.parametrize("halo", [0, 1])
def test_one_cell_is_a_window(halo: int) -> None:
    mask = torch.zeros(3, 3)
    mask[1, 1] = 1
    assert find_window(mask, halo).size == (1 + 2 * halo, 1 + 2 * halo)

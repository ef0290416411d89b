"""Windows of a UNet's maps: one rectangle of latent cells at every level, and the cells around it.

Shapes: b batch, c channels, y x height and width, n cells.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

Size = tuple[int, int]  # y, x


class Window(NamedTuple):
    """The cells [top, bottom) x [left, right) of a map.

    >>> Window(3, 8, 2, 6).halve()
    Window(top=1, bottom=4, left=1, right=3)
    """

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> Size:
        """Its height and width in cells."""
        return self.bottom - self.top, self.right - self.left

    @property
    def cells(self) -> tuple[Any, ...]:
        """The window as an index of maps (..., y, x)."""
        return ..., slice(self.top, self.bottom), slice(self.left, self.right)

    def grow(self, cells: int) -> "Window":
        """The window with so many more cells on each side."""
        top, bottom, left, right = self
        return Window(top - cells, bottom + cells, left - cells, right + cells)

    def clip(self, size: Size) -> "Window":
        """The part of the window that lies on a map of this size."""
        top, bottom, left, right = self
        return Window(max(top, 0), min(bottom, size[0]), max(left, 0), min(right, size[1]))

    def halve(self) -> "Window":
        """The window on the map of the next level: every cell that the window touches."""
        top, bottom, left, right = self
        return Window(top // 2, -(-bottom // 2), left // 2, -(-right // 2))

    def shift(self, top: int, left: int) -> "Window":
        """The window as seen from another cell."""
        return Window(self.top - top, self.bottom - top, self.left - left, self.right - left)


class Level(NamedTuple):
    """A window on the map of one level, and the size of that map."""

    window: Window
    size: Size

    @property
    def outside(self) -> Tensor:
        """The numbers (n,) of the cells that are not in the window, row by row."""
        apart = torch.ones(self.size, dtype=torch.bool, device="cpu")
        apart[self.window.cells] = False
        return _number(apart)


def find_window(mask: Tensor, halo: int) -> Window:
    """The smallest window of all cells above 0 of a mask (y, x), with halo cells on each side.

    >>> find_window(torch.eye(8)[:3], halo=1)
    Window(top=0, bottom=3, left=0, right=4)
    """
    down, across = ((mask > 0).any(axis).nonzero().flatten().tolist() for axis in (1, 0))
    window = Window(down[0], down[-1] + 1, across[0], across[-1] + 1)
    return window.grow(halo).clip((mask.shape[0], mask.shape[1]))


def list_levels(window: Window, size: Size, count: int) -> list[Level]:
    """The window on the map of each level of a UNet, the largest map first."""
    levels = [Level(window, size)]
    for _ in range(count - 1):
        window, size = window.halve(), (-(-size[0] // 2), -(-size[1] // 2))
        levels.append(Level(window, size))
    return levels


class Ring:
    """The cells of a frame that lie around a window; a frame may reach beyond the map's edges."""

    def __init__(self, around: Window, level: Level) -> None:
        (window, (height, width)), self.size = level, around.size
        down = torch.arange(around.top, around.bottom, device="cpu")[:, None]
        across = torch.arange(around.left, around.right, device="cpu")
        on_map = (down >= 0) & (down < height) & (across >= 0) & (across < width)
        chosen = on_map.clone()
        self._window = window.shift(around.top, around.left).cells
        chosen[self._window] = False
        self._of_map = torch.tensor((down * width + across)[chosen].tolist(), dtype=torch.long)
        self._of_frame = _number(chosen)
        self._beyond = _list_edges(on_map)

    def take(self, x: Tensor) -> Tensor:
        """The ring's cells (b, n, c) of a whole map x (b, c, y, x)."""
        return x.permute(0, 2, 3, 1).flatten(1, 2).index_select(1, self._of_map)

    def surround(self, x: Tensor, ring: Tensor) -> Tensor:
        """The frame (b, c, y, x) of a window x (b, c, y, x) and its ring (b, n, c).

        It lies channels last; beyond the map's edges it is 0.
        """
        cells = x.new_empty(len(x), *self.size, x.shape[1])
        frame = cells.permute(0, 3, 1, 2)
        frame[self._window] = x
        cells.flatten(1, 2).index_copy_(1, self._of_frame, ring)
        return self.clear(frame)

    def clear(self, x: Tensor) -> Tensor:
        """A frame x (b, c, y, x) with 0 beyond the map's edges, in place."""
        for index in self._beyond:
            x[index] = 0
        return x


def _number(chosen: Tensor) -> Tensor:
    """The numbers (n,) of the cells that are true in a map (y, x), row by row."""
    return torch.tensor(chosen.flatten().nonzero().flatten().tolist(), dtype=torch.long)


def _list_edges(on_map: Tensor) -> list[tuple[Any, ...]]:
    """The rows and columns of a frame (y, x) of which no cell is on the map, as indices."""
    rows, columns = (on_map.any(axis).logical_not().tolist() for axis in (1, 0))
    down = [(..., i, slice(None)) for i, beyond in enumerate(rows) if beyond]
    return [*down, *((..., i) for i, beyond in enumerate(columns) if beyond)]

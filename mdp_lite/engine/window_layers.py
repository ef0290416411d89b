"""Layers that compute a window of their map and read what another call kept of all around it.

Each stands for one layer of the UNet and shares its weights; while its tape records, it computes
the whole map as that layer does, and keeps what the window will need.
Shapes: b batch, c channels, y x height and width, n cells.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdp_lite.engine.windows import Level, Ring, Size, Window
from mdp_lite.models.layers import Downsample2D, GroupNorm, Upsample2D, activation
from mdp_lite.models.transformer import Attend, Attention


class Tape:
    """What the layers of one call keep, in the order in which they run. One thread uses it.

    recording says whether layers compute whole maps and keep, or compute windows and read.
    """

    def __init__(self) -> None:
        self.recording, self.recorded = True, list[Tensor]()
        self._next: Iterator[Tensor] = iter(())

    def record(self) -> None:
        """The next call is recorded."""
        self.recording, self.recorded = True, []

    def play(self, recorded: Iterable[Tensor]) -> None:
        """The next call reads what another one kept."""
        self.recording, self._next = False, iter(recorded)

    def keep(self, part: Tensor) -> None:
        """Keep a tensor whose rows are those of the call."""
        self.recorded.append(part)

    def read(self) -> Tensor:
        """The next tensor."""
        return next(self._next)


class WindowedConv(nn.Module):
    """A 3x3 convolution with padding 1, of a window, or of its frame if the input is one."""

    def __init__(self, conv: Any, level: Level, tape: Tape, framed: bool = True) -> None:
        super().__init__()
        self.conv, self.tape, self.framed = conv, tape, framed
        self.ring = Ring(level.window.grow(1), level)

    def forward(self, x: Tensor) -> Tensor:
        """(b, inp, y, x) -> (b, out, y, x)."""
        if not self.tape.recording:
            frame = x if self.framed else self.ring.surround(x, self.tape.read())
            return convolve(self.conv, frame)
        if not self.framed:
            self.tape.keep(self.ring.take(x))
        return self.conv(x)


class WindowedProduct(nn.Module):
    """A 1x1 convolution; of a window it is a product of matrices with a plain weight, also kept.

    oneDNN packs the weight of a 1x1 convolution otherwise for small maps than for large ones, and
    to change the layout in each call takes many times as long as the convolution.
    """

    def __init__(self, conv: Any, tape: Tape) -> None:
        super().__init__()
        self.conv, self.tape = conv, tape
        weight = getattr(conv, "conv", conv).weight
        self.weight = (weight.to_dense() if weight.is_mkldnn else weight).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, inp, y, x) -> (b, out, y, x)."""
        if self.tape.recording:
            return self.conv(x)
        bias = getattr(self.conv, "conv", self.conv).bias
        return F.linear(x.permute(0, 2, 3, 1), self.weight, bias).permute(0, 3, 1, 2)


class WindowedDown(nn.Module):
    """A strided convolution: cell o of its result reads the cells 2 o - 1 to 2 o + 1."""

    def __init__(self, layer: Downsample2D, level: Level, tape: Tape) -> None:
        super().__init__()
        self.layer, self.tape = layer, tape
        top, bottom, left, right = level.window.halve()
        self.ring = Ring(Window(2 * top - 1, 2 * bottom, 2 * left - 1, 2 * right), level)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, y, x) -> (b, c, y/2, x/2)."""
        if self.tape.recording:
            self.tape.keep(self.ring.take(x))
            return self.layer(x)
        return convolve(self.layer.conv, self.ring.surround(x, self.tape.read()))


class WindowedUp(nn.Module):
    """Upsampling and its convolution, from the window of a level to that of the larger one."""

    def __init__(self, layer: Upsample2D, level: Level, larger: Level, tape: Tape) -> None:
        super().__init__()
        self.layer, self.tape = layer, tape
        frame, wanted = level.window.grow(1), larger.window.grow(1)
        self.ring, self.larger = Ring(frame, level), Ring(wanted, larger)
        self.part = wanted.shift(2 * frame.top, 2 * frame.left).cells

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """(b, c, y, x) -> (b, c, *size): (2 y, 2 x), or one less where the way down had odd sides.

        The size of a whole map is read, that of a window follows from the levels.
        """
        if self.tape.recording:
            self.tape.keep(self.ring.take(x))
            return self.layer(x, size)
        frame = self.ring.surround(x, self.tape.read())
        large = F.interpolate(frame, size=[2 * side for side in frame.shape[2:]], mode="nearest")
        part = large[self.part].contiguous(memory_format=torch.channels_last)
        return convolve(self.layer.conv, self.larger.clear(part))


class WindowedNorm(nn.Module):
    """A group norm by the mean and deviation of the whole map: of the window and all around it.

    activate computes the frame of the window, because a convolution follows.
    """

    def __init__(self, norm: GroupNorm, level: Level, tape: Tape) -> None:
        super().__init__()
        self.norm, self.level, self.tape = norm, level, tape
        self.ring = Ring(level.window.grow(1), level)
        wide = torch.promote_types(norm.weight.dtype, torch.float32)
        self.weight, self.bias = norm.weight.to(wide), norm.bias.to(wide)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, y, x) -> like x."""
        return self._record(x) if self.tape.recording else self._apply_norm(x, x).to(x.dtype)

    def activate(self, x: Tensor, act: str, shift: Tensor | None = None) -> Tensor:
        """As GroupNorm.activate; of a window it gives the frame."""
        x = x if shift is None else x + shift[:, :, None, None]
        if self.tape.recording:
            self.tape.keep(self.ring.take(x))
            return activation(act, self._record(x))
        frame = self.ring.surround(x, self.tape.read())
        return self.ring.clear(activation(act, self._apply_norm(frame, x)).to(x.dtype))

    def _record(self, x: Tensor) -> Tensor:
        (b, c, y, width), norm = x.shape, self.norm
        out, mean, scale = torch.native_group_norm(
            x, self.weight, self.bias, b, c, y * width, norm.num_groups, norm.eps
        )
        square = scale.square().reciprocal() - norm.eps + mean.square()
        both = torch.cat([mean[:, None], square[:, None]], dim=1)  # the means of x and x squared
        inside = self._add_up(x[self.level.window.cells])
        self.tape.keep(self._count() * both - inside)
        return out

    def _apply_norm(self, x: Tensor, window: Tensor) -> Tensor:
        """The norm of x (b, c, y, x), not rounded, by the sums around the window and inside."""
        groups = self.norm.num_groups
        sums = self.tape.read() + self._add_up(window)
        mean, square = (sums / self._count())[..., None].unbind(1)
        slope = (square - mean.square() + self.norm.eps).rsqrt() * self.weight.view(groups, -1)
        shift = self.bias.view(groups, -1) - mean * slope
        slope, shift = (one.flatten(1)[..., None, None] for one in (slope, shift))
        return torch.addcmul(shift, x, slope)

    def _add_up(self, x: Tensor) -> Tensor:
        """The sums of a map and of its squares, (b, 2, groups)."""
        cells = x.permute(0, 2, 3, 1).flatten(1, 2).to(self.weight.dtype)
        parts = [one.sum(1, keepdim=True) for one in (cells, cells.square())]
        sums = torch.cat(parts, dim=1)
        return sums.unflatten(2, (self.norm.num_groups, -1)).sum(-1)

    def _count(self) -> int:
        """How many numbers of the whole map are in a group."""
        height, width = self.level.size
        return height * width * self.norm.num_channels // self.norm.num_groups


class WindowedAttention(nn.Module):
    """Self-attention of the window's cells to all cells of the map."""

    def __init__(self, layer: Attention, level: Level, tape: Tape) -> None:
        super().__init__()
        self.layer, self.tape, self.outside = layer, tape, level.outside

    def of_itself(self, x: Tensor, attend: Attend) -> Tensor:
        """(b, n, h d) -> (b, n, h d)."""
        own = self.layer
        rows = [own.to_k(x), own.to_v(x)]
        if self.tape.recording:
            for row in rows:
                self.tape.keep(row.index_select(1, self.outside))
        else:  # in which order keys come changes nothing
            rows = [torch.cat([self.tape.read(), row], dim=1) for row in rows]
        return own.mix((own.to_q(x), *rows), attend)


def convolve(conv: Any, x: Tensor) -> Tensor:
    """A convolution of a frame x (b, c, y, x), whose outermost cells stand for its padding."""
    if hasattr(conv, "without_padding"):  # it is packed
        return conv.without_padding(x)
    plain = conv.plain_weight()
    return F.conv2d(x, plain, conv.bias, conv.stride, (0, 0), conv.dilation, conv.groups)

"""A UNet that computes one window of its maps; what lies around it is recorded from another call.

The recorded call is the source's at the same step. Inside the window every layer is computed anew.
What a layer reads of the outside is the source's: a convolution reads the cells around the window,
a self-attention the keys and values of all other cells, a group norm the sums over them. All other
layers read one cell at a time, so their modules run on the window as they are. With the inputs of
the recorded call the result is the recorded one, up to rounding.
Shapes: b batch, c channels, y x height and width, n cells.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mdp_lite.engine.fusing import copy_around
from mdp_lite.engine.unet_calls import CachedUNet, SplitUNet
from mdp_lite.engine.window_layers import (
    Tape,
    WindowedAttention,
    WindowedConv,
    WindowedDown,
    WindowedNorm,
    WindowedProduct,
    WindowedUp,
)
from mdp_lite.engine.windows import Level, Size, Window, list_levels
from mdp_lite.models.conv import Conv2d
from mdp_lite.models.layers import Downsample2D, GroupNorm, Upsample2D
from mdp_lite.models.transformer import Attend, Attention

Prepare = Callable[[Any, int, int], None]  # what a UNet needs before a call of height x width


def replace_layers(unet: Any, levels: Sequence[Level], tape: Tape) -> Any:
    """The same UNet around the same weights, whose layers compute windows or record."""
    around = copy_around(unet)
    around.conv_in = WindowedConv(around.conv_in, levels[0], tape, framed=False)
    around.conv_out = WindowedConv(around.conv_out, levels[0], tape)
    around.conv_norm_out = WindowedNorm(around.conv_norm_out, levels[0], tape)
    for k, block in enumerate(around.down_blocks):
        _replace(block, levels, k, tape)
    _replace(around.mid_block, levels, len(levels) - 1, tape)
    for i, block in enumerate(around.up_blocks):
        _replace(block, levels, len(levels) - 1 - i, tape)
    return around


def _replace(module: Any, levels: Sequence[Level], k: int, tape: Tape) -> None:
    """Replace the layers within a module of level k."""
    for name, child in module.named_children():
        other = _choose(name, child, levels, k)
        if other is not None:
            setattr(module, name, other(tape=tape))
        else:
            _replace(child, levels, k, tape)


def _choose(name: str, child: Any, levels: Sequence[Level], k: int) -> Any:
    """What replaces a layer of level k, without its tape; None if it stays."""
    if isinstance(child, Upsample2D):
        return partial(WindowedUp, child, levels[k], levels[k - 1])
    if isinstance(child, Downsample2D):
        return partial(WindowedDown, child, levels[k])
    if isinstance(child, GroupNorm):
        return partial(WindowedNorm, child, levels[k])
    if isinstance(child, Attention) and name == "attn1":
        return partial(WindowedAttention, child, levels[k])
    conv = getattr(child, "conv", child)
    if not isinstance(conv, Conv2d):
        return None
    wide = conv.kernel_size == (3, 3)
    return partial(WindowedConv, child, levels[k]) if wide else partial(WindowedProduct, child)


class WindowedUNet:
    """A UNet whose calls are recorded, or compute a window of a recorded call anew.

    It shares the weights of the UNet that it is made of. One thread uses it at a time.
    """

    def __init__(
        self, unet: Any, attend: Attend, prepare: Prepare, window: Window, size: Size
    ) -> None:
        prepare(unet, *size)
        levels = list_levels(window, size, len(unet.config.block_out_channels))
        self.window, self.tape, self._attend = window, Tape(), attend
        self._prepare = partial(prepare, unet, *size)
        self._unet = replace_layers(unet, levels, self.tape)
        split = SplitUNet(self.predict, unet.times, unet.text, unet.config.extra_dim)
        self._cached = CachedUNet(split)

    def record(self, x: Tensor, t: Tensor, c: Tensor) -> list[Tensor]:
        """What a call with x (b, 4, y, x), t () and c (b, l, d) keeps; its result comes last."""
        self.tape.record()
        self._cached(x, t, c)
        return self.tape.recorded

    def recompute(self, recorded: Sequence[Tensor], x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """x (b, 4, y, x), t (), c (b, l, d) -> (b, 4, y, x): what was kept, with a new window."""
        self.tape.play(recorded)
        return self._cached(x, t, c)

    def predict(self, x: Tensor, times: Tensor, text: Tensor) -> Tensor:
        """A call, given times(t, c) and text(c), recorded or with what the tape plays."""
        self._prepare()
        whole = self.tape.recording
        x = (x if whole else x[self.window.cells]).contiguous(memory_format=torch.channels_last)
        out = self._unet.predict(x, times, text, self._attend)
        if whole:
            self.tape.keep(out)
            return out
        around = self.tape.read().clone()
        around[self.window.cells] = out
        return around

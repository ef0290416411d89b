"""Layers that the UNet and the VAE share. Shapes: b batch, c channels, y x height and width."""

import torch.nn.functional as F
from torch import Tensor, nn

from mdp_lite.models.aligned import Linear
from mdp_lite.models.conv import Conv2d


def activation(name: str, x: Tensor) -> Tensor:
    """Apply the activation that a config's act_fn names."""
    return F.silu(x) if name in ("silu", "swish") else getattr(F, name)(x)


class GroupNorm(nn.GroupNorm):
    """A group norm, alone or as one operation with what stands before and after it.

    The engine replaces it where one kernel computes all three.
    """

    def activate(self, x: Tensor, act: str, shift: Tensor | None = None) -> Tensor:
        """act(norm(x + shift)): x (b, c, y, x), shift (1 or b, c) or nothing -> like x."""
        return activation(act, self(x if shift is None else x + shift[:, :, None, None]))


class ResnetBlock2D(nn.Module):
    """x + conv2(act(norm2(conv1(act(norm1 x)) + times))); a 1x1 conv of x if channels change."""

    def __init__(
        self, inp: int, out: int, time_dim: int | None, groups: int, eps: float, act: str
    ) -> None:
        super().__init__()
        self.act = act
        self.norm1 = GroupNorm(groups, inp, eps)
        self.conv1 = Conv2d(inp, out, 3, padding=1)
        if time_dim is not None:
            self.time_emb_proj = Linear(time_dim, out)
        self.norm2 = GroupNorm(groups, out, eps)
        self.conv2 = Conv2d(out, out, 3, padding=1)
        self.conv_shortcut = Conv2d(inp, out, 1) if inp != out else None
        self.proj_slice = slice(0)  # of its projection in UNet.times; the UNet sets it

    def forward(self, x: Tensor, times: Tensor | None = None) -> Tensor:
        """(b, inp, y, x) and UNet.times of t (1 or b, sum of out) -> (b, out, y, x)."""
        h = self.conv1(self.norm1.activate(x, self.act))
        shift = None if times is None else times[:, self.proj_slice]
        h = self.conv2(self.norm2.activate(h, self.act, shift))
        return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + h


class Downsample2D(nn.Module):
    """Halve height and width by a strided 3x3 convolution.

    The UNet pads all four sides, the VAE only right and bottom: they were trained so.
    """

    def __init__(self, channels: int, padding: int) -> None:
        super().__init__()
        self.pads = padding == 0
        self.conv = Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, y, x) -> (b, c, y/2, x/2)."""
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.pads else x)


class Upsample2D(nn.Module):
    """Nearest-neighbour upsampling, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """(b, c, y, x) -> (b, c, 2y, 2x), or to size if the way down had odd sides."""
        scale = 2.0 if size is None else None
        return self.conv(F.interpolate(x, size=size, scale_factor=scale, mode="nearest"))

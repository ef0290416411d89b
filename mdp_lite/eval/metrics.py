"""Distances of pictures to their true answers. Pictures are (b, 3, y, x) in [-1, 1]."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mdp_lite.names import BadInput

PEAK = 2.0  # from black to white
MIN_ERROR = 1e-10  # squared error below which pictures count as equal: 106 dB
WINDOW, SIGMA = 11, 1.5  # pixels of SSIM's window, and its standard deviation
K_1, K_2 = 0.01, 0.03  # of SSIM's constants (K peak)^2


def quantize(picture: Tensor) -> Tensor:
    """A picture as a file of 8 bits a channel stores it, again in [-1, 1]."""
    return ((picture.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def squared_error(picture: Tensor, truth: Tensor, inside: Tensor | None = None) -> Tensor:
    """Mean squared difference of each pair, (b,).

    inside (b, y, x) bool says which pixels count; without any the result is NaN. Raises BadInput
    for shapes that differ.
    """
    if picture.shape != truth.shape:
        raise BadInput(f"pictures must have one shape, got {_shape(picture)} and {_shape(truth)}")
    error = (picture - truth).double().square().mean(dim=1)
    if inside is None:
        return error.mean(dim=(1, 2))
    if inside.shape != error.shape or inside.dtype != torch.bool:
        want = f"bool {_shape(error)}"
        raise BadInput(f"inside must be {want}, got {inside.dtype} {_shape(inside)}")
    return (error * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2))


def decibel(error: Tensor) -> Tensor:
    """Squared error -> peak signal-to-noise ratio, 10 log10(peak^2 / error), in dB."""
    return 10 * torch.log10(PEAK**2 / error.clamp(min=MIN_ERROR))


def psnr(picture: Tensor, truth: Tensor, inside: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio of each pair in dB, (b,); NaN if no pixel counts."""
    return decibel(squared_error(picture, truth, inside))


def ssim(
    picture: Tensor, truth: Tensor, inside: Tensor | None = None, peak: float = PEAK
) -> Tensor:
    """Structural similarity (Wang et al. 2004, Eq. 13) of each pair, (b,): 1 if they are equal.

    The mean over all windows that fit into the picture; inside says which centres count.
    """
    each = ssim_map(picture, truth, peak).mean(1)
    if inside is None:
        return each.mean((1, 2))
    rim = WINDOW // 2
    counted = inside[:, rim:-rim, rim:-rim]
    return (each * counted).sum((1, 2)) / counted.sum((1, 2))


def ssim_map(picture: Tensor, truth: Tensor, peak: float = PEAK) -> Tensor:
    """Structural similarity (b, 3, y - 10, x - 10) of each window, a Gaussian of 11 x 11 pixels."""
    x, y = picture.double(), truth.double()
    mean_x, mean_y = _smooth(x), _smooth(y)
    var_x, var_y = _smooth(x * x) - mean_x**2, _smooth(y * y) - mean_y**2
    both = _smooth(x * y) - mean_x * mean_y
    c_1, c_2 = (K_1 * peak) ** 2, (K_2 * peak) ** 2
    light = (2 * mean_x * mean_y + c_1) / (mean_x**2 + mean_y**2 + c_1)
    return light * (2 * both + c_2) / (var_x + var_y + c_2)


def _smooth(x: Tensor) -> Tensor:
    """Gaussian means of all windows that fit into the picture."""
    u = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    g = torch.exp(-0.5 * (u / SIGMA) ** 2)
    g = (g / g.sum()).expand(x.shape[1], 1, 1, -1)
    x = F.conv2d(x, g, groups=x.shape[1])
    return F.conv2d(x, g.mT, groups=x.shape[1])


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)

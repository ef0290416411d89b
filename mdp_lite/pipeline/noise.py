"""The noise where a sampled path starts, and what its steps add."""

import torch
from torch import Tensor

from mdp_lite.method.samplers import noise_scales, start_scale
from mdp_lite.method.schedule import Grid
from mdp_lite.models.config import SchedulerConfig


def draw(
    config: SchedulerConfig, grid: Grid, seed: int, shape: tuple[int, ...]
) -> tuple[Tensor, Tensor | None]:
    """Where a path of a seed over the grid starts (1, 4, y, x), and what its steps add, or None.

    The noises (N, 1, 4, y, x) are drawn on the CPU in float32, in the order of diffusers' pipelines
    and samplers, so a seed means the same on every device.
    """
    generator, device = torch.Generator().manual_seed(seed), grid.a.device
    x = draw_unit(generator, shape).to(device) * start_scale(config, grid)
    scales = noise_scales(config, grid)
    if scales is None:
        return x, None
    return x, torch.stack([s * draw_unit(generator, shape).to(device) for s in scales])


def draw_unit(generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    """Unit noise in float64, drawn in float32."""
    return torch.randn(shape, generator=generator).double()

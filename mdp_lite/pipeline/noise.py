"""The noise where a sampled path starts, what its steps add, and which sources record it."""

import torch
from torch import Tensor

from mdp_lite.method.samplers import adds_noise, noise_scales, start_scale
from mdp_lite.method.schedule import Grid
from mdp_lite.models.config import SchedulerConfig
from mdp_lite.pipeline.inversion_methods import METHODS


def draw(
    config: SchedulerConfig, grid: Grid, seed: int, shape: tuple[int, ...]
) -> tuple[Tensor, Tensor | None]:
    """Where a path of a seed over the grid starts (1, 4, y, x), and what its steps add, or None.

    The noises (N, 1, 4, y, x) are drawn on the CPU in float32, in the order of diffusers' pipelines
    and samplers, so a seed means the same on every device.
    """
    generator = torch.Generator().manual_seed(seed)
    x = draw_unit(generator, shape).to(grid.a) * start_scale(config, grid)
    scales = noise_scales(config, grid)
    if scales is None:
        return x, None
    return x, torch.stack([s * draw_unit(generator, shape).to(grid.a) for s in scales])


def will_record_noise(
    config: SchedulerConfig, method: str | None, record_noise: bool = False
) -> bool:
    """Whether a source's path will have recorded noise.

    method is that of a picture's inversion, None for a generated source. It may be no method: then
    other checks say so.
    """
    if method is None:
        return record_noise or adds_noise(config)
    return method in METHODS and METHODS[method].noisy


def draw_unit(generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    """Unit noise in float64, drawn in float32."""
    return torch.randn(shape, generator=generator).double()

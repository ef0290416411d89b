"""Denoisers small enough to sample whole paths in float64, and grids to sample on."""

import torch
from torch import Tensor

from mdp_lite.method.schedule import Grid, ddim_grid
from mdp_lite.models.config import SchedulerConfig, UNetConfig
from mdp_lite.models.unet import UNet

Setup = tuple[str, bool]  # prediction type, zero terminal SNR
SETUPS: dict[str, Setup] = {
    "epsilon": ("epsilon", False),
    "v": ("v_prediction", False),
    "v-zero-snr": ("v_prediction", True),
}


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


MIX, SHIFTED = 0.5 * random(0, 4, 4), 0.5 * random(1, 4, 4)
WORDS, PHASES = random(2, 6, 4), random(3, 4)
# The conditions of paths A and B and the null row (1, l, d); noise of two pictures (b, 4, y, x).
C_A, C_B, NULL = random(4, 1, 5, 6), random(5, 1, 5, 6), random(6, 1, 5, 6)
X = random(7, 2, 4, 3, 5)


def toy(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
    """Depends nonlinearly and jointly on x (b, 4, y, x), t () and c (b, l, d)."""
    mix, shifted, words, phases = (m.to(x.dtype) for m in (MIX, SHIFTED, WORDS, PHASES))
    near = torch.einsum("oi,biyx->boyx", shifted, x.roll(1, -1))
    text = (c @ words).tanh().mean(1)[:, :, None, None]
    time = (t.to(x.dtype) / 200 + phases).sin()[:, None, None]
    return (torch.einsum("oi,biyx->boyx", mix, x) + text * (1 + near) + time).tanh()


def grid(setup: Setup, n: int) -> Grid:
    """Stable Diffusion's noise schedule; trailing steps for zero terminal SNR, else leading."""
    config = SchedulerConfig(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=setup[0],
        timestep_spacing="trailing" if setup[1] else "leading",
        rescale_betas_zero_snr=setup[1],
        steps_offset=1,
        set_alpha_to_one=False,
    )
    return ddim_grid(config, n)


UNET_CONFIG = UNetConfig(
    cross_attention_dim=6,
    block_out_channels=(8, 16),
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    layers_per_block=1,
    attention_head_dim=2,
    norm_num_groups=4,
)


def random_unet() -> UNet:
    """A UNet for the conditions above, always with the same random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet(UNET_CONFIG).eval().requires_grad_(False)

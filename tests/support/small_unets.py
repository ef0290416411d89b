"""UNets of each family, small and random, for comparing ways to run them."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mdp_lite.models.condition import count_rows
from mdp_lite.models.unet import UNet
from support.checkpoints import UNET_CONFIG, XL

WIDE = replace(UNET_CONFIG, block_out_channels=(16, 32))  # heads of whole 16 bytes
CONFIGS = {
    "sd1": WIDE,
    "sd2": replace(WIDE, use_linear_projection=True, attention_head_dim=(2, 4)),
    "sdxl": replace(WIDE, **XL),
}


def random_unet(family: str) -> UNet:
    """A UNet in float32 on the CPU with norms off 1 and 0, not to be trained."""
    torch.manual_seed(len(family))
    unet = UNet(CONFIGS[family]).eval().requires_grad_(False)
    for parameter in unet.parameters():
        if parameter.ndim == 1:
            parameter += 0.1 * torch.randn_like(parameter)
    return unet


def random_call(unet: UNet, rows: int = 2, side: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """x, t and c of a call with so many rows, in the dtype of the UNet, on the CPU."""
    made: Any = torch.Generator().manual_seed(rows)
    width, dtype = unet.config.cross_attention_dim, unet.conv_in.weight.dtype
    tokens = 7 + count_rows(unet.config.extra_dim, width)
    x = torch.randn(rows, 4, side, side, generator=made)
    c = torch.randn(rows, tokens, width, generator=made)
    return x.to(dtype), torch.tensor(500), c.to(dtype)


def copy_to(unet: UNet, device: str) -> UNet:
    """The same UNet on a device, as loading puts it there."""
    copied = deepcopy(unet)
    for module in copied.modules():
        for name, one in module._parameters.items():
            if one is not None:
                module._parameters[name] = torch.nn.Parameter(one.to(device), requires_grad=False)
    return copied

"""Models that wait in the CPU's memory and compute on a GPU: weights are brought for each call.

The weights themselves stay where they are. A call computes with copies, which are freed after it.
"""

from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mdp_lite.engine.fusing import copy_around
from mdp_lite.models.aligned import Linear
from mdp_lite.models.clip import CLIPEmbeddings, CLIPLayer, CLIPTextEncoder, CLIPTextEncoders

M = TypeVar("M", bound=nn.Module)
LAYERS = (CLIPLayer, CLIPEmbeddings, nn.LayerNorm, Linear)


def bring(model: M, device: torch.device) -> M:
    """A copy of a model whose weights are on a device.

    >>> bring(vae, torch.device("cuda")).decode(latent)
    """
    weights = {id(one): _move(one, device) for one in model.parameters()}
    return deepcopy(model, weights)  # type: ignore[arg-type]


def let_wait(encoder: Any, device: torch.device) -> Any:
    """A text encoder around the same weights, each layer of which is brought when it is called.

    Of 0.8 billion weights of SDXL's encoders only one layer's are on the device at a time.
    """

    def swap(module: nn.Module) -> nn.Module | None:
        if isinstance(module, BroughtLayer):
            return module
        return BroughtLayer(module, device) if isinstance(module, LAYERS) else None

    if isinstance(encoder, CLIPTextEncoder | CLIPTextEncoders) and not is_on(encoder, device):
        return copy_around(encoder, swap)
    return encoder


def is_on(model: nn.Module, device: torch.device) -> bool:
    """Whether a model's weights are on this kind of device. One without weights is anywhere."""
    weight = next(model.parameters(), None)
    return weight is None or weight.device.type == device.type


class BroughtLayer(nn.Module):
    """A layer that computes on a device, to which its weights are brought for each call."""

    def __init__(self, layer: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.layer, self.device = layer, device

    def forward(self, *inputs: Tensor) -> Tensor:
        """As the layer's own."""
        return bring(self.layer, self.device)(*inputs)


def _move(weight: nn.Parameter, device: torch.device) -> nn.Parameter:
    return nn.Parameter(weight.detach().to(device), requires_grad=False)

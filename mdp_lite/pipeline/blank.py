"""What an inpainting UNet reads to repaint a whole picture: a mask of ones and a grey picture."""

from collections.abc import Callable

import torch
from torch import Tensor

MAX_SIZES = 8  # whose channels stay in memory


class Blanks:
    """The channels of each size in pixels, encoded on first use."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._known: dict[tuple[int, int], Tensor] = {}

    def get(self, size: tuple[int, int], encode: Callable[[Tensor, str], Tensor]) -> Tensor:
        """The channels (1, k + 1, y, x) of a picture of size (width, height)."""
        found = self._known.get(size)
        if found is None:
            found = self._make(size, encode)
            if len(self._known) >= MAX_SIZES:
                self._known.clear()
            self._known[size] = found
        return found

    @torch.no_grad()
    def _make(self, size: tuple[int, int], encode: Callable[[Tensor, str], Tensor]) -> Tensor:
        width, height = size
        grey = torch.zeros(1, 3, height, width, device=self._device)
        latent = encode(grey, "the latent of a grey picture")
        return torch.cat([torch.ones_like(latent[:, :1]), latent], dim=1)

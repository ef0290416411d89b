"""What an inpainting UNet reads to repaint a whole picture: a mask of ones and a grey picture."""

from collections.abc import Callable

import torch
from torch import Tensor

HELD = 8  # sizes whose channels are held


class Blanks:
    """The channels of each size in pixels, encoded on first use."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._held: dict[tuple[int, int], Tensor] = {}

    def get(self, size: tuple[int, int], run_vae: Callable[[str, Tensor, str], Tensor]) -> Tensor:
        """The channels (1, k + 1, y, x) of a picture of size (width, height)."""
        found = self._held.get(size)
        if found is None:
            found = self._make(size, run_vae)
            if len(self._held) >= HELD:
                self._held.clear()
            self._held[size] = found
        return found

    @torch.no_grad()
    def _make(self, size: tuple[int, int], run_vae: Callable[[str, Tensor, str], Tensor]) -> Tensor:
        width, height = size
        grey = torch.zeros(1, 3, height, width, device=self._device)
        latent = run_vae("encode", grey, "the latent of a grey picture").double()
        return torch.cat([torch.ones_like(latent[:, :1]), latent], dim=1)

"""A dry run is a run whose models answer zeros: the same checks, the same costs, no work."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from mdp_lite.editor import Editor
from mdp_lite.models.config import UNetConfig, VAEConfig


class StubUNet(nn.Module):
    """Predicts zeros."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """x (b, 4, y, x) -> zeros like it, which have a gradient where c has one."""
        return torch.zeros_like(x) + 0 * c.sum()


class StubVAE(nn.Module):
    """Every picture has the latent 0, every latent is a grey picture."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.zero = nn.Parameter(torch.zeros(()))  # has the device and dtype that a VAE would have

    def encode(self, picture: Tensor) -> Tensor:
        """(b, 3, f y, f x) -> zeros (b, c, y, x)."""
        f, (b, _, height, width) = self.config.factor, picture.shape
        return picture.new_zeros(b, self.config.latent_channels, height // f, width // f)

    def decode(self, latent: Tensor) -> Tensor:
        """(b, c, y, x) -> zeros (b, 3, f y, f x)."""
        f, (b, _, height, width) = self.config.factor, latent.shape
        return latent.new_zeros(b, 3, f * height, f * width)


def dry_run_editor(editor: Editor) -> Editor:
    """The same editor with models that answer zeros; its text encoder and tokenizer are the real ones."""
    models = editor.models
    stubs = replace(models, unet=StubUNet(models.unet.config), vae=StubVAE(models.vae.config))
    shelf = replace(editor.cache, read_only=True) if editor.cache else None
    return Editor(stubs, editor.device, shelf)

"""Dry runs: the same checks and costs, with models that return zeros instead of computing."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from mdp_lite.editor import Editor
from mdp_lite.models.config import AnyVAEConfig, UNetConfig


class StubUNet(nn.Module):
    """A UNet that predicts zeros."""

    def __init__(self, config: UNetConfig, calls: list[tuple[int, ...]] | None = None) -> None:
        super().__init__()
        self.config, self.calls = config, calls

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """x (b, in_channels, y, x) -> zeros (b, 4, y, x), with a gradient if c has one."""
        if self.calls is not None:
            self.calls.append(tuple(x.shape))
        return torch.zeros_like(x[:, : self.config.out_channels]) + 0 * c.sum()


class StubVAE(nn.Module):
    """A VAE that encodes every picture to 0 and decodes every latent to grey."""

    def __init__(self, config: AnyVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.zero = nn.Parameter(torch.zeros(()))  # gives the device and dtype of the VAE

    def encode(self, picture: Tensor) -> Tensor:
        """(b, 3, f y, f x) -> zeros (b, c, y, x)."""
        f, (b, _, height, width) = self.config.factor, picture.shape
        return picture.new_zeros(b, self.config.latent_channels, height // f, width // f)

    def decode(self, latent: Tensor) -> Tensor:
        """(b, c, y, x) -> zeros (b, 3, f y, f x)."""
        f, (b, _, height, width) = self.config.factor, latent.shape
        return latent.new_zeros(b, 3, f * height, f * width)


class StubText(nn.Module):
    """A text encoder whose answer (b, l, d) tells texts apart, and means nothing.

    rows and width are l and d; weight gives the device and dtype.
    """

    def __init__(self, rows: int, width: int, weight: Tensor) -> None:
        super().__init__()
        self.rows, self.width = rows, width
        self.zero = nn.Parameter(torch.zeros_like(weight, requires_grad=False))

    def forward(self, ids: Tensor, skip: int = 0) -> Tensor:
        """Token ids (b, ...) -> (b, rows, width), a number that their order and values give."""
        flat = ids.flatten(1).double()
        order = torch.arange(1, flat.shape[1] + 1, device=ids.device)
        mark = (flat * order).sum(1).sin()[:, None, None].to(self.zero)
        return self.zero + mark.expand(len(ids), self.rows, self.width)


def dry_run_editor(editor: Editor, calls: list[tuple[int, ...]] | None = None) -> Editor:
    """The editor with a UNet and a VAE that return zeros, and the same text encoder and tokenizer.

    It reads the editor's cache, but does not write to it. calls gets the shape (rows, 4, y, x) of
    each call of the UNet.
    """
    models = editor.models
    stubs = replace(
        models, unet=StubUNet(models.unet.config, calls), vae=StubVAE(models.vae.config),
        knowledge=models.knowledge.with_addons(loras=False, vae=True),  # which gives nothing back
    )  # fmt: skip
    cache = replace(editor.cache, read_only=True) if editor.cache else None
    return Editor(stubs, editor.device, cache)

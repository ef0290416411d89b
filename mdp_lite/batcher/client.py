"""An editor for a member of a desk: all it does is its own, but the desk's thread calls the models.

Its models are stand-ins. What comes back is finite or an error, so that they need no guard.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from mdp_lite.batcher.batcher import Desk, Member
from mdp_lite.editor import Editor
from mdp_lite.models.clip import CLIPTextEncoder
from mdp_lite.models.transformer import SDPA, Attend
from mdp_lite.models.unet import UNet
from mdp_lite.pipeline.runner import Codec


class SharedUNet(nn.Module):
    """Asks the desk for noise; with an attention of its own it is called alone."""

    def __init__(self, unet: UNet, desk: Desk, member: Member) -> None:
        super().__init__()
        self.config, self.desk, self.member = unet.config, desk, member
        self.alone = unet.forward

    def forward(self, x: Tensor, t: Tensor, c: Tensor, attend: Attend = SDPA) -> Tensor:
        """x (b, 4, y, x), t () or (b,), c (b, l, d) -> (b, 4, y, x), which has no gradient."""
        if c.requires_grad:
            raise ValueError("null-text inversion can't share a desk: it needs gradients")
        if attend is SDPA:
            return self.desk.denoise(self.member, x, t, c)
        return self.desk.work(self.member, lambda: self.alone(x, t, c, attend))


class SharedVAE(nn.Module):
    """Asks the desk for latents and pictures."""

    def __init__(self, codec: Codec, desk: Desk, member: Member) -> None:
        super().__init__()
        self.config, self.codec = codec.models.vae.config, codec
        self.desk, self.member = desk, member
        self.zero = nn.Parameter(torch.zeros(()))  # float32: the codec has the guard for less

    def encode(self, picture: Tensor) -> Tensor:
        """(b, 3, f y, f x) -> (b, c, y, x)."""
        return self._asked("encode", picture, "the picture's latent")

    def decode(self, latent: Tensor) -> Tensor:
        """(b, c, y, x) -> (b, 3, f y, f x)."""
        return self._asked("decode", latent, "the decoded picture")

    def _asked(self, name: str, x: Tensor, what: str) -> Tensor:
        return self.desk.work(self.member, lambda: self.codec.by_vae(name, x, what))


class SharedText(nn.Module):
    """Asks the desk for conditions."""

    def __init__(self, encoder: CLIPTextEncoder, desk: Desk, member: Member) -> None:
        super().__init__()
        self.config, self.encoder = encoder.config, encoder
        self.desk, self.member = desk, member

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (b, l) -> (b, l, d)."""
        return self.desk.work(self.member, lambda: self.encoder(ids))


def desk_of(editor: Editor, most: int = 0) -> Desk:
    """A desk for the models of an editor; most is how many UNet rows one call may have."""
    codec = editor.codec
    return Desk(codec.engine.denoise, codec.unet, most)


def shared(editor: Editor, desk: Desk, member: Member) -> Editor:
    """The same editor for a member; null-text inversion alone it can't do."""
    codec, models = editor.codec, editor.models
    standing = replace(
        models,
        unet=SharedUNet(models.unet, desk, member),
        vae=SharedVAE(codec, desk, member),
        text_encoder=SharedText(models.text_encoder, desk, member),
    )
    made = Editor(standing, editor.device, editor.cache, "eager")
    made.codec.colours = desk.work(member, lambda: codec.colours)  # learnt once for all
    made.codec.took = codec.took
    return made

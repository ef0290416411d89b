"""What an inpainting UNet reads beside the latent: a mask, and the picture without what it covers.

These channels (1, k + 1, y, x) are the same in every step and on both paths. As in diffusers'
inpainting pipelines: a pixel is covered if the mask is at least half white there, a cell has the
value of its first pixel, covered pixels are grey, and 1 is repainted.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mdp_lite.checkpoint.models import Models
from mdp_lite.names import BadInput
from mdp_lite.pictures import images
from mdp_lite.pictures.fit import Fit
from mdp_lite.pipeline import check
from mdp_lite.pipeline.masks import Mask, MaskSpec, read_mask
from mdp_lite.pipeline.request import Request, mask_of
from mdp_lite.pipeline.runner import ModelRunner
from mdp_lite.pipeline.warn import log

HALF = 128  # of 255: the least white of a pixel that is covered
WHOLE = (
    "an inpainting model without a mask repaints the whole picture: give a mask (--mask) to "
    "repaint a part of it"
)


def read_masks(
    runner: ModelRunner, pictures: Sequence[Image.Image],
    masks: Iterable[MaskSpec | None] | None, fit: str, width: int | None, height: int | None,
) -> list[Mask | None]:  # fmt: skip
    """The mask that each source has, read for its picture. Raises BadInput, also for "auto"."""
    read: list[Mask | None] = [None] * len(pictures)
    some = read if masks is None else check.as_many("masks", masks, len(pictures))
    for i, (picture, mask) in enumerate(zip(pictures, some, strict=True)):
        if isinstance(mask, str) and mask == "auto":
            raise BadInput("mask auto is for an edit: an inversion has no second prompt to compare")
        if mask is not None:
            own = runner.fit(picture, fit, width, height)
            read[i] = read_mask(mask, own, runner.factor)
    return read


def mask_of_source(models: Models, mask: MaskSpec | None) -> MaskSpec | None:
    """The mask that the source of one edit is recorded with: the edit's, if the UNet reads masks.

    An automatic one is only known once there is a source.
    """
    return None if isinstance(mask, str) and mask == "auto" or not models.inpaints else mask


def key_of_mask(mask: Mask | None) -> tuple[str, ...]:
    """What the cache's key of a source holds of its mask: nothing without one, else its hash."""
    return () if mask is None else (hashlib.sha256(mask.pixels.tobytes()).hexdigest(),)


@torch.no_grad()
def find_channels(runner: ModelRunner, picture: Image.Image, fit: Fit, mask: Mask) -> Tensor | None:
    """The channels of a picture that is repainted under a mask; None for another UNet."""
    if not runner.models.inpaints:
        return None
    covered, f = _find_covered(fit, mask, runner.factor).to(runner.device), runner.factor
    pixels = images.to_tensor(fit.apply(picture)).to(runner.device)
    masked = torch.where(covered, 0, pixels)
    latent = runner.to_latent(masked, "the latent of the masked picture")
    return torch.cat([covered[None, None, ::f, ::f].to(latent), latent], dim=1)


def locate_channels(
    runner: ModelRunner, request: Request, known: dict[tuple[int, bytes], Tensor | None]
) -> Request:
    """A located request whose mask has its channels; equal masks of a source have the same ones.

    known has those of other requests, and gets these.
    """
    mask, source = mask_of(request), request.source
    if not runner.models.inpaints or mask is None:
        warn_whole(runner.models)
        return request
    key, own = (id(source), mask.pixels.tobytes()), source.mask
    if own is not None and own.tobytes() == key[1]:
        known[key] = source.path.channels
    if key not in known:
        known[key] = find_channels(runner, source.picture, source.fit, mask)
    return replace(request, mask=mask._replace(channels=known[key]))


def channels_of(request: Request) -> Tensor | None:
    """The channels of a located request: those of its mask, or those of its source."""
    mask = mask_of(request)
    return request.source.path.channels if mask is None else mask.channels


def warn_whole(models: Models) -> None:
    """Log, once, that an inpainting model without a mask repaints the whole picture."""
    if models.inpaints:
        _warn(WHOLE)


@cache
def _warn(sentence: str) -> None:
    log.warning(sentence)


def _find_covered(fit: Fit, mask: Mask, factor: int) -> Tensor:
    """Which pixels of the model's picture are covered (height, width).

    A mask so thin that no cell would be repainted covers all pixels of the cells that it touches.
    """
    fitted = fit.apply(mask.pixels.convert("RGB")).getchannel(0)
    covered = torch.from_numpy(np.array(fitted)) >= HALF
    if covered[::factor, ::factor].any():
        return covered
    cells = mask.cells.cpu() > 0
    return cells.repeat_interleave(factor, 0).repeat_interleave(factor, 1)

"""Transparency: models see a picture on white; files of its edits get its transparency back.

The alpha channel travels in the info of RGB pictures, so that copies and edits have it too.
"""

import numpy as np
from PIL import Image, ImageChops

ALPHA = "mdp_lite_alpha"  # in a picture's info


def alpha_of(picture: Image.Image) -> Image.Image | None:
    """The alpha channel ("L") that an RGB picture had before it was laid on white."""
    alpha = picture.info.get(ALPHA)
    fits = isinstance(alpha, Image.Image) and alpha.size == picture.size
    return alpha if fits else None


def reveal(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture, opaque where a mask ("L") is not black: what was edited must be visible."""
    alpha = alpha_of(picture)
    if alpha is not None:
        picture = picture.copy()
        inside = mask.point([0] + [255] * 255)
        picture.info = picture.info | {ALPHA: ImageChops.lighter(alpha, inside)}
    return picture


def restore_alpha(picture: Image.Image) -> Image.Image:
    """An RGB picture as RGBA if it had transparency: on white it looks as before, within 1 of 255.

    Opaque pixels stay bit for bit.
    """
    alpha = alpha_of(picture)
    if alpha is None or picture.mode != "RGB":
        return picture
    whole = np.dstack([np.asarray(picture), np.asarray(alpha)])
    soft = whole[..., 3] < 255
    part = whole[soft].astype(np.float64)
    a = part[:, 3:].clip(1) / 255
    colours = (part[:, :3] - 255 * (1 - a)) / a
    whole[soft, :3] = np.where(part[:, 3:] > 0, np.rint(colours).clip(0, 255), 255)
    return Image.fromarray(whole)

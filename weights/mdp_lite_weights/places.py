"""Where a single file has its text encoders, and so of which family it is."""

from typing import NamedTuple

from torch import Tensor

from mdp_lite_weights import keys
from mdp_lite_weights.families import SD1, SD2, SDXL, XL_MARKS
from mdp_lite_weights.folder import SECOND

Tensors = dict[str, Tensor]

SD1_WIDTH, SD2_WIDTH = 768, 1024  # of the text that the UNet attends to


class TextPlace(NamedTuple):
    """Where a file has a text encoder: the prefix of its keys, and whose names they are."""

    at: str
    openclip_names: bool


class Places(NamedTuple):
    """A file's family, and where each of its text encoders lies, by part."""

    family: str
    texts: dict[str, TextPlace]


def find_places(name: str, raw: Tensors) -> Places:
    """The family of a file with all text encoders that it must have, found or by the usual name."""
    if any(key.startswith(XL_MARKS) for key in raw):
        first = _find_text(name, raw, f"{keys.XL_TEXT_AT}0.", TextPlace(keys.XL_CLIP_AT, False))
        other = TextPlace(keys.XL_OPENCLIP_AT, True)
        second = _find_text(name, raw, f"{keys.XL_TEXT_AT}1.", other)
        return Places(SDXL, {"text_encoder": first, SECOND: second})
    openclip = any(key.startswith(keys.OPENCLIP_AT) for key in raw)
    default = TextPlace(keys.OPENCLIP_AT if openclip else keys.CLIP_AT, openclip)
    text = _find_text(name, raw, keys.TEXT_AT, default)
    family = SD2 if text.openclip_names or is_sd2(raw) else SD1
    return Places(family, {"text_encoder": text})


def is_sd2(raw: Tensors) -> bool:
    """Whether a UNet is Stable Diffusion 2's, by its shapes: its width, or linear projections."""
    unet = keys.strip_prefix(raw, keys.UNET_AT)
    widths = (t.shape[1] for k, t in unet.items() if k.endswith("attn2.to_k.weight"))
    projections = (t.ndim for k, t in unet.items() if k.endswith(".proj_in.weight"))
    width, ndim = next(widths, None), next(projections, None)
    return width == SD2_WIDTH or (width != SD1_WIDTH and ndim == 2)


def _find_text(name: str, raw: Tensors, start: str, default: TextPlace) -> TextPlace:
    """Where a text encoder lies: around its token table, under whatever prefix a tool wrote."""
    end, found = "token_embedding.weight", set()
    for key in raw:
        if key.startswith(start) and key.endswith(end):
            at = key.removesuffix(end)
            inner = at.removesuffix("embeddings.")
            found.add(TextPlace(inner.removesuffix("text_model."), inner == at))
    if len(found) > 1:
        places = ", ".join(sorted(place.at for place in found))
        raise ValueError(f"{name} holds {len(found)} text encoders ({places}): want one")
    return found.pop() if found else default

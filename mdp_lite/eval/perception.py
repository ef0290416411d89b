"""PIE-Bench's scores by networks that the user has: CLIP similarity and DINO structure.

transformers reads them, from a folder or the hub's cache, and safetensors alone.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mdp_lite.eval.pie_metrics import Figure, pixels, square

SIDE = 224  # pixels that DINO sees of a picture's shorter side
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as DINO was trained
Clip = Callable[[Image.Image, str], float]
Dino = Callable[[Image.Image, Image.Image], float]


def load_clip(name: str) -> Clip:
    """100 max(cos(picture, text), 0) by a CLIP model (Hessel et al. 2021, arXiv 2104.08718)."""
    model, processor = _opened("clip", name, "CLIPModel", "CLIPProcessor")

    @torch.no_grad()
    def score(picture: Image.Image, text: str) -> float:
        given = processor(
            text=[text], images=[picture.convert("RGB")], return_tensors="pt", truncation=True,
            max_length=model.config.text_config.max_position_embeddings,
        )  # fmt: skip
        found = model(**given)
        cosine = F.cosine_similarity(found.image_embeds, found.text_embeds)
        return 100 * max(cosine.item(), 0.0)

    return score


def load_dino(name: str) -> Dino:
    """How far two pictures' structure is apart, by a DINO vision transformer.

    Mean squared difference of the cosine similarities between all keys of the last layer, heads
    side by side (Tumanyan et al. 2022, arXiv 2201.00424, section 3.1).
    """
    (model,) = _opened("dino", name, "ViTModel")
    kept: list[Tensor] = []
    model.layers[-1].attention.k_proj.register_forward_hook(lambda _, __, out: kept.append(out))

    @torch.no_grad()
    def likeness(picture: Image.Image) -> Tensor:
        kept.clear()
        model(_seen(picture), interpolate_pos_encoding=True)
        keys = F.normalize(kept[0][0], dim=-1)
        return keys @ keys.mT

    return lambda a, b: (likeness(a) - likeness(b)).square().mean().item()


def perceived(
    clip: Clip | None, dino: Dino | None, source: Image.Image, edited: Image.Image,
    mask: NDArray[np.bool_], texts: tuple[str, str],
) -> dict[str, Figure]:  # fmt: skip
    """The scores of an edited picture under PIE-Bench's names, of the networks that are there."""
    edited, found = square(edited), {}
    if dino:
        found["structure_distance"] = dino(source, edited)
    if clip:
        found["clip_similarity_source_image"] = clip(source, texts[0])
        found["clip_similarity_target_image"] = clip(edited, texts[1])
        part = Image.fromarray(np.array(edited.convert("RGB")) * mask[..., None].astype(np.uint8))
        inside = clip(part, texts[1]) if mask.any() else "nan"
        found["clip_similarity_target_image_edit_part"] = inside
    return found


def _seen(picture: Image.Image) -> Tensor:
    """A picture (1, 3, y, x) as DINO was trained to see it."""
    short = min(picture.size)
    size = tuple(round(side * SIDE / short) for side in picture.size)
    scaled = pixels(picture.convert("RGB").resize(size, Image.Resampling.BILINEAR))  # type: ignore[arg-type]
    return (scaled - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def _opened(what: str, name: str, *classes: str) -> list[Any]:
    """The networks of a folder or a hub id; what is not there is one sentence."""
    import transformers  # a second, so only where it is asked for

    try:
        found = []
        for one in classes:
            more = {} if one.endswith("Processor") else {"use_safetensors": True}
            found.append(getattr(transformers, one).from_pretrained(name, **more))
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"{what} must be a {classes[0]} of transformers, got {reason}") from None
    for module in found[:1]:
        module.eval()
    return found

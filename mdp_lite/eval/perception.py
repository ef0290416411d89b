"""PIE-Bench's scores by networks of the user: CLIP similarity and DINO structure distance.

transformers loads them from a folder or the hub's cache, and only from safetensors files.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mdp_lite.eval.pie_metrics import Figure, crop_square, to_pixels
from mdp_lite.names import BadInput

SIDE = 224  # pixels of the shorter side of DINO's input
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as DINO was trained
Clip = Callable[[Image.Image, str], float]
Dino = Callable[[Image.Image, Image.Image], float]


def load_clip(name: str) -> Clip:
    """100 max(cos(picture, text), 0) by a CLIP model (Hessel et al. 2021, arXiv 2104.08718)."""
    model, processor = _load_networks("clip", name, "CLIPModel", "CLIPProcessor")

    @torch.no_grad()
    def score(picture: Image.Image, text: str) -> float:
        inputs = processor(
            text=[text], images=[picture.convert("RGB")], return_tensors="pt", truncation=True,
            max_length=model.config.text_config.max_position_embeddings,
        )  # fmt: skip
        out = model(**inputs)
        cosine = F.cosine_similarity(out.image_embeds, out.text_embeds)
        return 100 * max(cosine.item(), 0.0)

    return score


def load_dino(name: str) -> Dino:
    """The structure distance of two pictures by a DINO vision transformer.

    It is the mean squared difference of the cosine similarities between all keys of the last layer,
    with the heads concatenated (Tumanyan et al. 2022, arXiv 2201.00424, section 3.1). As in
    PIE-Bench's code the network gets pixels of 0..255 where DINO was trained on 0..1: see
    _dino_input. So the figures compare with the published ones, not with Tumanyan's.
    """
    (model,) = _load_networks("dino", name, "ViTModel")
    outputs: list[Tensor] = []
    model.layers[-1].attention.k_proj.register_forward_hook(lambda _, __, out: outputs.append(out))

    @torch.no_grad()
    def similarities(picture: Image.Image) -> Tensor:
        outputs.clear()
        model(_dino_input(picture), interpolate_pos_encoding=True)
        keys = F.normalize(outputs[0][0], dim=-1)
        return keys @ keys.mT

    return lambda a, b: (similarities(a) - similarities(b)).square().mean().item()


def score_perception(
    clip: Clip | None, dino: Dino | None, source: Image.Image, edited: Image.Image,
    mask: NDArray[np.bool_], texts: tuple[str, str],
) -> dict[str, Figure]:  # fmt: skip
    """The scores of an edited picture under PIE-Bench's names; a network may be None."""
    edited, scores = crop_square(edited), {}
    if dino:
        scores["structure_distance"] = dino(source, edited)
    if clip:
        scores["clip_similarity_source_image"] = clip(source, texts[0])
        scores["clip_similarity_target_image"] = clip(edited, texts[1])
        part = Image.fromarray(np.array(edited.convert("RGB")) * mask[..., None].astype(np.uint8))
        inside = clip(part, texts[1]) if mask.any() else "nan"
        scores["clip_similarity_target_image_edit_part"] = inside
    return scores


def _dino_input(picture: Image.Image) -> Tensor:
    """A picture (1, 3, y, x) as PIE-Bench's matrics_calculator.py gives it to DINO.

    Its pixels of 0..255 are resized as floats, not rounded, and normalised by ImageNet's mean and
    deviation of 0..1. The missing division by 255 is its protocol: with it the distances of random
    networks were about 20 times larger, so no published figure could be compared.
    """
    short = min(picture.size)
    height, width = (int(SIDE * side / short) for side in (picture.height, picture.width))
    levels = 255 * to_pixels(picture)
    scaled = F.interpolate(levels, (height, width), mode="bilinear", antialias=True)
    return (scaled - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def _load_networks(what: str, name: str, *classes: str) -> list[Any]:
    """The networks of a folder or a hub id, of these classes of transformers. Raises BadInput."""
    import transformers  # takes a second, so it is imported only if needed

    try:
        networks = []
        for one in classes:
            more = {} if one.endswith("Processor") else {"use_safetensors": True}
            networks.append(getattr(transformers, one).from_pretrained(name, **more))
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).split("\n")[0]
        raise BadInput(f"{what} must be a {classes[0]} of transformers, got {reason}") from None
    networks[0].eval()
    return networks

"""Which family of models a LoRA is for, by the names and widths in it: SD 1.x, 2.x or XL."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

Shapes = dict[str, dict[str, torch.Size]]  # part -> key -> shape

OLDER = "SD 1.x or 2.x"
WIDTHS = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL"}  # of what a UNet's attn2 reads
READS = re.compile(r"attn2[._]to_[kv][._](?:lora_down|lora_A|lora|lora_linear_layer|diff)\b")
# Names of modules that only one side has: SDXL's second text encoder, pooled state and depths; the
# fourth level and the shallow attention of SD 1.x and 2.x.
XL = re.compile(
    r"lora_te2[._]|(?:^|\.)text_encoder_2\.|clip_g\.|label_emb|add_embedding"
    r"|^bundle_emb\..+\.clip_g$|transformer_blocks[._][1-9]|up_blocks[._]0[._]attentions"
    r"|output_blocks[._][0-2][._]1[._]tr"
)
OLD = re.compile(
    r"(?:down|up)_blocks[._]3[._]|down_blocks[._]0[._]attentions"
    r"|input_blocks[._](?:[12][._]1[._]|9|1[01])|output_blocks[._](?:9|1[01])[._]|clip_h\."
)


def check_family(tensors: Mapping[str, Tensor], shapes: Shapes) -> None:
    """Raises ValueError for a LoRA that is for another family than a model of these shapes."""
    theirs, ours = find_family(tensors), find_model_family(shapes)
    if theirs and theirs != ours and not (theirs == OLDER and ours != "SDXL"):
        raise ValueError(f"is a LoRA for {theirs}, this model is {ours}")


def find_family(tensors: Mapping[str, Tensor]) -> str | None:
    """The family of a LoRA's tensors; None if nothing in them tells it."""
    if any(XL.search(key) for key in tensors):
        return "SDXL"
    widths = {tensor.shape[1] for key, tensor in tensors.items() if _reads_text(key, tensor)}
    found = {WIDTHS[width] for width in widths if width in WIDTHS}
    if len(found) == 1:
        return found.pop()
    return OLDER if any(OLD.search(key) for key in tensors) else None


def find_model_family(shapes: Shapes) -> str:
    """The family of a model: SDXL has a second text encoder, SD 2.x matrices for 1x1 kernels."""
    if "text_encoder_2" in shapes:
        return "SDXL"
    found = shapes.get("unet", {}).items()
    matrices = any(len(shape) == 2 for key, shape in found if key.endswith("proj_in.weight"))
    return "SD 2.x" if matrices else "SD 1.x"


def _reads_text(key: str, tensor: Tensor) -> bool:
    return tensor.ndim > 1 and READS.search(key) is not None and "up.weight" not in key

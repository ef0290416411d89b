"""Leftovers in single files: what lies beside the three models, and the sentences on it.

A key beside the models is a leftover if its name says so (keys.UNUSED), or if it is a bare name
(without a dot: no layer of a network) of one number or of one number for each timestep. Anything
else may be weights of another architecture, and is refused.
"""

from torch import Tensor

from mdp_lite_weights import keys
from mdp_lite_weights.tensors import list_keys

Tensors = dict[str, Tensor]

MARKERS = ("v_pred", "ztsnr", "alphas_cumprod")  # these are read
SCALE = 0.18215  # of the latents of Stable Diffusion 1.x and 2.x


def is_leftover(key: str, tensor: Tensor) -> bool:
    """Whether a tensor beside the models changes no picture."""
    counts = tensor.numel() <= 1 or (tensor.ndim == 1 and tensor.numel() == 1000)
    return key.startswith(keys.UNUSED) or ("." not in key and counts)


def describe_leftovers(raw: Tensors, parts: tuple[str, ...]) -> list[str]:
    """Sentences on the tensors of a file that are not read; parts are the models' prefixes."""
    left = [
        key
        for key, tensor in raw.items()
        if key not in MARKERS
        and (key.startswith(keys.UNUSED) or not key.startswith(parts))
        and is_leftover(key, tensor)
    ]
    left.sort(key=lambda key: (key.count("."), key))  # single numbers first
    notes = [f"{len(left)} tensors of the file are not read{list_keys(left)}"] if left else []
    scale = raw["scale_factor"].flatten().tolist() if "scale_factor" in raw else []
    if scale and abs(scale[0] - SCALE) > 1e-3 * SCALE and scale[0] != 1:
        notes.append(f"scale_factor {scale[0]:.5g} of the file is not used: latents have {SCALE}")
    return notes

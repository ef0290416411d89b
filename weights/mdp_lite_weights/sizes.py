"""The default size of the pictures of a single file, whose tensors do not tell it.

Its metadata may say it. SD-Turbo and SDXL-Turbo were made for 512x512 (their model cards), which
models that only have turbo in their name were not: DreamShaper XL Turbo is for 1024x1024. So the
whole name must be theirs. Else it is the size of the family.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from mdp_lite_weights.families import SD1, SD2, SDXL

RESOLUTION = "modelspec.resolution"
TITLE = "modelspec.title"
SIDES = {SD1: 512, SD2: 512, SDXL: 1024}  # of pictures, in pixels
V_SIDE, TURBO_SIDE = 768, 512  # of Stable Diffusion 2.x by v-prediction, and of both Turbos
CELL = 8  # pixels of a latent's cell along a side
LIMITS = (64, 8192)
TURBO = re.compile(  # with its version and precision, as in sd_xl_turbo_1.0_fp16.safetensors
    r"(^|/)sd[ _-]?(xl)?[ _-]?turbo([ _-]v?1[._]0)?([ _-](fp|bf)?(16|32))?(\.[a-z]+)?(/|$)",
    re.IGNORECASE,
)


class PictureSize(NamedTuple):
    """Height and width in pixels, and a note if they are not those of the family."""

    height: int
    width: int
    notes: tuple[str, ...] = ()

    @property
    def sample_size(self) -> int | list[int]:
        """Of a latent, as a UNet's config has it: one number for both sides, or [y, x]."""
        y, x = self.height // CELL, self.width // CELL
        return y if y == x else [y, x]


def infer_size(
    name: str, metadata: Mapping[str, str], family: str, prediction: str
) -> PictureSize:  # fmt: skip
    """The size of a file of this name (with its folder) and header."""
    side = V_SIDE if family == SD2 and prediction == "v_prediction" else SIDES[family]
    width, height = read_resolution(metadata)
    why = "the file's metadata say so"
    turbo = next((text for text in (name, metadata.get(TITLE, "")) if TURBO.search(text)), None)
    if not width and turbo is not None:
        width, height, why = TURBO_SIDE, TURBO_SIDE, f"the name {turbo} says so"
    if not width or (width, height) == (side, side):
        return PictureSize(side, side)
    return PictureSize(height, width, (f"pictures of {width}x{height} by default: {why}",))


def read_resolution(metadata: Mapping[str, str]) -> tuple[int, int]:
    """Width and height that a header states, or zeros if it states none that a latent can have."""
    found = re.fullmatch(r"\s*(\d{2,5})\s*x\s*(\d{2,5})\s*", metadata.get(RESOLUTION, ""))
    sides = (int(found[1]), int(found[2])) if found else (0, 0)
    possible = all(LIMITS[0] <= one <= LIMITS[1] and one % CELL == 0 for one in sides)
    return sides if possible else (0, 0)


def size_metadata(unet: Mapping[str, Any]) -> dict[str, str]:
    """The metadata that record the size of a UNet's config in a file, if it has one."""
    sides = unet.get("sample_size")
    if not sides:
        return {}
    y, x = (sides, sides) if isinstance(sides, int) else (sides[0], sides[-1])
    return {RESOLUTION: f"{x * CELL}x{y * CELL}"}

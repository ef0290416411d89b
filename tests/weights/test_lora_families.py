"""A LoRA of another family of models is refused, and both are named."""

from pathlib import Path

import pytest

from support.lora_files import (
    ALL,
    check_refusal,
    diffusers,
    factors,
    kohya,
    ldm,
    peft,
    pipeline_of,
    write,
)
from support.lora_files import shapes as shapes_of


@pytest.mark.parametrize(
    ("family", "other"), [("SD 1.x", "SDXL"), ("SD 2.x", "SDXL"), ("SDXL", "SD 1.x")]
)
def test_a_lora_of_another_family(family: str, other: str, tmp_path: Path) -> None:
    """Known by names that only one family has, in every style, also without the text encoders."""
    ours, theirs = pipeline_of(family), pipeline_of(other)
    pairs = factors(theirs, blocks=ALL)
    unet = {place: pair for place, pair in pairs.items() if place[0] == "unet"}
    named = "SDXL" if other == "SDXL" else "SD 1.x or 2.x"
    sentence = f"is a LoRA for {named}, this model is {family}"
    for tensors in (kohya(pairs), kohya(unet), peft(unet), diffusers(unet), ldm(pairs, 1.0)):
        check_refusal(write(tmp_path, tensors), sentence, shapes_of(ours))

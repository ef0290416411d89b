"""Bad masks are one sentence, before any step."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from mdp_lite.editor import Editor, Source

TARGET = "a blue boat"


@pytest.fixture(scope="module")
def source(editor: Editor) -> Source:
    return editor.invert(Image.new("RGB", (48, 40)), "a red house", num_inference_steps=2)


def cells(**at: float) -> Tensor:
    mask = torch.ones(8, 8)
    mask[0, 0] = at.get("first", 1.0)
    return mask


BAD: list[tuple[Any, str]] = [
    (Image.new("L", (32, 32), 255), "mask must have the picture's size 48x40, got 32x32"),
    (Image.new("L", (48, 40)), "mask must be white somewhere, got only black"),
    (Image.new("F", (48, 40)), "mask must be RGB, RGBA, L, P, CMYK or alike, got mode F"),
    (
        (0, 0, 4, 40),  # of 48 pixels of a line the model sees 40
        "mask must be white somewhere, got only black in the part of the picture that the model "
        "sees",
    ),
    (
        (0, 0, 49, 40),
        "a box must have 0 <= x0 < x1 <= 48 and 0 <= y0 < y1 <= 40, got (0, 0, 49, 40)",
    ),
    ((-1, 0, 9, 9), "a box must have 0 <= x0 < x1 <= 48 and"),
    ((20, 0, 10, 9), "a box must have 0 <= x0 < x1 <= 48 and"),
    ((5, 5, 5, 9), "a box must have 0 <= x0 < x1 <= 48 and"),
    ((0, 0, 9), "a box must be four whole numbers (x0, y0, x1, y1), got (0, 0, 9)"),
    ((0, 0, float("nan"), 9), "each number of a box must be a whole number, got nan"),
    ((0, 0, float("inf"), 9), "each number of a box must be a whole number, got inf"),
    (torch.ones(8, 9), "mask must have the latent's (8, 8) cells (y, x), got (8, 9)"),
    (torch.zeros(8, 8), "mask must be above 0 somewhere, got only 0"),
    (cells(first=float("nan")), "mask must be finite and from 0 to 1"),
    (cells(first=float("inf")), "mask must be finite and from 0 to 1"),
    (cells(first=-0.1), "mask must be finite and from 0 to 1"),
    (
        "mask.png",
        "mask must be a PIL image, a box (x0, y0, x1, y1), a tensor of latent cells or auto",
    ),
    (
        3,
        "mask must be a PIL image, a box (x0, y0, x1, y1), a tensor of latent cells or auto, got 3",
    ),
]


def refused(call: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}") as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("mask", "sentence"), BAD)
def test_a_bad_mask_is_one_sentence(
    editor: Editor, source: Source, mask: Any, sentence: str
) -> None:
    refused(lambda: editor.edit(source, TARGET, mask=mask), sentence)


@pytest.mark.parametrize("feather", [-1, 4097])
def test_a_bad_feather(editor: Editor, source: Source, feather: int) -> None:
    want = f"feather must be from 0 to 4096 pixels, got {feather}"
    refused(lambda: editor.edit(source, TARGET, mask=(0, 0, 48, 40), feather=feather), want)

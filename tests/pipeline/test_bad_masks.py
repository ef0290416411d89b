"""Bad masks are one sentence, before any step."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mdp_lite.editor import Editor, Source

TARGET = "a blue boat"
EMPTY = "mask must be white somewhere, got only black"
ARRAY = "mask must be an array (h, w) of uint8 or bool, or (h, w, 3) or (h, w, 4) of uint8"


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
        3,
        "mask must be a picture, its path or array, a box (x0, y0, x1, y1), a tensor of latent "
        "cells or auto, got 3",
    ),
    # Black but for noise: of a file, of JPEG, of an array of 0 and 1, in what is transparent.
    (Image.new("L", (48, 40), 1), f"{EMPTY} (levels up to 12 of 255 are black)"),
    (Image.new("L", (48, 40), 12), f"{EMPTY} (levels up to 12 of 255 are black)"),
    (Image.new("RGB", (48, 40), (9, 0, 12)), EMPTY),
    (Image.new("RGBA", (48, 40), (0, 0, 0, 255)), EMPTY),
    (Image.new("LA", (48, 40), (7, 250)), EMPTY),
    (np.ones((40, 48), np.uint8), EMPTY),
    (np.zeros((40, 48), np.bool_), EMPTY),
    ("mask.png", "mask must be a PNG, JPEG or WebP file, got no such file: 'mask.png'"),
    (Path("mask.png"), "mask must be a PNG, JPEG or WebP file, got no such file: 'mask.png'"),
    (np.ones((40, 48), np.float32), f"{ARRAY}, got (40, 48) of float32"),
    (np.ones((40, 48, 2), np.uint8), f"{ARRAY}, got (40, 48, 2) of uint8"),
    (np.ones((40, 48, 3), np.bool_), f"{ARRAY}, got (40, 48, 3) of bool"),
    (np.full((32, 32), 255, np.uint8), "mask must have the picture's size 48x40, got 32x32"),
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

"""A tiny random inpainting model, and one picture recorded with and without a mask."""

from pathlib import Path

import pytest

from mdp_lite.editor import Editor, Source
from support.inpainting import draw_picture

SIDE, N, FACTOR = 32, 5, 4
BOX = (8, 4, 24, 20)
PROMPT, TARGET = "a red house", "a blue boat"


@pytest.fixture(scope="module")
def editor(checkpoint_inpaint: Path) -> Editor:
    return Editor.from_pretrained(checkpoint_inpaint, device="cpu")


@pytest.fixture(scope="module")
def source(editor: Editor) -> Source:
    """Recorded under the mask of BOX."""
    return editor.invert(draw_picture(SIDE, SIDE), PROMPT, num_inference_steps=N, mask=BOX)


@pytest.fixture(scope="module")
def whole(editor: Editor) -> Source:
    """The same picture, recorded without a mask."""
    return editor.invert(draw_picture(SIDE, SIDE), PROMPT, num_inference_steps=N)

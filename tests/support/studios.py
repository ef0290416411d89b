"""What tests of the app share: a studio over a tiny model, pictures, and watching the UNet."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mdp_lite.app.form import Form
from mdp_lite.app.sessions import Session
from mdp_lite.app.streaming import Progress
from mdp_lite.app.studio import Studio
from mdp_lite.app.work import Asked
from mdp_lite.editor import Editor
from mdp_lite.models.unet import UNet

REAL = Form("picture", "a red house", "a blue boat", steps=10, t_max=9, t_m=5, guidance_scale=3.0)
DRAWN = Form("prompt", "a red house", "a blue boat", steps=10, t_max=9, t_m=5, guidance_scale=3.0)


def picture(width: int = 48, height: int = 40, seed: int = 0) -> Image.Image:
    """Noise as an RGB picture."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def asked(form: Form, mask: Image.Image | None = None, seed: int = 0) -> Asked:
    """A form with what it needs."""
    if form.case == "prompt":
        return Asked(form, mask=mask)
    return Asked(form, picture(seed=seed), "photo.png", mask)


def ended(run: Generator[Progress, None, Any]) -> tuple[Any, list[Progress]]:
    """A run's result, and what it told."""
    told = []
    while True:
        try:
            told.append(next(run))
        except StopIteration as end:
            return end.value, told


@pytest.fixture
def studio(editor: Editor, tmp_path: Path) -> Studio:
    """A studio that knows no visitor yet."""
    return Studio(editor, tmp_path / "studio")


@pytest.fixture
def visitor(studio: Studio) -> Session:
    """Its first visitor."""
    return studio.sessions.of("one")


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each call of the UNet had."""
    seen: list[int] = []
    forward = UNet.predict

    def counting(self: UNet, x: Any, t: Any, c: Any, *attend: Any) -> Any:
        seen.append(len(x))
        return forward(self, x, t, c, *attend)

    monkeypatch.setattr(UNet, "predict", counting)
    return seen

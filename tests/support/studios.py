"""Helpers for tests of the app: a studio over a tiny model, forms, and UNet calls counted."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mdp_lite.app.form import EditForm
from mdp_lite.app.results import AppResult
from mdp_lite.app.runs import Submission, run_edit
from mdp_lite.app.sessions import Session
from mdp_lite.app.streaming import RunProgress
from mdp_lite.app.studio import Studio
from mdp_lite.editor import Editor
from support.unet_rows import record_rows

SETTINGS: dict[str, Any] = {"steps": 10, "t_max": 9, "t_m": 5, "guidance_scale": 3.0}
REAL = EditForm("picture", "a red house", "a blue boat", **SETTINGS)
GENERATED = EditForm("prompt", "a red house", "a blue boat", **SETTINGS)


def picture(width: int = 48, height: int = 40, seed: int = 0) -> Image.Image:
    """Noise as an RGB picture."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def submission(form: EditForm, mask: Image.Image | None = None, seed: int = 0) -> Submission:
    """A form with a picture if its case needs one."""
    if form.case == "prompt":
        return Submission(form, mask=mask)
    return Submission(form, picture(seed=seed), "photo.png", mask)


def run_to_end(run: Generator[RunProgress, None, Any]) -> tuple[Any, list[RunProgress]]:
    """A run's result and all of its progress."""
    reports = []
    while True:
        try:
            reports.append(next(run))
        except StopIteration as end:
            return end.value, reports


def edit(
    studio: Studio, visitor: Session, form: EditForm, mask: Image.Image | None = None, seed: int = 0
) -> tuple[AppResult, list[RunProgress]]:
    """Edit by a form; its result and its progress."""
    return run_to_end(run_edit(studio, visitor, submission(form, mask, seed)))


@pytest.fixture
def studio(editor: Editor, tmp_path: Path) -> Studio:
    """A studio without visitors."""
    return Studio(editor, tmp_path / "studio")


@pytest.fixture
def visitor(studio: Studio) -> Session:
    """Its first visitor."""
    return studio.sessions.get_or_create("one")


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each call of the UNet."""
    return record_rows(monkeypatch)

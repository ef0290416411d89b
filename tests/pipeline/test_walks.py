"""The way from the public methods to the UNet is short: frames and files, measured by traceback.

    python -m pytest -rP tests/pipeline/test_walks.py

Every method of the UNet is made to raise, so the traceback ends at the first one that is reached.
All frames count, from the public method itself to that method of the UNet, also frames of torch and
of comprehensions.
"""

import inspect
import traceback
from collections.abc import Callable
from typing import NoReturn

import pytest

from mdp_lite.editor import Editor
from mdp_lite.models.unet import UNet
from mdp_lite.pipeline.result import Source
from support.inverting import picture

UNET = inspect.getsourcefile(UNet)


class Reached(Exception):
    """A method of the UNet was called."""


@pytest.fixture
def raising_editor(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> Editor:
    """The same models with a UNet of which every method raises."""
    methods = [name for name, one in vars(UNet).items() if inspect.isfunction(one)]
    assert {"times", "text", "predict", "forward"} <= set(methods)
    for name in set(methods) - {"__init__"}:
        monkeypatch.setattr(UNet, name, stand_in(name))
    return Editor(editor.models, editor.device)


def stand_in(name: str) -> Callable[..., NoReturn]:
    def method(*_: object) -> NoReturn:
        raise Reached(name)

    return method


@pytest.fixture
def source(editor: Editor) -> Source:
    return editor.generate("a red house", 1, 4)


def walk(call: Callable[[], object], first: str) -> list[tuple[str, str]]:
    """(file, function) of each frame from the public method named first to the UNet's."""
    with pytest.raises(Reached) as error:
        call()
    frames = [(one.filename, one.name) for one in traceback.extract_tb(error.value.__traceback__)]
    start = next(i for i, (_, name) in enumerate(frames) if name == first)
    frames[-1] = str(UNET), str(error.value)  # the stand-in's own frame is in this file
    return frames[start:]


def check_walk(frames: list[tuple[str, str]], max_frames: int, max_files: int) -> None:
    files = {file for file, _ in frames}
    for file, name in frames:
        print(f"{name:20} {file}")
    print(f"{len(frames)} frames in {len(files)} files")
    assert frames[0][0] == inspect.getsourcefile(Editor)
    assert len(frames) <= max_frames and len(files) <= max_files


@pytest.mark.parametrize("variant", ["epsilon", "c", "x", "beta"])
def test_an_edit_reaches_the_unet_in_ten_frames_and_six_files(
    source: Source, raising_editor: Editor, variant: str
) -> None:
    check_walk(walk(lambda: raising_editor.edit(source, "a boat", variant), "edit"), 10, 6)


def test_an_inversion_reaches_the_unet_in_twelve_frames_and_seven_files(
    raising_editor: Editor,
) -> None:
    """With the default method."""
    check_walk(walk(lambda: raising_editor.invert(picture(), "a house"), "invert"), 12, 7)

"""Example pictures: synthetic ones that the bundled model understands."""

import base64
from pathlib import Path
from typing import NamedTuple

from mdp_lite.app.wording import say

FOLDER = Path(__file__).parent / "examples"


class Example(NamedTuple):
    """A picture, a prompt that describes it, and a prompt to edit it towards."""

    name: str
    source_prompt: str
    prompt: str

    @property
    def file(self) -> Path:
        """The path of the picture."""
        return FOLDER / f"{self.name}.png"

    @property
    def label(self) -> str:
        """What the edit changes."""
        return say("examples", self.name)


EXAMPLES = (
    Example(
        "house",
        "an orange house, beside a green mushroom, on a field, autumn day",
        "an orange house, beside a green mushroom, on a field, winter day",
    ),
    Example(
        "boat",
        "a red striped boat on the left, beside a yellow bird, on a lake, winter sunset",
        "a red striped boat on the left, beside a yellow bird, on a lake, winter night",
    ),
    Example(
        "balloon",
        "a yellow metal balloon, on a lake, cloudy winter day",
        "a red metal balloon, on a lake, cloudy winter day",
    ),
)  # fmt: skip


def _encode(file: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()


# The examples as the page's component of pictures takes them.
EXAMPLE_VALUES = [
    {"id": one.name, "url": _encode(one.file), "label": one.label} for one in EXAMPLES
]

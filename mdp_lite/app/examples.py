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
        "photo of an orange plain house in the center, beside a green mushroom, on a field, before "
        "the mountains, clear autumn day with the sun",
        "photo of an orange plain house in the center, beside a green mushroom, on a field, before "
        "the mountains, clear winter day with the sun",
    ),
    Example(
        "boat",
        "photo of a red striped boat on the left, beside a yellow bird, on a lake, before the "
        "mountains, clear winter sunset with the sun",
        "photo of a red striped boat on the left, beside a yellow bird, on a lake, before the "
        "mountains, clear winter night with the moon",
    ),
    Example(
        "balloon",
        "photo of a yellow metal balloon in the center, alone, on a lake, before the mountains, "
        "cloudy winter day with the sun",
        "photo of a red metal balloon in the center, alone, on a lake, before the mountains, "
        "cloudy winter day with the sun",
    ),
)  # fmt: skip


def _encode(file: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()


# The examples as the page's component of pictures takes them.
EXAMPLE_VALUES = [
    {"id": one.name, "url": _encode(one.file), "label": one.label} for one in EXAMPLES
]

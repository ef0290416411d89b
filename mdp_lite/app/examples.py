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
        "an orange house in the center, sand, cloudy day with the sun",
        "an orange house in the center, snow, cloudy day with the sun",
    ),
    Example(
        "boat",
        "a yellow boat in the center, water, clear sunset with no sun",
        "a red boat in the center, water, clear sunset with no sun",
    ),
    Example(
        "tree",
        "an orange tree in the center, snow, cloudy night with the moon",
        "a green tree in the center, snow, cloudy night with the moon",
    ),
)  # fmt: skip


def _encode(file: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()


# The examples as the page's component of pictures takes them.
EXAMPLE_VALUES = [
    {"id": one.name, "url": _encode(one.file), "label": one.label} for one in EXAMPLES
]

"""Example pictures: synthetic ones that the bundled model understands."""

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "examples"


class Example(NamedTuple):
    """A picture, a prompt that describes it, and a prompt to edit it towards."""

    name: str
    label: str
    source_prompt: str
    prompt: str

    @property
    def file(self) -> Path:
        """The path of the picture."""
        return FOLDER / f"{self.name}.png"


EXAMPLES = (
    Example(
        "house", "House: snow for sand",
        "an orange house in the center, sand, cloudy day with the sun",
        "an orange house in the center, snow, cloudy day with the sun",
    ),
    Example(
        "boat", "Boat: red for yellow",
        "a yellow boat in the center, water, clear sunset with no sun",
        "a red boat in the center, water, clear sunset with no sun",
    ),
    Example(
        "tree", "Tree: green for orange",
        "an orange tree in the center, snow, cloudy night with the moon",
        "a green tree in the center, snow, cloudy night with the moon",
    ),
)  # fmt: skip

"""Pictures to start from: drawn ones that the bundled model understands."""

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "examples"


class Example(NamedTuple):
    """A picture with what it shows, and something that it could show instead."""

    name: str
    label: str
    source_prompt: str
    prompt: str

    @property
    def file(self) -> Path:
        """Where the picture lies."""
        return FOLDER / f"{self.name}.png"


EXAMPLES = (
    Example(
        "house", "House: snow for grass",
        "a blue house on the left, grass, clear day with no sun",
        "a blue house on the left, snow, clear day with no sun",
    ),
    Example(
        "boat", "Boat: red for blue",
        "a blue boat on the left, water, clear day with no sun",
        "a red boat on the left, water, clear day with no sun",
    ),
    Example(
        "tree", "Tree: sunset for night",
        "an orange tree on the right, snow, cloudy night with no moon",
        "an orange tree on the right, snow, cloudy sunset with no sun",
    ),
)  # fmt: skip

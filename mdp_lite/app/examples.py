"""Pictures to start from: drawn ones that the bundled model understands."""

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "examples"


class Example(NamedTuple):
    """A picture with what it shows, and something that it could show instead."""

    name: str
    source_prompt: str
    prompt: str

    @property
    def file(self) -> Path:
        """Where the picture lies."""
        return FOLDER / f"{self.name}.png"

"""The bundled models, the worlds of their pictures, and what tests hold each of them to."""

from pathlib import Path
from typing import NamedTuple

from mdp_lite.eval.worlds import POSTCARDS, VILLAGE, World
from mdp_lite_weights import locate


class Bundled(NamedTuple):
    """A bundled model: the world that it was trained on, and the seed of its example's scene.

    limit: the most bytes that its folder may take; gap: how many dB its preview may be behind the
    best linear map of its scenes.
    """

    name: str
    world: World
    example: int
    limit: int
    gap: float

    @property
    def folder(self) -> Path:
        return locate(self.name)

    def caption(self, seed: int) -> str:
        return self.world.full_caption(self.world.sample(seed), seed)

    def list_files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]


TINY = Bundled("tiny", POSTCARDS, 10_003_783, 16_000_000, 1.5)
SMALL = Bundled("small", VILLAGE, 20_002_457, 30_000_000, 2.5)
MODELS = (TINY, SMALL)

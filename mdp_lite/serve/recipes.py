"""How clients' sources were made, kept in the cache's folder: who else reads it can make them anew.

A recipe is a file of its own, named by a hash: its id and its owner are not told by the folder.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from mdp_lite.checkpoint import atomic
from mdp_lite.pipeline.inversion_methods import Inversion
from mdp_lite.pipeline.runner import ModelRunner
from mdp_lite.serve.settings import Limits
from mdp_lite.serve.work import Drawn, Inverted
from mdp_lite.store.cache import Cache

FOLDER = "recipes"  # in the cache's
EVERYBODY = "everybody"  # the owner where there are no keys


class Found(NamedTuple):
    """A recipe's file: whose it is, when it was used last by the clock, and its bytes."""

    path: Path
    owner: str
    used: float
    size: int


class Recipes:
    """Recipes by the id of a source and its owner, for any number of processes at once.

    One that is not used for so many seconds is gone; all together have as many as one process may
    have sources, and as many bytes. clock is that of the files' times.
    """

    def __init__(
        self,
        cache: Cache,
        codec: ModelRunner,
        limits: Limits,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cache, self._codec, self._limits, self._clock = cache, codec, limits, clock

    def put(self, name: str, owner: str, origin: Drawn | Inverted) -> None:
        """Keep a recipe; where it can't be written that is an OSError."""
        data, path = to_bytes(origin), self._at(name, owner)
        self._make_room(len(data))
        atomic.write(path, data)
        self._touch(path)

    def used(self, name: str, owner: str) -> bool:
        """Whether it is there, which counts as used now."""
        path = self._at(name, owner)
        try:
            if self._over(path.stat().st_mtime):
                return False
            self._touch(path)
        except OSError:
            return False
        return True

    def get(self, name: str, owner: str) -> Drawn | Inverted | None:
        """How a source was made, which counts as used now; one that can't be read is not there."""
        if not self.used(name, owner):
            return None
        try:
            return from_bytes(self._at(name, owner).read_bytes())
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def drop(self, name: str, owner: str) -> None:
        """Forget a recipe, for all processes."""
        self._at(name, owner).unlink(missing_ok=True)

    def _at(self, name: str, owner: str) -> Path:
        """Of a model as it is run here: another one's recipes are not found."""
        key = self._cache.key(self._codec, ("recipe", name, owner))
        return self._cache.folder / FOLDER / (owner or EVERYBODY) / f"{key}.recipe"

    def _touch(self, path: Path) -> None:
        now = self._clock()
        os.utime(path, (now, now))

    def _over(self, used: float) -> bool:
        return self._clock() - used > self._limits.seconds

    def _found(self) -> Iterator[Found]:
        for path in (self._cache.folder / FOLDER).glob("*/*.recipe"):
            with suppress(OSError):  # removed since by another process
                at = path.stat()
                yield Found(path, path.parent.name, at.st_mtime, at.st_size)

    def _make_room(self, size: int) -> None:
        """Remove what is over, then the least recently used of the owner who has most."""
        left = []
        for one in sorted(self._found(), key=lambda one: one.used):
            if self._over(one.used):
                one.path.unlink(missing_ok=True)
            else:
                left.append(one)
        limits = self._limits
        while left and not (
            len(left) < limits.sources
            and sum(one.size for one in left) + size <= limits.source_bytes
        ):
            gone = _least_missed(left)
            gone.path.unlink(missing_ok=True)
            left.remove(gone)


def to_bytes(origin: Drawn | Inverted) -> bytes:
    """A recipe as a line of JSON, then the pixels of its picture if it has one."""
    said = origin._asdict()
    if isinstance(origin, Drawn):
        return json.dumps(said).encode() + b"\n"
    picture: Image.Image = said.pop("picture")
    said |= {"how": asdict(origin.how), "pixels": picture.size}
    return json.dumps(said).encode() + b"\n" + picture.tobytes()


def from_bytes(data: bytes) -> Drawn | Inverted:
    """The recipe of to_bytes; a ValueError, TypeError or KeyError if it is none."""
    head, _, pixels = data.partition(b"\n")
    said = json.loads(head)
    said["size"] = said["size"] and tuple(said["size"])
    shape = said.pop("pixels", None)
    if shape is None:
        return Drawn(**said)
    width, height = shape
    if len(pixels) != 3 * width * height:
        raise ValueError(f"a recipe of {width}x{height} pixels can't have {len(pixels)} bytes")
    said["picture"] = Image.frombytes("RGB", (width, height), pixels)
    said["how"] = Inversion(**said["how"])
    return Inverted(**said)


def _least_missed(found: list[Found]) -> Found:
    """The first of the owner whose files take most."""
    sizes: dict[str, int] = {}
    for one in found:
        sizes[one.owner] = sizes.get(one.owner, 0) + one.size
    most = max(sizes, key=lambda owner: sizes[owner])
    return next(one for one in found if one.owner == most)

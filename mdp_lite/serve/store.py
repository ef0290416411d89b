"""Sources that clients may edit again: so many, so large, so long, and each its owner's alone."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from mdp_lite.pipeline.result import Source
from mdp_lite.serve.settings import Limits


@dataclass
class Kept:
    """A source, whose it is, what it takes, and until when it is kept unless it is used."""

    source: Source
    owner: str
    size: int
    until: float


class Store:
    """Sources by id, used by one thread. clock is a monotonic one, which no clock change moves."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._kept: dict[str, Kept] = {}  # least recently used first

    def __len__(self) -> int:
        self._expire()
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes that all take."""
        return sum(one.size for one in self._kept.values())

    def put(self, source: Source, owner: str, name: str | None = None) -> str:
        """Keep a source; an id that is new can't be guessed. Too large a one is a ValueError."""
        size, most = size_of(source), self._limits.source_bytes
        if size > most:
            raise ValueError(f"a source must take at most {most} bytes, this takes {size}")
        self._expire()
        name = name or f"src_{secrets.token_urlsafe(18)}"
        self._kept.pop(name, None)
        until = self._clock() + self._limits.seconds
        while self._kept and not self._fits(size):
            del self._kept[self._least_missed()]
        self._kept[name] = Kept(source, owner, size, until)
        return name

    def get(self, name: str, owner: str) -> Source | None:
        """A source that is still there and this owner's, which counts as used now."""
        self._expire()
        found = self._kept.get(name)
        if found is None or found.owner != owner:
            return None
        found.until = self._clock() + self._limits.seconds
        self._kept[name] = self._kept.pop(name)
        return found.source

    def left(self, name: str) -> float:
        """Seconds until a source is forgotten."""
        return max(0.0, self._kept[name].until - self._clock())

    def drop(self, name: str, owner: str) -> bool:
        """Forget a source; whether it was there and this owner's."""
        if self.get(name, owner) is None:
            return False
        del self._kept[name]
        return True

    def _fits(self, size: int) -> bool:
        limits = self._limits
        return len(self._kept) < limits.sources and self.size + size <= limits.source_bytes

    def _least_missed(self) -> str:
        """The least recently used of the owner who has most: nobody pushes out the others'."""
        sizes: dict[str, int] = {}
        for one in self._kept.values():
            sizes[one.owner] = sizes.get(one.owner, 0) + one.size
        most = max(sizes, key=lambda owner: sizes[owner])
        return next(name for name, one in self._kept.items() if one.owner == most)

    def _expire(self) -> None:
        now = self._clock()
        for name in [name for name, one in self._kept.items() if one.until <= now]:
            del self._kept[name]


def size_of(source: Source) -> int:
    """Bytes of a source's tensors and pictures."""
    tensors = [part for part in source.path if part is not None]
    pixels = sum(image.width * image.height for image in (source.image, source.picture))
    return sum(part.numel() * part.element_size() for part in tensors) + 3 * pixels

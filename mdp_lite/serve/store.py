"""The sources that clients may edit again, in memory: bounded, and each for its owner alone."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from mdp_lite.model_pool.keys import ModelKey
from mdp_lite.names import BadInput
from mdp_lite.pipeline.result import Source
from mdp_lite.serve.settings import Limits


@dataclass
class StoredSource:
    """A source, its owner, its bytes, and when it expires unless it is used before."""

    source: Source
    owner: str
    size: int
    expires: float
    key: ModelKey | None = None  # of the model that made it


class SourceStore:
    """Sources by id, for one thread. clock is monotonic, so a changed system time has no effect."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._sources: dict[str, StoredSource] = {}  # least recently used first

    def __len__(self) -> int:
        self._expire()
        return len(self._sources)

    @property
    def size(self) -> int:
        """Bytes of all sources."""
        return sum(one.size for one in self._sources.values())

    def put(
        self, source: Source, owner: str, name: str | None = None, key: ModelKey | None = None
    ) -> str:
        """Store a source under this name, or under a new id that can't be guessed.

        Raises BadInput if it is too large.
        """
        size, most = source_bytes(source), self._limits.source_bytes
        if size > most:
            raise BadInput(f"a source must take at most {most} bytes, this takes {size}")
        self._expire()
        name = name or f"src_{secrets.token_urlsafe(18)}"
        self._sources.pop(name, None)
        expires = self._clock() + self._limits.seconds
        while self._sources and not self._fits(size):
            del self._sources[self._choose_victim()]
        self._sources[name] = StoredSource(source, owner, size, expires, key)
        return name

    def get(self, name: str, owner: str) -> Source | None:
        """The source of this name and owner, which counts as used now; None if there is none."""
        self._expire()
        entry = self._sources.get(name)
        if entry is None or entry.owner != owner:
            return None
        entry.expires = self._clock() + self._limits.seconds
        self._sources[name] = self._sources.pop(name)
        return entry.source

    def find_key(self, name: str) -> ModelKey | None:
        """The model that made a source, if that was said."""
        return self._sources[name].key if name in self._sources else None

    def list_sources(self, owner: str) -> dict[str, Source]:
        """The sources of an owner by name, least recently used first. None counts as used."""
        self._expire()
        return {name: one.source for name, one in self._sources.items() if one.owner == owner}

    def seconds_left(self, name: str) -> float:
        """Seconds until a source expires; 0 if it is gone."""
        return max(0.0, self._sources[name].expires - self._clock()) if name in self._sources else 0

    def drop(self, name: str, owner: str) -> bool:
        """Delete a source; returns whether this owner had one of this name."""
        if self.get(name, owner) is None:
            return False
        del self._sources[name]
        return True

    def _fits(self, size: int) -> bool:
        limits = self._limits
        return len(self._sources) < limits.sources and self.size + size <= limits.source_bytes

    def _choose_victim(self) -> str:
        """The least recently used of the owner who has most bytes; no owner can evict others'."""
        sizes: dict[str, int] = {}
        for one in self._sources.values():
            sizes[one.owner] = sizes.get(one.owner, 0) + one.size
        largest = max(sizes, key=lambda owner: sizes[owner])
        return next(name for name, one in self._sources.items() if one.owner == largest)

    def _expire(self) -> None:
        now = self._clock()
        for name in [name for name, one in self._sources.items() if one.expires <= now]:
            del self._sources[name]


def source_bytes(source: Source) -> int:
    """Bytes of a source's tensors and pictures."""
    tensors = [part for part in source.path if part is not None]
    pixels = sum(image.width * image.height for image in (source.image, source.picture))
    return sum(part.numel() * part.element_size() for part in tensors) + 4 * pixels

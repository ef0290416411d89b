"""Source paths kept on disk, so that the same picture is inverted once; any number of processes."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from mdp_lite.checkpoint import atomic
from mdp_lite.checkpoint.identity import model_hash
from mdp_lite.pipeline.result import Cost, Source
from mdp_lite.pipeline.runner import Codec
from mdp_lite.store import source_file as sources
from mdp_lite.store import source_header
from mdp_lite.version import __version__

try:
    import fcntl
except ImportError:  # not on Windows: there two writers at once may pass the bound for a moment
    fcntl = None

MOST_BYTES = 4 * 2**30
# Never a file of the user's own, should the cache's folder hold others.
OURS = "source-" + "[0-9a-f]" * 64 + ".safetensors"


@dataclass(frozen=True)
class Cache:
    """A folder of sources named by what they were made of, the least recently used removed first.

    The sources take most_bytes at most. Without keep it is read and never written to.
    """

    folder: Path
    most_bytes: int = MOST_BYTES
    keep: bool = True

    def key(self, codec: Codec, asked: tuple[Any, ...], image: Image.Image | None = None) -> str:
        """SHA-256 of all that a source depends on: model, precision, versions, request, pixels.

        asked are all settings of the call, image is upright RGB.
        """
        models = codec.models
        parts = (
            source_header.FORMAT, __version__, torch.__version__, codec.device.type,
            model_hash(models.origin, self.folder, self.keep), models.origin.dtype,
            models.defaults, asked, image.size if image else None,
        )  # fmt: skip
        key = hashlib.sha256(repr(parts).encode())
        key.update(image.tobytes() if image else b"")
        return key.hexdigest()

    def get(self, key: str, codec: Codec) -> Source | None:
        """The source of a key, which counts as used now; one that is damaged is dropped."""
        path = self._at(key)
        try:
            before = path.stat()
        except OSError:
            return None
        try:
            found = sources.load(path, codec)
        except ValueError:  # damaged, or removed by another process since
            self._drop(path, before.st_ino)
            return None
        if self.keep:
            with suppress(OSError):  # removed since, or the folder is another user's
                _touch(path)
        return found

    def put(self, key: str, source: Source) -> None:
        """Keep a source. Where it can't be written the next caller makes it again."""
        data, path = sources.to_file(source), self._at(key)
        if self.keep and len(data) <= self.most_bytes:
            with suppress(OSError), self._locked():
                self._shrink(self.most_bytes - len(data), path)
                atomic.write(path, data)
                _touch(path)

    def _at(self, key: str) -> Path:
        return self.folder / f"source-{key}.safetensors"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, so that the bound holds at every moment."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)  # let go as the file is closed
                for left in self.folder.glob(".source-*.tmp"):
                    left.unlink()  # by a writer that was killed: none writes now
            yield

    def _shrink(self, room: int, new: Path) -> None:
        """Remove the least recently used until the others take this room."""
        found = [(path, path.stat()) for path in self.folder.glob(OURS) if path != new]
        total = sum(at.st_size for _, at in found)
        for path, at in sorted(found, key=lambda one: one[1].st_mtime_ns):
            if total <= room:
                return
            path.unlink()
            total -= at.st_size

    def _drop(self, path: Path, inode: int) -> None:
        """Remove a damaged file, unless a whole one has taken its place."""
        if self.keep:
            with suppress(OSError), self._locked():
                if path.stat().st_ino == inode:
                    path.unlink()


def kept(
    cache: Cache | None, codec: Codec, asked: Sequence[tuple[Any, ...]],
    pictures: Sequence[Image.Image | None], make: Callable[[list[int]], list[Source]],
) -> list[Source]:  # fmt: skip
    """Sources read from a cache, at the cost of nothing, or made (by their places) and kept in it.

    asked are all settings of each, pictures what is inverted, upright RGB.
    """
    if cache is None:
        return make(list(range(len(asked))))
    keys = [cache.key(codec, *one) for one in zip(asked, pictures, strict=True)]
    found = [cache.get(key, codec) for key in keys]
    left = [i for i, one in enumerate(found) if one is None]
    made = dict(zip(left, make(left), strict=True)) if left else {}
    for i, one in made.items():
        cache.put(keys[i], one)
    return [
        made[i] if one is None else replace(one, cost=Cost(0, 0)) for i, one in enumerate(found)
    ]


def open_cache(place: str | Path | Cache | None) -> Cache | None:
    """A cache, or the cache in a folder, which is made when first needed."""
    if place is None or isinstance(place, Cache):
        return place
    if not isinstance(place, str | Path) or not str(place):
        raise ValueError(f"cache must be a folder, got {place!r}")
    path = Path(place).absolute()
    there = next(one for one in (path, *path.parents) if one.exists())
    if not there.is_dir():
        raise ValueError(f"cache must be a folder, got a file: {str(place)!r}")
    if not os.access(there, os.W_OK):
        raise ValueError(f"cache must be writable, got a folder that is not: {str(place)!r}")
    return Cache(path)


def _touch(path: Path) -> None:
    """Used now; the kernel's own clock has ticks of milliseconds, in which many are equal."""
    now = time.time_ns()
    os.utime(path, ns=(now, now))

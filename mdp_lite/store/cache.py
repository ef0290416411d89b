"""A folder of sources, so that a picture is inverted once; any number of processes share it."""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image

from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.checkpoint.identity import Origin, model_hash, warn_unkept
from mdp_lite.files import atomic, probe
from mdp_lite.names import BadInput
from mdp_lite.pipeline import check
from mdp_lite.pipeline.result import Cost, Source
from mdp_lite.pipeline.runner import ModelRunner
from mdp_lite.store import source_file, source_header
from mdp_lite.version import __version__

try:
    import fcntl
except ImportError:  # not on Windows: there two writers at once may pass the bound for a moment
    fcntl = None

MAX_BYTES = 4 * 2**30
# The cache only ever removes files with these names, in case the folder holds others.
OUR_FILES = "source-" + "[0-9a-f]" * 64 + ".safetensors"


class ModelIdentity(NamedTuple):
    """What keys depend on of a model, without its weights."""

    origin: Origin
    defaults: Defaults
    device: torch.device


def identify(runner: ModelRunner) -> ModelIdentity:
    """The identity of a loaded model."""
    return ModelIdentity(runner.models.origin, runner.models.defaults, runner.device)


@dataclass(frozen=True)
class Cache:
    """A folder of sources, each named by a hash of everything it depends on.

    The sources take at most max_bytes; the least recently used ones are removed first. With
    read_only the folder is never written to. Threads and processes may share a folder.

    >>> editor = Editor.from_pretrained("tiny", cache=Cache(Path("sources"), max_bytes=10**8))
    >>> first, again = (editor.generate("a red tent", num_inference_steps=4) for _ in range(2))
    >>> first.cost.unet_rows, again.cost.unet_rows
    (8, 0)
    """

    folder: Path
    max_bytes: int = MAX_BYTES
    read_only: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", _check_folder(self.folder))  # a text works like a Path
        sized = isinstance(self.max_bytes, int | float) and not isinstance(self.max_bytes, bool)
        if not sized or not self.max_bytes >= 0:
            raise BadInput(f"max_bytes must be 0 or more, got {self.max_bytes!r:.80}")
        check.flag("read_only", self.read_only)

    def key(
        self, model: ModelRunner | ModelIdentity, settings: tuple[Any, ...],
        image: Image.Image | None = None,
    ) -> str:  # fmt: skip
        """SHA-256 of all that a source depends on: model, precision, versions, settings, pixels.

        settings are those of the call, image is upright RGB.
        """
        origin, defaults, device = identify(model) if isinstance(model, ModelRunner) else model
        parts = (
            source_header.FORMAT, __version__, torch.__version__, device.type,
            model_hash(origin, self.folder, not self.read_only), origin.dtype,
            defaults, settings, image.size if image else None,
        )  # fmt: skip
        key = hashlib.sha256(repr(parts).encode())
        key.update(image.tobytes() if image else b"")
        return key.hexdigest()

    def get(self, key: str, runner: ModelRunner) -> Source | None:
        """The source of a key, which counts as used now; a damaged one is removed."""
        path = self._path(key)
        try:
            before = path.stat()
        except OSError:
            return None
        try:
            found = source_file.load(path, runner)
        except ValueError as error:
            if path.exists():  # else another process has just removed it
                atomic.warn_once(f"a source in the cache can't be used, made again: {error}")
                self._drop(path, before.st_ino)
            return None
        if not self.read_only:
            with suppress(OSError):  # removed since, or the folder is another user's
                _touch(path)
        return found

    def put(self, key: str, source: Source) -> None:
        """Store a source. If that fails, a warning is logged; the next caller computes it again."""
        if self.read_only:
            return
        data, path = source_file.to_file_bytes(source), self._path(key)
        if len(data) > self.max_bytes:
            sizes = f"{len(data):,} bytes, the cache in {str(self.folder)!r} has {self.max_bytes:,}"
            atomic.warn_once(f"a source is too large for the cache and was not kept: {sizes}")
            return
        try:
            with self._lock():
                self._shrink(self.max_bytes - len(data), path)
                atomic.write(path, data)
                _touch(path)
        except OSError as error:
            warn_unkept(self.folder, error)

    def _path(self, key: str) -> Path:
        return self.folder / f"source-{key}.safetensors"

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One writer at a time, so that the bound holds at every moment."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed
                for left in self.folder.glob(".source-*.tmp"):
                    left.unlink()  # of a writer that was killed: nobody else writes now
                atomic.sweep(self.folder)  # its files of other names
            yield

    def _shrink(self, room: int, new: Path) -> None:
        """Remove the least recently used until the others take this room."""
        found = [(path, path.stat()) for path in self.folder.glob(OUR_FILES) if path != new]
        total = sum(at.st_size for _, at in found)
        for path, at in sorted(found, key=lambda one: one[1].st_mtime_ns):
            if total <= room:
                return
            path.unlink()
            total -= at.st_size

    def _drop(self, path: Path, inode: int) -> None:
        """Remove a damaged file, unless a whole one has replaced it."""
        if not self.read_only:
            with suppress(OSError), self._lock():
                if path.stat().st_ino == inode:
                    path.unlink()


def get_or_create(
    cache: Cache, runner: ModelRunner, settings: Sequence[tuple[Any, ...]],
    pictures: Sequence[Image.Image | None], create: Callable[[list[int]], list[Source]],
) -> list[Source]:  # fmt: skip
    """Sources from the cache, at cost 0; create(indices) makes the missing ones, which are stored.

    settings are those of each source, pictures the pictures that are inverted, upright RGB.
    """
    keys = [cache.key(runner, *one) for one in zip(settings, pictures, strict=True)]
    found = [cache.get(key, runner) for key in keys]
    missing = [i for i, one in enumerate(found) if one is None]
    new = dict(zip(missing, create(missing), strict=True)) if missing else {}
    for i, one in new.items():
        cache.put(keys[i], one)
    return [new[i] if one is None else replace(one, cost=Cost(0, 0)) for i, one in enumerate(found)]


def open_cache(folder: str | Path | Cache | None) -> Cache | None:
    """A cache, or the cache in a folder, which is created when it is first needed.

    Raises BadInput if nothing can be written there, or in the nearest folder above that exists.
    """
    if folder is None or isinstance(folder, Cache):
        return folder
    path = _check_folder(folder).absolute()
    there = probe.check_folder("cache", path)
    try:
        with tempfile.TemporaryFile(dir=there):  # os.access believes that root may write anywhere
            pass
    except OSError as error:
        got = f"got {probe.describe(error)}: {str(folder)!r}"
        raise BadInput(f"cache must be writable, {got}", "cache") from None
    return Cache(path)


def _check_folder(folder: Any) -> Path:
    """The path of a folder, which need not exist."""
    if not isinstance(folder, str | Path) or not str(folder):
        raise BadInput(f"cache must be a folder, got {folder!r:.80}", "cache")
    return Path(folder)


def _touch(path: Path) -> None:
    """Mark a file as used now; the kernel's own timestamps have ticks of milliseconds."""
    now = time.time_ns()
    os.utime(path, ns=(now, now))

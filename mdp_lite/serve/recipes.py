"""Recipes of clients' sources, in the cache's folder: every process that reads it can use them.

A recipe says how to make a source. It is one file, named by a hash, so that the folder reveals
neither ids nor owners.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mdp_lite.files import atomic
from mdp_lite.names import BadInput
from mdp_lite.pipeline.inversion_methods import Inversion
from mdp_lite.pipeline.runner import ModelRunner
from mdp_lite.pipeline.xl import from_settings
from mdp_lite.serve.settings import Limits
from mdp_lite.serve.work import LoraMark, PictureRecipe, PromptRecipe, Recipe
from mdp_lite.store.cache import Cache, ModelIdentity, identify

FOLDER = "recipes"  # in the cache's
EVERYBODY = "everybody"  # the owner if there are no keys


class RecipeFile(NamedTuple):
    """The file of a recipe: its owner, when it was last used (wall clock), its size in bytes."""

    path: Path
    owner: str
    last_used: float
    size: int


class RecipeStore:
    """Recipes by source id and owner, for any number of processes at once.

    A recipe expires after limits.seconds without use. All together are bounded by the limits of
    one process, in number and in bytes. clock is the one that sets file times.
    """

    def __init__(
        self, cache: Cache, model: ModelRunner | ModelIdentity, limits: Limits,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._cache, self._limits, self._clock = cache, limits, clock
        self._model = identify(model) if isinstance(model, ModelRunner) else model

    def put(self, name: str, owner: str, recipe: Recipe) -> None:
        """Write a recipe. Raises OSError if that fails."""
        data, path = to_bytes(recipe), self._path(name, owner)
        self._make_room(len(data))
        atomic.write(path, data)
        self._touch(path)
        atomic.sweep(path.parent)

    def mark_used(self, name: str, owner: str) -> bool:
        """Whether the recipe exists; if so, it counts as used now."""
        path = self._path(name, owner)
        try:
            if self._is_expired(path.stat().st_mtime):
                return False
            self._touch(path)
        except OSError:
            return False
        return True

    def get(self, name: str, owner: str) -> Recipe | None:
        """A recipe, which counts as used now; None if there is none that can be read."""
        if not self.mark_used(name, owner):
            return None
        try:
            return from_bytes(self._path(name, owner).read_bytes())
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def drop(self, name: str, owner: str) -> None:
        """Delete a recipe, for all processes."""
        self._path(name, owner).unlink(missing_ok=True)

    def _path(self, name: str, owner: str) -> Path:
        """The file of a recipe; the key has the model in it, so others' recipes are not found."""
        key = self._cache.key(self._model, ("recipe", name, owner))
        return self._cache.folder / FOLDER / (owner or EVERYBODY) / f"{key}.recipe"

    def _touch(self, path: Path) -> None:
        now = self._clock()
        os.utime(path, (now, now))

    def _is_expired(self, last_used: float) -> bool:
        return self._clock() - last_used > self._limits.seconds

    def _list_files(self) -> Iterator[RecipeFile]:
        for path in (self._cache.folder / FOLDER).glob("*/*.recipe"):
            with suppress(OSError):  # another process has just removed it
                stat = path.stat()
                yield RecipeFile(path, path.parent.name, stat.st_mtime, stat.st_size)

    def _make_room(self, size: int) -> None:
        """Delete expired recipes, then the least recently used of the owner who has most bytes."""
        files = []
        for one in sorted(self._list_files(), key=lambda one: one.last_used):
            if self._is_expired(one.last_used):
                one.path.unlink(missing_ok=True)
            else:
                files.append(one)
        limits = self._limits
        while files and not (
            len(files) < limits.sources
            and sum(one.size for one in files) + size <= limits.source_bytes
        ):
            victim = _choose_victim(files)
            victim.path.unlink(missing_ok=True)
            files.remove(victim)


def open_recipes(
    cache: Cache | None, models: dict[str, ModelIdentity], limits: Limits
) -> dict[str, RecipeStore]:
    """The recipes of each model, by alias; none without a cache."""
    if cache is None:
        return {}
    return {alias: RecipeStore(cache, one, limits) for alias, one in models.items()}


def to_bytes(recipe: Recipe) -> bytes:
    """A recipe as a line of JSON, then the RGB pixels of its picture if it has one."""
    fields: dict[str, Any] = recipe._asdict() | {"xl": recipe.xl.describe()}
    if not recipe.loras:
        del fields["loras"]
    if isinstance(recipe, PromptRecipe):
        return json.dumps(fields).encode() + b"\n"
    picture: Image.Image = fields.pop("picture")
    fields |= {"inversion": asdict(recipe.inversion), "pixels": picture.size}
    return json.dumps(fields).encode() + b"\n" + picture.tobytes()


def from_bytes(data: bytes) -> Recipe:
    """The recipe of to_bytes. Raises ValueError, TypeError or KeyError for other bytes."""
    head, _, pixels = data.partition(b"\n")
    fields = json.loads(head)
    fields["size"] = fields["size"] and tuple(fields["size"])
    fields["xl"] = from_settings(fields.get("xl", {}))  # recipes of earlier versions have none
    fields["loras"] = tuple(LoraMark(*one) for one in fields.get("loras", ()))
    shape = fields.pop("pixels", None)
    if shape is None:
        return PromptRecipe(**fields)
    width, height = shape
    if len(pixels) != 3 * width * height:
        raise BadInput(f"a recipe of {width}x{height} pixels can't have {len(pixels)} bytes")
    fields["picture"] = Image.frombytes("RGB", (width, height), pixels)
    fields["inversion"] = Inversion(**fields["inversion"])
    return PictureRecipe(**fields)


def _choose_victim(files: list[RecipeFile]) -> RecipeFile:
    """The first file of the owner whose files have most bytes."""
    sizes: dict[str, int] = {}
    for one in files:
        sizes[one.owner] = sizes.get(one.owner, 0) + one.size
    largest = max(sizes, key=lambda owner: sizes[owner])
    return next(one for one in files if one.owner == largest)

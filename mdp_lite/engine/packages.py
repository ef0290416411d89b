"""Packages on disk: a UNet compiled ahead for one shape, and all that it was made for.

A package is NAME.json and a folder that it names. In there is machine code: load what you trust.
"""

import json
import shutil
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

from mdp_lite.checkpoint import atomic, identity
from mdp_lite.names import BadInput

FORMAT = 1
REMAKE = "make one here with mdp-lite compile"


class Shape(NamedTuple):
    """What a call reads: rows, height and width in cells of the latent, tokens of the text."""

    rows: int
    height: int
    width: int
    tokens: int


@dataclass(frozen=True)
class Made:
    """All beside the shape that a package was made for and by: it runs where each is the same."""

    mdp_lite: str
    torch: str
    device: str
    dtype: str
    model: str
    attention: str
    weights: str
    format: int = FORMAT


class Package(NamedTuple):
    """One package: its NAME.json, what that says, and files by name with size and SHA-256."""

    path: Path
    made: Made
    shape: Shape
    folder: str
    files: dict[str, tuple[int, str]]

    @property
    def place(self) -> Path:
        """The folder of the machine code."""
        return self.path.parent / self.folder

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(size for size, _ in self.files.values())


def found(folder: Path) -> list[Package]:
    """All packages of a folder; one without any, or with a damaged one, is a ValueError."""
    packages = [_read(path) for path in sorted(folder.glob("*.json")) if path.name != identity.NAME]
    if not packages:
        raise BadInput(f"no packages in {folder.name}: {REMAKE}")
    return packages


def matching(packages: Iterable[Package], made: Made) -> dict[Shape, Package]:
    """Those made for exactly this, by shape; where there are none, why the nearest one is not."""
    kept = {one.shape: one for one in packages if one.made == made}
    if not kept:
        nearest = min(packages, key=lambda one: len(_differing(one.made, made)))
        raise BadInput(refusal(nearest, made))
    return kept


def refusal(package: Package, made: Made) -> str:
    """Why a package does not run here: what, which it is for, which is wanted."""
    name = _differing(package.made, made)[0]
    theirs, ours = (getattr(one, name) for one in (package.made, made))
    return f"package {package.path.name} was made for {name} {theirs}, want {ours}: {REMAKE}"


def verify(package: Package) -> None:
    """Every file as it was written, or a ValueError; sums of unchanged files are remembered."""
    name = package.path.name
    with suppress(OSError):
        files = identity.used((part, package.place / part) for part in package.files)
        sizes = [size for size, _ in package.files.values()]
        if [one.size for one in files] == sizes:
            sums = identity.sums(files, package.path.parent)
            if sums == [total for _, total in package.files.values()]:
                return
    raise BadInput(f"package {name} is damaged, a file of it is not as it was: {REMAKE}")


def named(made: Made, shape: Shape) -> str:
    """What a package is called: one of a newer torch takes the place of its elder."""
    sizes, device = "x".join(map(str, shape)), made.device.split()[0]
    return f"{sizes}-{made.dtype}-{device}-{made.model[:12]}"


def fresh(folder: Path, made: Made, shape: Shape) -> Path:
    """A new place for a package's files, which nothing names yet."""
    place = folder / f"{named(made, shape)}.{uuid.uuid4().hex[:8]}"
    place.mkdir(parents=True)
    return place


def keep(place: Path, made: Made, shape: Shape) -> Package:
    """Name a place by its NAME.json, whole or not at all, and drop what that named before."""
    path = place.parent / f"{named(made, shape)}.json"
    inside = sorted(one for one in place.rglob("*") if one.is_file())
    files = identity.used((one.relative_to(place).as_posix(), one) for one in inside)
    entries = {
        one.role: (one.size, total) for one, total in zip(files, identity.sums(files), strict=True)
    }
    package = Package(path, made, shape, place.name, entries)
    before = None
    with suppress(OSError, ValueError):
        before = _read(path).place
    data = {"made": asdict(made), "shape": shape._asdict(), "folder": place.name, "files": entries}
    atomic.write(path, json.dumps(data, indent=1).encode())
    if before:
        shutil.rmtree(before, ignore_errors=True)
    return package


def _read(path: Path) -> Package:
    try:
        data = json.loads(path.read_text("utf-8"))
        made, shape, folder, files = (data[key] for key in ("made", "shape", "folder", "files"))
        package = Package(path, Made(**made), Shape(**shape), folder, {
            name: (size, total) for name, (size, total) in files.items()
        })  # fmt: skip
        types = [type(getattr(package.made, field.name)) is field.type for field in fields(Made)]
        plain = [_is_inside(name) for name in (folder, *files)]
        counts = [type(n) is int and n > 0 for n in package.shape]
        if not all([*types, *plain, *counts, "/" not in folder]):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadInput(f"package {path.name} is damaged: {REMAKE}") from None
    return package


def _is_inside(name: str) -> bool:
    """Whether a name stays in its folder."""
    return not name.startswith("/") and not {"", ".", ".."} & set(name.split("/"))


def _differing(one: Made, other: Made) -> list[str]:
    """Names of what differs, the format first: of another format nothing else is sure."""
    names = [field.name for field in fields(Made)]
    return [name for name in (names[-1], *names[:-1]) if getattr(one, name) != getattr(other, name)]

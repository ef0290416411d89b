"""Packages on disk: a UNet compiled ahead of time for one shape, and where it can run.

A package is NAME.json and a folder that it names. The folder holds machine code: load only packages
that you trust.
"""

import json
import shutil
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

from mdp_lite.checkpoint import identity
from mdp_lite.files import atomic
from mdp_lite.names import BadInput, CannotWrite

FORMAT = 2
REBUILD = "make one here with mdp-lite compile"


class Shape(NamedTuple):
    """The shape of a call: rows, height and width in cells of the latent, tokens of the text."""

    rows: int
    height: int
    width: int
    tokens: int


@dataclass(frozen=True)
class BuildTarget:
    """What a package was built for and with, besides the shape; it runs only if all are equal."""

    mdp_lite: str
    torch: str
    device: str
    dtype: str
    model: str
    attention: str
    weights: str
    format: int = FORMAT


class Package(NamedTuple):
    """One package: its NAME.json and the content of it; files maps names to size and SHA-256."""

    path: Path
    target: BuildTarget
    shape: Shape
    folder: str
    files: dict[str, tuple[int, str]]

    @property
    def code_folder(self) -> Path:
        """The folder of the machine code."""
        return self.path.parent / self.folder

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(size for size, _ in self.files.values())


def read_packages(folder: Path) -> list[Package]:
    """All packages of a folder; raises BadInput if there are none, or one is damaged."""
    packages = [_read(path) for path in sorted(folder.glob("*.json")) if path.name != identity.NAME]
    if not packages:
        raise BadInput(f"no packages in {str(folder)!r}: {REBUILD}")
    return packages


def match_packages(packages: Iterable[Package], target: BuildTarget) -> dict[Shape, Package]:
    """The packages for exactly this target, by shape; raises BadInput if there are none."""
    matches = {one.shape: one for one in packages if one.target == target}
    if not matches:
        nearest = min(packages, key=lambda one: len(_find_differences(one.target, target)))
        raise BadInput(refusal(nearest, target))
    return matches


def refusal(package: Package, target: BuildTarget) -> str:
    """The reason why a package can't be used for a target."""
    name = _find_differences(package.target, target)[0]
    theirs, ours = (getattr(one, name) for one in (package.target, target))
    return f"package {package.path.name} was made for {name} {theirs}, want {ours}: {REBUILD}"


def verify(package: Package) -> None:
    """Raises BadInput unless all files are unchanged; hashes of unchanged files are stored."""
    name = package.path.name
    with suppress(OSError):
        files = identity.stat_files((part, package.code_folder / part) for part in package.files)
        sizes = [size for size, _ in package.files.values()]
        if [one.size for one in files] == sizes:
            hashes = identity.file_hashes(files, package.path.parent)
            if hashes == [total for _, total in package.files.values()]:
                return
    raise BadInput(f"package {name} is damaged, a file of it is not as it was: {REBUILD}")


def package_name(target: BuildTarget, shape: Shape) -> str:
    """A package's name. It has no version of torch, so a newer package replaces an older one."""
    sizes, device = "x".join(map(str, shape)), target.device.split()[0]
    return f"{sizes}-{target.dtype}-{device}-{target.model[:12]}"


def create_folder(folder: Path, target: BuildTarget, shape: Shape) -> Path:
    """Create a folder for a package's files; no NAME.json names it yet. Raises CannotWrite."""
    code_folder = folder / f"{package_name(target, shape)}.{uuid.uuid4().hex[:8]}"
    try:
        code_folder.mkdir(parents=True)
    except OSError as error:
        raise CannotWrite(error.errno, error.strerror, str(code_folder)) from None
    return code_folder


def save_package(code_folder: Path, target: BuildTarget, shape: Shape) -> Package:
    """Write the NAME.json of a package atomically, and delete the files of older ones."""
    path = code_folder.parent / f"{package_name(target, shape)}.json"
    inside = sorted(one for one in code_folder.rglob("*") if one.is_file())
    files = identity.stat_files((one.relative_to(code_folder).as_posix(), one) for one in inside)
    entries = {
        one.role: (one.size, total)
        for one, total in zip(files, identity.file_hashes(files), strict=True)
    }
    package = Package(path, target, shape, code_folder.name, entries)
    old = None
    with suppress(OSError, ValueError):
        old = _read(path).code_folder
    data = {"target": asdict(target), "shape": shape._asdict()}
    data |= {"folder": code_folder.name, "files": entries}
    atomic.write(path, json.dumps(data, indent=1).encode())
    if old:
        shutil.rmtree(old, ignore_errors=True)
    _sweep(package)
    return package


def _sweep(package: Package) -> None:
    """Remove folders for the same package that killed processes left a day ago or earlier."""
    for one in package.path.parent.glob(f"{package.path.stem}.????????"):
        with suppress(OSError):
            is_old = time.time() - one.stat().st_mtime > atomic.DAY
            if is_old and one != package.code_folder and one.is_dir():
                shutil.rmtree(one, ignore_errors=True)


def _read(path: Path) -> Package:
    try:
        data = json.loads(path.read_text("utf-8"))
        target, shape, folder, files = (data[key] for key in ("target", "shape", "folder", "files"))
        package = Package(path, BuildTarget(**target), Shape(**shape), folder, {
            name: (size, total) for name, (size, total) in files.items()
        })  # fmt: skip
        types = [
            type(getattr(package.target, field.name)) is field.type for field in fields(BuildTarget)
        ]
        plain = [_is_inside(name) for name in (folder, *files)]
        counts = [type(n) is int and n > 0 for n in package.shape]
        if not all([*types, *plain, *counts, "/" not in folder]):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadInput(f"package {path.name} is damaged: {REBUILD}") from None
    return package


def _is_inside(name: str) -> bool:
    """Whether a name stays in its folder."""
    return not name.startswith("/") and not {"", ".", ".."} & set(name.split("/"))


def _find_differences(one: BuildTarget, other: BuildTarget) -> list[str]:
    """Names of the fields that differ, the format first: it decides what the others mean."""
    names = [field.name for field in fields(BuildTarget)]
    return [name for name in (names[-1], *names[:-1]) if getattr(one, name) != getattr(other, name)]

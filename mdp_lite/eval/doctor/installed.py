"""The doctor on what is installed: the versions of packages, and the extras."""

import re
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import mdp_lite
from mdp_lite.cli.commands.doctor import DoctorOptions
from mdp_lite.eval.doctor.check import Check, judge
from mdp_lite.version import __version__

NAME = "mdp-lite"
# That add commands or benchmarks.
EXTRAS = ("app", "serve", "mcp", "trace", "ray", "eval", "bench", "peers")
CORE = (  # what every installation needs, and what it may have; where pip's own list is not known
    "torch", "transformers", "tokenizers", "safetensors", "huggingface_hub", "einops", "pillow",
    "numpy", "tqdm", "typer",
)  # fmt: skip
OTHERS = ("triton", "diffusers")  # which a bug report should name, if they are here


class Requirement(NamedTuple):
    """A package that is needed, the least version of it, and the extra that needs it or ""."""

    package: str
    least: str
    extra: str


def check_versions(args: DoctorOptions) -> Check:
    """The versions of what mdp_lite needs, none missing or older than it may be."""
    needed = [one for one in list_requirements() if not one.extra]
    needed = needed or [Requirement(name, "", "") for name in CORE]
    versions = {one.package: find_version(one.package) for one in needed}
    bad = [describe_lack(one) for one in needed if lacks(one)]
    versions |= {name: found for name in OTHERS if (found := find_version(name))}
    folder = Path(mdp_lite.__file__).parent
    text = f"mdp_lite {__version__} in {folder}: " + ", ".join(
        f"{name} {found or 'missing'}" for name, found in versions.items()
    )
    text += "".join(f"; {one}" for one in bad)
    advice = f"pip install --upgrade {' '.join(one.package for one in needed if lacks(one))}"
    figures = {"mdp_lite": __version__, "folder": str(folder), "packages": versions}
    return judge("versions", not bad, text, advice, figures)


def check_extras(args: DoctorOptions) -> Check:
    """Which extras are installed; one that is whole but too old fails."""
    every = list_requirements()
    extras = {name: [one for one in every if one.extra == name] for name in EXTRAS}
    whole = {name: all(find_version(one.package) for one in some) and bool(some)
             for name, some in extras.items()}  # fmt: skip
    old = [one for name in EXTRAS if whole[name] for one in extras[name] if lacks(one)]
    here, absent = ([name for name in EXTRAS if whole[name] is want] for want in (True, False))
    text = f"found: {', '.join(here) or 'none'}"
    text += f"; not installed: {', '.join(absent)}" if absent else ""
    text += "".join(f"; {describe_lack(one)}" for one in old)
    names = ",".join(dict.fromkeys(one.extra for one in old))
    advice = f"pip install --upgrade '{NAME}[{names}]'"
    return judge("extras", not old, text, advice, {"found": here, "absent": absent})


def list_requirements() -> list[Requirement]:
    """What the installed mdp-lite says that it needs; nothing if it is not installed by pip."""
    try:
        lines = metadata.requires(NAME) or []
    except metadata.PackageNotFoundError:
        return []
    found = (read_requirement(line) for line in lines)
    return [one for one in found if one.package.lower() != NAME]


def read_requirement(line: str) -> Requirement:
    """A line of a package's metadata, as of pip's.

    >>> read_requirement('pyarrow>=17; extra == "ray"')
    Requirement(package='pyarrow', least='17', extra='ray')
    """
    package = re.match(r"[\w.-]+", line)
    least = re.search(r">=\s*([\w.]+)", line.partition(";")[0])
    extra = re.search(r"""extra\s*==\s*["']([\w.-]+)["']""", line)
    return Requirement(*(one[one.re.groups] if one else "" for one in (package, least, extra)))


def find_version(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def lacks(one: Requirement) -> bool:
    """Whether a package is missing, or older than it may be."""
    found = find_version(one.package)
    return found is None or read_numbers(found) < read_numbers(one.least)


def describe_lack(one: Requirement) -> str:
    """The same in words."""
    want = f" {one.least} or later" if one.least else ""
    return f"{one.package}{want} is needed, got {find_version(one.package) or 'none'}"


def read_numbers(version: str) -> tuple[int, ...]:
    """The numbers of a release: 2.13.0+cpu -> (2, 13, 0); what follows them does not count."""
    numbers = re.match(r"[\d.]*", version)
    return tuple(int(part) for part in (numbers[0] if numbers else "").split(".") if part)

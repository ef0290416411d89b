"""A row of a job: a source, the targets it is edited towards, and how; read from text or JSON."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import NamedTuple

from mdp_lite.batch.cells import Values, read
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD, METHODS, Inversion

INVERTING = (
    "fit", "method", "inversion_steps", "iterations", "inner_steps", "early_stop", "inversion_seed",
)  # fmt: skip
SAMPLING = ("source_prompt", "steps", "negative_prompt", "width", "height")
STEERING = (
    "variant", "t_max", "t_m", "schedule", "strength", "proximal", "guidance_scale", "mask", "box",
    "auto_mask", "feather", "paste",
)  # fmt: skip
SETTINGS = tuple(dict.fromkeys((*SAMPLING, "seed", *INVERTING, *STEERING)))
EITHER = (("mask", "box", "auto_mask"), ("strength", "t_m"))  # a row's own drops the job's others
LONGEST = 200  # bytes of a part of a name: file systems take 255, and the key comes behind
DEEPEST = 1000  # bytes of a whole name: paths may have 4096, and the output's comes before


@dataclass(frozen=True, slots=True)
class Start:
    """What a source is made from: a picture's file, or a prompt and a seed.

    What is None is the model's default. guidance_scale is None where edits alone are guided.
    """

    image: str | None = None
    source_prompt: str = ""
    seed: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str = ""
    width: int | None = None
    height: int | None = None
    fit: str = "crop"
    method: str = DEFAULT_METHOD
    inversion_steps: int | None = None
    iterations: int | None = None
    inner_steps: int | None = None
    early_stop: float | None = None
    inversion_seed: int | None = None

    @property
    def how(self) -> Inversion:
        """How the picture is inverted."""
        return Inversion(
            self.method, self.inversion_steps, self.iterations, self.inner_steps, self.early_stop,
            None, self.inversion_seed,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """What a source is edited towards, and how; see Editor.edit. mask is a picture's file."""

    prompt: str
    variant: str | None = None
    t_max: float | None = None
    t_m: float | None = None
    schedule: str | None = None
    strength: float | None = None
    proximal: float | None = None
    guidance_scale: float | None = None
    mask: str | None = None
    box: tuple[int, ...] | None = None
    auto_mask: bool = False
    feather: int = 0
    paste: bool = True


class Raw(NamedTuple):
    """A row as its job has it; problem says why it is none."""

    number: int
    values: Values
    problem: str | None = None


class Row(NamedTuple):
    """A row that was read. name is that of its files, but for their keys."""

    number: int
    name: str
    start: Start
    targets: tuple[Target, ...]


class Wanted(NamedTuple):
    """One edit: the row that asks for it, and the name of its file."""

    row: int
    name: str
    target: Target


class Unit(NamedTuple):
    """What is worked on at once: a source and all edits of it, whichever rows ask for them."""

    start: Start
    wanted: tuple[Wanted, ...]


def row_of(raw: Raw, defaults: Values) -> Row:
    """A row with the job's defaults where it says nothing; a bad one is a ValueError."""
    if raw.problem:
        raise ValueError(raw.problem)
    given = read(raw.values)
    taken = [names for names in EITHER if any(name in given for name in names)]
    dropped = {name for names in taken for name in names}
    values = {k: v for k, v in defaults.items() if k not in dropped} | given
    image = values.get("image")
    _check_source(given, values, image)
    name = checked_name(values.get("name") or own_name(image))
    steering = {key: values[key] for key in STEERING if key in values}
    targets = tuple(Target(prompt, **steering) for prompt in _prompts(given, defaults))
    return Row(raw.number, name, _start(values, image), targets)


def units_of(rows: list[Row]) -> list[Unit]:
    """Rows by their sources, in the order in which these first appear."""
    wanted: dict[Start, list[Wanted]] = {}
    for row in rows:
        every = [Wanted(row.number, row.name, target) for target in row.targets]
        wanted.setdefault(row.start, []).extend(every)
    return [Unit(start, tuple(some)) for start, some in wanted.items()]


def key_of(
    model: str, start: Start, one: Wanted, image: str | None = None, mask: str | None = None
) -> str:
    """SHA-256 of what an edit depends on, image and mask by their content; a row's number is not.

    The name is part of it, so that a key and a file are one to one.
    """
    said = {
        "model": model,
        "start": asdict(start) | {"image": image},
        "target": asdict(one.target) | {"mask": mask},
        "name": one.name,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def own_name(image: str | None) -> str:
    """What a row is called that has no name: its picture's, in its folder if the job has that."""
    if image is None:
        return "generated"
    path = PurePath(image)
    inside = not path.is_absolute() and ".." not in path.parts
    return (path.parent / path.stem if inside else PurePath(path.stem)).as_posix()


def checked_name(name: str) -> str:
    """A name, perhaps in folders, that can't lead out of the output."""
    for part in name.split("/"):
        odd = part in ("", ".", "..") or "\\" in part or any(ord(c) < 32 for c in part)
        if odd or len(os.fsencode(part)) > LONGEST:
            want = f"a relative path of parts of at most {LONGEST} bytes"
            raise ValueError(f"name must be {want}, got {name!r:.300}")
    if len(os.fsencode(name)) > DEEPEST:
        raise ValueError(f"name must have at most {DEEPEST} bytes, got {name!r:.300}")
    return name


def _check_source(given: Values, values: Values, image: str | None) -> None:
    if image is None and not values.get("source_prompt"):
        raise ValueError("a row needs an image or a source_prompt, got neither")
    if image is not None and "seed" in given:
        seed = given["seed"]
        raise ValueError(f"seed is for a source made from a prompt, got {seed} and an image")
    for name in INVERTING if image is None else ():
        if name in given:
            raise ValueError(f"{name} is for inverting an image, got {given[name]!r} without one")
    if (method := values.get("method", DEFAULT_METHOD)) not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")


def _start(values: Values, image: str | None) -> Start:
    """Its fields that concern a picture, or else a prompt; so equal sources are equal."""
    own: Values = {"seed": values.get("seed", 0)}
    names, guided = SAMPLING, True
    if image is not None:
        own = {"image": str(PurePath(image))}
        names, guided = (
            (*SAMPLING, *INVERTING),
            METHODS[values.get("method", DEFAULT_METHOD)].repeats,
        )
    names = (*names, "guidance_scale") if guided else names
    return Start(**{name: values[name] for name in names if name in values} | own)


def _prompts(given: Values, defaults: Values) -> list[str]:
    if "prompt" in given and "prompts" in given:
        raise ValueError("prompt and prompts say the same thing: give one of them")
    prompts = [given["prompt"]] if "prompt" in given else given.get("prompts")
    prompts = prompts or defaults.get("prompts")
    if not prompts:
        raise ValueError("a row needs a prompt or prompts, got none and the job has none for all")
    return prompts

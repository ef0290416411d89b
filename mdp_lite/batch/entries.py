"""An entry of a job: a source, the prompts that it is edited towards, and all settings."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

from mdp_lite.batch.columns import EntryValues, read_values
from mdp_lite.cli.xl import SHARED, build_xl
from mdp_lite.names import BadInput
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD, METHODS, Inversion
from mdp_lite.pipeline.xl import PLAIN, XLCondition

INVERSION_FIELDS = (
    "fit", "method", "inversion_steps", "iterations", "inner_steps", "early_stop", "inversion_seed",
)  # fmt: skip
SAMPLING_FIELDS = ("source_prompt", "steps", "negative_prompt", "width", "height")
EDIT_FIELDS = (
    "variant", "t_max", "t_m", "schedule", "strength", "weight", "proximal", "guidance_every",
    "guidance_scale", "mask", "box", "auto_mask", "feather", "paste",
)  # fmt: skip
XL_TEXTS = ("source_prompt_2", "prompt_2", "negative_prompt_2")
XL_FIELDS = (*XL_TEXTS[:2], *SHARED)
SETTINGS = tuple(
    dict.fromkeys(
        (*SAMPLING_FIELDS, "seed", "record_noise", *INVERSION_FIELDS, *EDIT_FIELDS, *XL_FIELDS)
    )
)
# An entry that sets one field of a group drops the job's defaults for the others of the group.
EXCLUSIVE = (("mask", "box", "auto_mask"), ("strength", "t_m"))
MAX_PART_BYTES = 200  # of a part of a name: file systems take 255, and the key is appended
MAX_NAME_BYTES = 1000  # of a whole name: paths may have 4096, and the output folder comes before

FileContents = dict[str, bytes]  # by the name that an entry gives


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """What a source is made from: a picture's file, or a prompt and a seed.

    A field that is None is the model's default. guidance_scale is None if only the edits are
    guided. The names of the fields are part of every key: see key_of.
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
    xl: XLCondition = PLAIN
    record_noise: bool = False
    record_direction: bool = False

    @property
    def inversion(self) -> Inversion:
        """The inversion of the picture, with its settings."""
        return Inversion(
            self.method, self.inversion_steps, self.iterations, self.inner_steps, self.early_stop,
            None, self.inversion_seed,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """A prompt that a source is edited towards, and the settings of Editor.edit.

    mask is a picture's file. The names of the fields are part of every key: see key_of.
    """

    prompt: str
    variant: str | None = None
    t_max: float | None = None
    t_m: float | None = None
    schedule: str | None = None
    strength: float | None = None
    weight: float | None = None
    proximal: float | None = None
    guidance_scale: float | None = None
    mask: str | None = None
    box: tuple[int, ...] | None = None
    auto_mask: bool = False
    feather: int = 0
    paste: bool = True
    xl: XLCondition = PLAIN
    guidance_every: int = 1


class RawEntry(NamedTuple):
    """An entry before it is read; problem says why it can't be read, if its job knows that."""

    number: int
    values: EntryValues
    problem: str | None = None


class Entry(NamedTuple):
    """An entry that was read. Its files are called after name, followed by their keys."""

    number: int
    name: str
    source: SourceSpec
    targets: tuple[TargetSpec, ...]


class BatchEdit(NamedTuple):
    """One edit: the number of the entry that asks for it, the name of its file, the target."""

    number: int
    name: str
    target: TargetSpec


class BatchTask(NamedTuple):
    """An edit with its key and its file below the output; problem says why it can't be made."""

    edit: BatchEdit
    key: str
    file: str
    problem: str | None = None


class BatchUnit(NamedTuple):
    """The unit of work: one source, and all edits of it from all entries."""

    source: SourceSpec
    edits: tuple[BatchEdit, ...]


def read_entry(raw: RawEntry, defaults: EntryValues) -> Entry:
    """Read an entry; the job's defaults fill what it leaves out. Raises BadInput."""
    if raw.problem:
        raise BadInput(raw.problem)
    own = read_values(raw.values)
    groups = [names for names in EXCLUSIVE if any(name in own for name in names)]
    dropped = {name for names in groups for name in names}
    values = {k: v for k, v in defaults.items() if k not in dropped} | own
    image = values.get("image")
    _check_source(own, values, image)
    name = check_name(values.get("name") or default_name(image))
    settings = {key: values[key] for key in EDIT_FIELDS if key in values}
    settings["xl"] = build_xl(values)
    targets = tuple(TargetSpec(prompt, **settings) for prompt in _read_prompts(own, defaults))
    return Entry(raw.number, name, _read_source(values, image), targets)


def group_by_source(entries: list[Entry]) -> list[BatchUnit]:
    """Group the edits of all entries by source, in the order in which sources first appear."""
    groups: dict[SourceSpec, list[BatchEdit]] = {}
    for entry in entries:
        edits = [BatchEdit(entry.number, entry.name, target) for target in entry.targets]
        groups.setdefault(entry.source, []).extend(edits)
    return [BatchUnit(source, tuple(edits)) for source, edits in groups.items()]


def key_of(
    model: str, source: SourceSpec, edit: BatchEdit, image: str | None = None,
    mask: str | None = None,
) -> str:  # fmt: skip
    """SHA-256 over everything that an edit depends on; image and mask are digests of the files.

    The entry's number is not part of it. The name is, so that each file has its own key. Manifests
    hold these keys: changing a name in this dictionary would make every edit again.
    """
    facts = {
        "model": model,
        "start": _list_facts(source) | {"image": image},
        "target": _list_facts(edit.target) | {"mask": mask},
        "name": edit.name,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _list_facts(spec: SourceSpec | TargetSpec) -> dict[str, Any]:
    """The fields of a spec; keys of earlier versions had none of those in later."""
    unused = {"weight": None, "record_noise": False, "record_direction": False, "guidance_every": 1}
    facts = {
        name: value
        for name, value in asdict(spec).items()
        if name != "xl" and not (name in unused and value == unused[name])
    }
    return facts | ({"xl": read} if (read := spec.xl.describe()) else {})


def default_name(image: str | None) -> str:
    """The name of an entry that gives none: its picture's, with folders below the job's folder."""
    if image is None:
        return "generated"
    path = PurePath(image)
    inside = not path.is_absolute() and ".." not in path.parts
    return (path.parent / path.stem if inside else PurePath(path.stem)).as_posix()


def check_name(name: str) -> str:
    """Return the name, a relative path inside the output. Raises BadInput if it leads out of it."""
    for part in name.split("/"):
        odd = part in ("", ".", "..") or "\\" in part or any(ord(c) < 32 for c in part)
        if odd or len(os.fsencode(part)) > MAX_PART_BYTES:
            want = f"a relative path of parts of at most {MAX_PART_BYTES} bytes"
            raise BadInput(f"name must be {want}, got {name!r:.300}")
    if len(os.fsencode(name)) > MAX_NAME_BYTES:
        raise BadInput(f"name must have at most {MAX_NAME_BYTES} bytes, got {name!r:.300}")
    return name


def _check_source(own: EntryValues, values: EntryValues, image: str | None) -> None:
    """Check that the entry's own fields fit its kind of source."""
    if image is None and not values.get("source_prompt"):
        raise BadInput("a row needs an image or a source_prompt, got neither")
    for name in ("seed", "record_noise") if image is not None else ():
        if (got := own.get(name, False)) is not False:
            raise BadInput(f"{name} is for a source made from a prompt, got {got} and an image")
    for name in INVERSION_FIELDS if image is None else ():
        if name in own:
            raise BadInput(f"{name} is for inverting an image, got {own[name]!r} without one")
    if (method := values.get("method", DEFAULT_METHOD)) not in METHODS:
        raise BadInput(f"method must be one of {', '.join(METHODS)}, got {method!r}")


def _read_source(values: EntryValues, image: str | None) -> SourceSpec:
    """Take only the fields that this kind of source uses, so that equal sources are equal."""
    extra: EntryValues = {
        "seed": values.get("seed", 0),
        "record_noise": values.get("record_noise", False),
    }
    directed = {"record_direction": values.get("guidance_every", 1) > 1}
    names, guided = SAMPLING_FIELDS, True
    if image is not None:
        extra = {"image": str(PurePath(image))}
        names = (*SAMPLING_FIELDS, *INVERSION_FIELDS)
        guided = METHODS[values.get("method", DEFAULT_METHOD)].repeats_guidance
    names = (*names, "guidance_scale") if guided else names
    extra["xl"] = build_xl(values, "source_prompt_2")
    return SourceSpec(**{name: values[name] for name in names if name in values} | extra | directed)


def _read_prompts(own: EntryValues, defaults: EntryValues) -> list[str]:
    if "prompt" in own and "prompts" in own:
        raise BadInput("prompt and prompts say the same thing: give one of them")
    prompts = [own["prompt"]] if "prompt" in own else own.get("prompts")
    prompts = prompts or defaults.get("prompts")
    if not prompts:
        raise BadInput("a row needs a prompt or prompts, got none and the job has none for all")
    return prompts

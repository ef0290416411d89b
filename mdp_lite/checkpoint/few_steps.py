"""Whether a checkpoint was distilled to a few steps: Turbo, LCM, Lightning, Hyper, TCD.

No config says so, and a scheduler's class or spacing proves nothing. What counts are names: of the
checkpoint, of its repository, in its model card and in the metadata of its file.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

WORDS = ("turbo", "sdturbo", "lcm", "lightning", "tcd")
# "hyper" alone is Hyper-SD, but "hyper realistic" is praise: only these may follow it.
AFTER_HYPER = ("sd", "sdxl", "vae", "step", "steps", "")
CARD_KEYS = ("base_model", "model_name", "tags")
METADATA_KEYS = ("modelspec.title", "modelspec.tags", "modelspec.merged_from", "ss_output_name")
CARD_BYTES = 20_000
HEADER_BYTES = 100_000_000  # as in safetensors' own limit


class FewSteps(NamedTuple):
    """A model of few steps: its kind, why it is one, its steps if a name says them.

    word is "turbo", "lcm", "lightning", "hyper" or "tcd". clean: it predicts the clean latent, x0.
    cfg: it is guided as other models are. add_on: a LoRA makes it so, whatever the checkpoint says.
    whole: its name says that it is a UNet, not a LoRA that was merged.
    """

    word: str
    reason: str
    steps: int | None = None
    clean: bool = False
    cfg: bool = False
    add_on: bool = False
    whole: bool = False


class Clue(NamedTuple):
    """A text that may name a kind of model, and where it stands."""

    where: str
    text: str


def find_few_steps(name: str, folder: Path | None, files: tuple[Path, ...]) -> FewSteps | None:
    """What kind of few steps, and why ("the name sd-turbo says turbo"), or None."""
    for clue in _list_clues(name, folder, files):
        word = find_word(clue.text)
        if word:
            reason, text = (
                f"{clue.where} {clue.text[:80]} says {word}",
                f"{name} {clue.text}".lower(),
            )
            steps = re.search(r"(?<![0-9])([0-9]{1,2})[ _-]?steps?(?![a-z])", text)
            return FewSteps(
                "turbo" if word == "sdturbo" else word, reason, int(steps[1]) if steps else None,
                bool(re.search(r"(?<![a-z0-9])x0(?![a-z0-9])", text)),
                bool(re.search(r"(?<![a-z])cfg(?![a-z])", text)),
                whole=bool(re.search(r"(?<![a-z])unet(?![a-z])", text)),
            )  # fmt: skip
    return None


def find_word(text: str) -> str | None:
    """The word of a name that says turbo, lcm, lightning, hyper or tcd, in any spelling of names.

    >>> find_word("DreamShaper8_LCM"), find_word("v51HyperVAE"), find_word("HyperRealism")
    ('lcm', 'hyper', None)
    """
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", text)
    words = [word.lower() for word in words] + [""]
    for word, following in zip(words, words[1:], strict=False):
        if word in WORDS:
            return word
        if word == "hyper" and (following in AFTER_HYPER or following.isdigit()):
            return word
    return None


def _list_clues(name: str, folder: Path | None, files: tuple[Path, ...]) -> Iterator[Clue]:
    yield Clue("the name", name.removesuffix(".safetensors"))
    for part in files[0].parts:  # of a snapshot in the hub's cache
        if part.startswith("models--"):
            yield Clue("the repository", part.removeprefix("models--").replace("--", "/"))
    yield from _read_card(folder / "README.md") if folder else _read_metadata(files[0])


def _read_card(path: Path) -> Iterator[Clue]:
    """The entries of a model card's YAML header that name a model."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        lines = file.read(CARD_BYTES).decode("utf-8", "replace").splitlines()
    if not lines or lines[0].strip() != "---":
        return
    key = ""
    for line in lines[1:]:
        if line.strip() == "---":
            return
        found = re.match(r"(\w+)\s*:\s*(.*)", line)
        key, value = found.groups() if found else (key, line.strip(" -"))
        if key in CARD_KEYS and value:
            yield Clue(f"{key} of the model card", value.strip("\"'[] "))


def _read_metadata(path: Path) -> Iterator[Clue]:
    """What the header of a safetensors file says of itself."""
    if path.suffix != ".safetensors":
        return
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size)) if size <= HEADER_BYTES else {}
    metadata = header.get("__metadata__") or {}
    for key in METADATA_KEYS:
        if isinstance(metadata.get(key), str):
            yield Clue(f"{key} in the file", metadata[key])

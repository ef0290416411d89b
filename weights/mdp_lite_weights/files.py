"""Reading a folder in the diffusers layout: configs as dicts, tensors mapped from disk."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

BUNDLED = {"tiny": Path(__file__).parent / "tiny"}
# Each part of a pipeline: its config file, and the names its weights may have.
PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "text_encoder": ("config.json", ("model.safetensors", "model.fp16.safetensors")),
    "unet": (
        "config.json",
        ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors"),
    ),
    "vae": (
        "config.json",
        ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors"),
    ),
}
DEFAULTS = "mdp_lite.json"  # an optional file of ours: the settings that suit this checkpoint


@dataclass(frozen=True)
class Checkpoint:
    """What a folder holds: configs by part (the scheduler's too), state dicts by part, defaults."""

    folder: Path
    configs: dict[str, dict[str, Any]]
    tensors: dict[str, dict[str, Tensor]]
    defaults: dict[str, Any]

    @property
    def tokenizer(self) -> Path:
        """The folder of vocab.json and merges.txt, or of tokenizer.json."""
        return self.folder / "tokenizer"


def locate(name: str | Path) -> Path:
    """The folder that a name means: a bundled checkpoint, or a path on disk."""
    want = f"a model must be one of {', '.join(BUNDLED)} or a folder in the diffusers layout"
    if not isinstance(name, str | Path) or name == "":
        raise ValueError(f"{want}, got {name!r}")
    if str(name) in BUNDLED:
        return BUNDLED[str(name)]
    if os.path.isdir(name):
        return Path(name)
    found = f"the file {name}" if os.path.isfile(name) else f"{str(name)[:200]!r}"
    raise ValueError(f"{want}, got {found}")


def open_checkpoint(name: str | Path) -> Checkpoint:
    """Read all configs and map all tensors of a checkpoint; a missing file is a ValueError."""
    folder = locate(name)
    configs = {part: read_json(folder / part / config) for part, (config, _) in PARTS.items()}
    configs["scheduler"] = read_json(folder / "scheduler" / "scheduler_config.json")
    check_tokenizer(folder / "tokenizer")
    weights = {part: find_weights(folder / part, names) for part, (_, names) in PARTS.items()}
    tensors = {part: read_tensors(path) for part, path in weights.items()}
    tensors["text_encoder"] = text_keys(tensors["text_encoder"])
    defaults = folder / DEFAULTS
    return Checkpoint(folder, configs, tensors, read_json(defaults) if defaults.exists() else {})


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; anything else is a ValueError that names the file."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"a checkpoint folder must hold {_short(path)}, found none") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{_short(path)} must be JSON: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{_short(path)} must be a JSON object, got {type(data).__name__}")
    return data


def check_tokenizer(folder: Path) -> None:
    """A tokenizer's files must be there, and of CLIP's kind if they say of which."""
    names = {path.name for path in folder.glob("*")}
    if not ({"vocab.json", "merges.txt"} <= names or "tokenizer.json" in names):
        got = ", ".join(sorted(names)) or "nothing"
        raise ValueError(
            f"tokenizer must hold vocab.json and merges.txt, or tokenizer.json, got {got}"
        )
    if "tokenizer_config.json" in names:
        kind = read_json(folder / "tokenizer_config.json").get("tokenizer_class", "CLIPTokenizer")
        if kind not in ("CLIPTokenizer", "CLIPTokenizerFast"):
            raise ValueError(f"tokenizer_class must be CLIPTokenizer, got {kind!r}")


def find_weights(folder: Path, names: tuple[str, ...]) -> Path:
    """The weight file of a part; pickled weights are refused by name."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    pickles = sorted(p.name for p in folder.glob("*") if p.suffix in (".bin", ".ckpt", ".pt"))
    found = f"found {pickles[0]}, a pickle, which is never loaded" if pickles else "found none"
    raise ValueError(f"{folder.name} must hold {' or '.join(names)}; {found}")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, mapped: no byte is read before it is used."""
    try:
        with safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{_short(path)} is not a readable safetensors file: {error}") from None


def text_keys(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """CLIP keys with their text_model. prefix, which transformers 5.6 and later leave out."""
    kept = {k: v for k, v in tensors.items() if not k.endswith("position_ids")}
    if any(key.startswith("text_model.") for key in kept):
        return kept
    return {f"text_model.{key}": tensor for key, tensor in kept.items()}


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"

"""The diffusers folder layout: which files are read, shards, variants, and old names of keys."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from mdp_lite_weights import keys
from mdp_lite_weights.families import refuse_channels, refuse_pipeline
from mdp_lite_weights.hub import safe_name
from mdp_lite_weights.tensors import PICKLES, first, read_tensors, short

Tensors = dict[str, Tensor]
Config = dict[str, Any]

STEMS = {
    "text_encoder": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}
CONFIGS = {
    "text_encoder": "text_encoder/config.json",
    "unet": "unet/config.json",
    "vae": "vae/config.json",
    "scheduler": "scheduler/scheduler_config.json",
}
TOKENIZER = (
    "vocab.json merges.txt tokenizer.json tokenizer_config.json special_tokens_map.json "
    "added_tokens.json"
).split()
DEFAULTS = "mdp_lite.json"  # an optional file of ours: the settings that suit this checkpoint


def choose(names: set[str], variant: str | None) -> list[str]:
    """Of all files of a repository, those that open_folder reads, and no other."""
    wanted = [*CONFIGS.values(), "model_index.json", DEFAULTS]
    wanted += [f"tokenizer/{name}" for name in TOKENIZER]
    chosen = [name for name in wanted if name in names]
    for part, stem in STEMS.items():
        chosen += weight_files(part, stem, names, variant)
    return chosen


def choose_part(part: str, names: set[str], variant: str | None) -> list[str]:
    """The files of one model, in a repository of its own or in a whole checkpoint's."""
    at = "" if "config.json" in names else f"{part}/"
    files = weight_files(at.rstrip("/"), STEMS[part], names, variant)
    return [name for name in (f"{at}config.json",) if name in names] + files


def weight_files(part: str, stem: str, names: set[str], variant: str | None) -> list[str]:
    """The weight file of a part, or its index and shards; none or a pickle alone is a ValueError.

    Without a variant the plain file is taken, and fp16 where that is all there is.
    """
    for kind in (variant,) if variant else (None, "fp16"):
        for name in _candidates(stem, kind):
            at = f"{part}/{name}".lstrip("/")
            if at in names:
                return [at, *_shards(part, stem, kind, names)] if name.endswith(".json") else [at]
    here = sorted(name for name in names if name.rpartition("/")[0] == part)
    pickles = [name for name in here if name.endswith(PICKLES)]
    found = f"found {', '.join(n.rpartition('/')[2] for n in here) or 'nothing'}"
    if pickles:
        found = f"found {pickles[0].rpartition('/')[2]}, a pickle, which is never loaded: "
        found += "`mdp-lite convert` makes safetensors of it"
    want = _candidates(stem, variant)[0] if variant else f"{stem}.safetensors"
    raise ValueError(f"{part or 'the folder'} must hold {want}; {found}")


def read_weights(folder: Path, files: list[str]) -> Tensors:
    """The tensors of weight_files: of one file, or of all shards that an index names."""
    if not files[0].endswith(".json"):
        return read_tensors(folder / files[0])
    index = folder / files[0]
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
        raise ValueError(f"{short(index)} must map keys to files (weight_map), got {places!r:.80}")
    tensors: Tensors = {}
    for name in dict.fromkeys(places.values()):
        if "/" in safe_name(name) or not (index.parent / name).is_file():
            raise ValueError(f"{short(index)} names the shard {name!r}, which is not beside it")
        tensors |= read_tensors(index.parent / name)
    if set(tensors) != set(places):
        odd = sorted(set(tensors) ^ set(places))
        raise ValueError(f"{short(index)} and its shards hold other keys{first(odd)}")
    return tensors


def read_part(folder: Path, part: str, variant: str | None) -> tuple[Config, Tensors, list[Path]]:
    """Config, tensors under today's names, and files of a model; a folder may hold it alone."""
    names = names_in(folder)
    chosen = choose_part(part, names, variant)
    at = "" if "config.json" in names else f"{part}/"
    config, files = read_json(folder / f"{at}config.json"), [n for n in chosen if "config" not in n]
    tensors = modern(part, read_weights(folder, files))
    return config, tensors, [folder / name for name in chosen]


def modern(part: str, tensors: Tensors) -> Tensors:
    """Tensors under the names that the models have, whichever version wrote them."""
    if part == "text_encoder":
        return text_keys(tensors)
    if part == "vae":
        return flat_attention(keys.renamed(tensors, keys.modern_vae_key))
    return tensors


def text_keys(tensors: Tensors) -> Tensors:
    """CLIP keys with their text_model. prefix, which transformers 5.6 and later leave out."""
    kept = {k: v for k, v in tensors.items() if not k.endswith("position_ids")}
    kept = {k: v for k, v in kept.items() if not k.startswith("text_projection.")}
    if any(key.startswith("text_model.") for key in kept):
        return kept
    return {f"text_model.{key}": tensor for key, tensor in kept.items()}


def flat_attention(tensors: Tensors) -> Tensors:
    """VAE attention as linear layers, where a file has it as 1x1 convolutions: views."""
    return {
        key: tensor[:, :, 0, 0] if ".attentions." in key and tensor.ndim == 4 else tensor
        for key, tensor in tensors.items()
    }


def check_pipeline(folder: Path, configs: dict[str, Config]) -> None:
    """A folder of another family is refused by its own name for itself."""
    index = folder / "model_index.json"
    if index.is_file():
        refuse_pipeline(f"the folder {folder.name}", read_json(index).get("_class_name"))
    refuse_channels(f"the folder {folder.name}", configs["unet"].get("in_channels"))


def names_in(folder: Path) -> set[str]:
    """The files of a folder and of its parts, as a repository lists them."""
    inside: Iterable[Path] = (*folder.glob("*"), *folder.glob("*/*"))
    return {path.relative_to(folder).as_posix() for path in inside if path.is_file()}


def read_json(path: Path) -> Config:
    """A JSON object from a file; anything else is a ValueError that names the file."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"a checkpoint folder must hold {short(path)}, found none") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{short(path)} must be JSON: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{short(path)} must be a JSON object, got {type(data).__name__}")
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


def _candidates(stem: str, variant: str | None) -> list[str]:
    """File names of a part's weights in the order of preference; an index stands for shards."""
    if variant is None:
        return [f"{stem}.safetensors", f"{stem}.safetensors.index.json"]
    return [
        f"{stem}.{variant}.safetensors",
        f"{stem}.safetensors.index.{variant}.json",
        f"{stem}.{variant}.safetensors.index.json",
    ]


def _shards(part: str, stem: str, variant: str | None, names: set[str]) -> list[str]:
    """All shards of a variant: diffusers and transformers put its name at different places."""
    start = f"{part}/{stem}".lstrip("/")
    shards = [n for n in names if n.startswith(start) and "-of-" in n and n.endswith("safetensors")]
    return sorted(n for n in shards if (f".{variant}" in n if variant else n.count(".") == 1))

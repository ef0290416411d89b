"""The diffusers folder layout: choosing files, shards and variants, and renaming old keys."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from mdp_lite_weights import keys
from mdp_lite_weights.families import REFINER, refuse_pipeline
from mdp_lite_weights.hub import check_name
from mdp_lite_weights.tensors import PICKLES, list_keys, read_tensors, short

Tensors = dict[str, Tensor]
Config = dict[str, Any]

STEMS = {
    "text_encoder": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}
SECOND = "text_encoder_2"  # a part of SDXL alone
ALL_STEMS = STEMS | {SECOND: "model"}
# Beside a text encoder: a counter of old transformers, and what else a whole CLIP has.
TEXT_LEFTOVERS = ("position_ids",)
OTHER_HALF = ("text_projection.", "visual_projection.", "vision_model.", "logit_scale")
CONFIGS = {
    "text_encoder": "text_encoder/config.json",
    SECOND: f"{SECOND}/config.json",
    "unet": "unet/config.json",
    "vae": "vae/config.json",
    "scheduler": "scheduler/scheduler_config.json",
}
TOKENIZER = (
    "vocab.json merges.txt tokenizer.json tokenizer_config.json special_tokens_map.json "
    "added_tokens.json"
).split()
TOKENIZERS = ("tokenizer", "tokenizer_2")
DEFAULTS = "mdp_lite.json"  # an optional file of ours: default settings for this checkpoint


def choose_files(names: set[str], variant: str | None, parts: Iterable[str] = STEMS) -> list[str]:
    """Of all files of a repository, those that open_checkpoint reads for these parts."""
    check_variant(names, variant)
    wanted = [*CONFIGS.values(), "model_index.json", DEFAULTS]
    wanted += [f"{place}/{name}" for place in TOKENIZERS for name in TOKENIZER]
    chosen = [name for name in wanted if name in names]
    for part in parts:
        chosen += weight_files(part, ALL_STEMS[part], names, variant)
    return chosen


def choose_part(part: str, names: set[str], variant: str | None) -> list[str]:
    """The files of one model, in its own repository or in a whole checkpoint's."""
    at = "" if "config.json" in names else f"{part}/"
    files = weight_files(at.rstrip("/"), ALL_STEMS[part], names, variant)
    return [name for name in (f"{at}config.json",) if name in names] + files


def list_parts(names: set[str], own_vae: bool = True) -> list[str]:
    """The models that a folder must hold: a second text encoder only if there is one."""
    parts = [part for part in STEMS if own_vae or part != "vae"]
    return [*parts, SECOND] if CONFIGS[SECOND] in names else parts


def weight_files(part: str, stem: str, names: set[str], variant: str | None) -> list[str]:
    """The weight file of a part, or its index and shards.

    Without a variant the plain file is taken, or fp16 if there is no other; a part that lacks the
    variant falls back to these, as in diffusers. Raises ValueError if there is none, or only a
    pickle.
    """
    for kind in dict.fromkeys((variant, None, "fp16")) if variant else (None, "fp16"):
        found = [at for at in list_candidates(part, kind) if at in names]
        indices = [at for at in found if at.endswith(".json")]
        shards = _shards(part, stem, kind, names) if indices else []
        if shards and _prefers_shards(stem):
            return [indices[0], *shards]
        if found:
            return [found[0], *shards] if found[0] in indices else [found[0]]
    here = sorted(name for name in names if name.rpartition("/")[0] == part)
    pickles = [name for name in here if name.endswith(PICKLES)]
    got = f"found {', '.join(n.rpartition('/')[2] for n in here) or 'nothing'}"
    if pickles:
        got = f"found {pickles[0].rpartition('/')[2]}, a pickle, which is never loaded: "
        got += "`mdp-lite convert` makes safetensors of it"
    want = _candidates(stem, variant)[0] if variant else f"{stem}.safetensors"
    raise ValueError(f"{part or 'the folder'} must hold {want}; {got}")


def check_variant(names: set[str], variant: str | None, pickles: bool = False) -> None:
    """Raises ValueError if no part has the variant, in safetensors or (pickles) at all."""
    parts = list_parts(names)
    if variant is None or any(has_variant(part, names, variant) for part in parts):
        return
    found = [at for part in parts if (at := name_pickle(part, variant)) in names]
    if found and pickles:
        return
    want = f"want one of {', '.join(list_candidates(part, variant)[0] for part in parts)}"
    if found:
        want = f"found {found[0]}, a pickle, which is never loaded: "
        want += "`mdp-lite convert` makes safetensors of it"
    raise ValueError(f"no part has the variant {variant!r}: {want}")


def describe_choice(names: set[str], variant: str | None, parts: Iterable[str]) -> list[str]:
    """Sentences on the weight files of a folder that may surprise."""
    notes = []
    for part in parts:
        stem = ALL_STEMS.get(part, "diffusion_pytorch_model")
        chosen = weight_files(part, stem, names, variant)[0]
        file = chosen.rpartition("/")[2]
        kinds = (variant, None, "fp16")
        kind = next(kind for kind in kinds if chosen in list_candidates(part, kind))
        if variant and kind != variant:
            notes.append(f"variant {variant}: {part or 'the folder'} has none, {file} is read")
        found = [at for at in list_candidates(part, kind) if at in names]
        if any(at.endswith(".json") for at in found) and len(found) > 1:
            notes.append(f"{part or 'the folder'} holds a whole file and shards: {file} is read")
    return notes


def list_candidates(part: str, variant: str | None) -> list[str]:
    """Files that may hold the weights of a part, the first is preferred."""
    stem = ALL_STEMS.get(part, "diffusion_pytorch_model")
    return [f"{part}/{name}".lstrip("/") for name in _candidates(stem, variant)]


def has_variant(part: str, names: set[str], variant: str | None) -> bool:
    """Whether a part has safetensors of a variant."""
    return any(at in names for at in list_candidates(part, variant))


def name_pickle(part: str, variant: str | None) -> str:
    """The pickle that diffusers or transformers would write for a part."""
    stem = "pytorch_model" if part.startswith("text_encoder") else STEMS[part]
    return f"{part}/{stem}.{variant}.bin" if variant else f"{part}/{stem}.bin"


def _prefers_shards(stem: str) -> bool:
    """Whether shards are read where a whole file lies beside them, left by an earlier save.

    diffusers reads the shards, transformers the file.
    """
    return stem == "diffusion_pytorch_model"


def read_weights(folder: Path, files: list[str]) -> Tensors:
    """Read the tensors of weight_files: of one file, or of all shards that an index names."""
    if not files[0].endswith(".json"):
        return read_tensors(folder / files[0])
    index = folder / files[0]
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
        raise ValueError(f"{short(index)} must map keys to files (weight_map), got {places!r:.80}")
    tensors: Tensors = {}
    for name in dict.fromkeys(places.values()):
        if "/" in check_name(name) or not (index.parent / name).is_file():
            raise ValueError(f"{short(index)} names the shard {name!r}, which is not beside it")
        shard = read_tensors(index.parent / name)  # of an old copy of a tensor elsewhere, nothing
        tensors |= {key: t for key, t in shard.items() if places.get(key, name) == name}
    odd = sorted(k for k in set(tensors) ^ set(places) if not k.endswith(TEXT_LEFTOVERS))
    if odd:
        raise ValueError(f"{short(index)} and its shards hold other keys{list_keys(odd)}")
    return tensors


def read_part(folder: Path, part: str, variant: str | None) -> tuple[Config, Tensors, list[Path]]:
    """Config, tensors under today's names, and files of one model of a folder."""
    names = list_names(folder)
    chosen = choose_part(part, names, variant)
    at = "" if "config.json" in names else f"{part}/"
    config, files = read_json(folder / f"{at}config.json"), [n for n in chosen if "config" not in n]
    tensors = modern_keys(part, read_weights(folder, files))
    return config, tensors, [folder / name for name in chosen]


def modern_keys(part: str, tensors: Tensors) -> Tensors:
    """Tensors under the names of our models, from any version of diffusers or transformers."""
    if part.startswith("text_encoder"):
        return prefix_text_keys(tensors, projection=part == SECOND)
    if part == "vae":
        return flatten_attention(keys.rename_keys(tensors, keys.modern_vae_key))
    return tensors


def prefix_text_keys(tensors: Tensors, projection: bool = False) -> Tensors:
    """CLIP keys with the prefix text_model., which transformers 5.6 and later leave out."""
    texts = {k: v for k, v in tensors.items() if not k.endswith(TEXT_LEFTOVERS)}
    pooling = {k: v for k, v in texts.items() if projection and k.startswith(OTHER_HALF[0])}
    texts = {k: v for k, v in texts.items() if not k.startswith(OTHER_HALF)}
    if not any(key.startswith("text_model.") for key in texts):
        texts = {f"text_model.{key}": tensor for key, tensor in texts.items()}
    return texts | pooling


def flatten_attention(tensors: Tensors) -> Tensors:
    """VAE attention as linear layers; 1x1 convolutions become views of 2 dimensions."""
    return {
        key: tensor[:, :, 0, 0] if ".attentions." in key and tensor.ndim == 4 else tensor
        for key, tensor in tensors.items()
    }


def check_index(folder: Path) -> None:
    """Raises ValueError for a folder whose model_index.json says that it is of another family."""
    index = _read_index(folder)
    refuse_pipeline(f"the folder {folder.name}", index.get("_class_name"))
    if "text_encoder_2" in index and index.get("text_encoder") == [None, None]:
        raise ValueError(f"the folder {folder.name} {REFINER}: want that model")


def reads_zeros(folder: Path, second: bool) -> bool:
    """Whether an empty negative prompt stands for zeros: in SDXL unless its index denies it."""
    return second and _read_index(folder).get("force_zeros_for_empty_prompt", True) is True


def _read_index(folder: Path) -> Config:
    index = folder / "model_index.json"
    return read_json(index) if index.is_file() else {}


def list_names(folder: Path) -> set[str]:
    """The files of a folder and of its subfolders, as a repository lists them."""
    inside: Iterable[Path] = (*folder.glob("*"), *folder.glob("*/*"))
    return {path.relative_to(folder).as_posix() for path in inside if path.is_file()}


def read_json(path: Path) -> Config:
    """Read a JSON object from a file; raises ValueError with the file's name for anything else."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"a checkpoint folder must hold {short(path)}, found none") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{short(path)} must be JSON: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{short(path)} must be a JSON object, got {type(data).__name__}")
    return data


def find_tokenizers(folder: Path, parts: Iterable[str], needed: bool) -> dict[str, Path]:
    """The folders of the tokenizers in a checkpoint's, by name. Raises ValueError for a bad one.

    needed: one that is missing is bad too. It is not if another is given, as for a checkpoint that
    was converted without any.
    """
    places = [folder / place for place in TOKENIZERS[: 1 + (SECOND in parts)]]
    places = [place for place in places if needed or place.is_dir()]
    for place in places:
        check_tokenizer(place)
    return {place.name: place for place in places}


def check_tokenizer(folder: Path) -> None:
    """Raises ValueError if a tokenizer's files are missing, or are not of CLIP's kind."""
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
    """All shards of a variant; diffusers and transformers put its name in different places."""
    start = f"{part}/{stem}".lstrip("/")
    shards = [n for n in names if n.startswith(start) and "-of-" in n and n.endswith("safetensors")]
    return sorted(n for n in shards if (f".{variant}" in n if variant else n.count(".") == 1))

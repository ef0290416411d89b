"""Single-file checkpoints in the LDM layout, as CompVis, Stability and the community write them."""

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from mdp_lite_weights import keys, taesd
from mdp_lite_weights.families import (
    LATENT,
    SCALES,
    SD1,
    SD2,
    SDXL,
    refuse_channels,
    refuse_foreign,
    text_config,
    unet_config,
    vae_config,
)
from mdp_lite_weights.folder import SECOND, flatten_attention, prefix_text_keys
from mdp_lite_weights.leftovers import UNUSED, describe_leftovers, is_leftover
from mdp_lite_weights.places import Places, TextPlace, find_places
from mdp_lite_weights.schedules import infer_scheduler
from mdp_lite_weights.sizes import SIDES, PictureSize, infer_size
from mdp_lite_weights.tensors import list_keys, read_metadata, read_tensors, short

Tensors = dict[str, Tensor]
Config = dict[str, Any]

LAST_LAYER = "text_model.encoder.layers.23."
EMPTY = "mdp_lite.force_zeros_for_empty_prompt"  # metadata that `convert` writes if it is false


class SingleFile(NamedTuple):
    """Configs and tensors by part in the diffusers layout; notes say what was inferred.

    zero_empty: an empty negative prompt stands for zeros, which only SDXL has.
    """

    family: str
    configs: dict[str, Config]
    tensors: dict[str, Tensors]
    notes: tuple[str, ...]
    zero_empty: bool


def read_single(
    path: Path, ema: bool = False, prediction_type: str | None = None, own_vae: bool = True
) -> SingleFile:
    """Read an SD 1.x, 2.x or SDXL file; raises ValueError for any other, and says what it is.

    Without own_vae the file's VAE is not read, and need not be there.
    """
    raw = read_tensors(path)
    return from_tensors(short(path), raw, read_metadata(path), ema, prediction_type, own_vae)


def from_tensors(
    name: str,
    raw: Tensors,
    metadata: dict[str, str],
    ema: bool,
    prediction_type: str | None,
    own_vae: bool = True,
) -> SingleFile:
    """The same for tensors that are already read: those of a .ckpt that is converted."""
    refuse_foreign(name, raw)
    places = find_places(name, raw)
    _check(name, raw, places, own_vae)
    family, texts = places
    tensors = _split_parts(name, raw, places, ema)
    at = (keys.UNET_AT, keys.VAE_AT, *(place.at for place in texts.values()))
    left = describe_leftovers(raw, at, SCALES[family])
    scheduler, notes = infer_scheduler(raw, metadata, tensors["unet"], family, prediction_type)
    size = infer_size(name, metadata, family, scheduler["prediction_type"])
    configs = _infer_configs(name, tensors, family, scheduler, size, own_vae)
    if family == SD2 and not texts["text_encoder"].openclip_names:
        notes += ("Stable Diffusion 2.x: known by its shapes, its text encoder has other names",)
    zeros = family == SDXL and metadata.get(EMPTY) != "false"
    return SingleFile(family, configs, tensors, (*notes, *size.notes, *left), zeros)


def read_vae(path: Path) -> tuple[Config, Tensors]:
    """Read a VAE from a file, alone or in a whole checkpoint, under LDM's or diffusers' names.

    Its config has a scaling_factor only if it is in a checkpoint, which has a family.
    """
    raw = read_tensors(path)
    inside = keys.strip_prefix(raw, keys.VAE_AT) or raw
    if taesd.is_whole(inside):
        return taesd.read_whole(short(path), inside)
    inside = {k: v for k, v in inside.items() if not k.startswith(("loss.", "model_ema."))}
    tensors = flatten_attention(
        keys.rename_keys(keys.rename_keys(inside, keys.vae_key), keys.modern_vae_key)
    )
    needed = ("encoder.conv_in.weight", "decoder.conv_in.weight", "decoder.conv_out.weight")
    if any(key not in tensors for key in needed):
        raise ValueError(f"{short(path)} holds no VAE{list_keys(sorted(raw))}")
    whole = any(key.startswith(keys.UNET_AT) for key in raw)
    scale = SCALES[find_places(short(path), raw).family] if whole else None
    return vae_config(tensors, SIDES[SD1], scale), tensors


def _infer_configs(
    name: str, tensors: dict[str, Tensors], family: str, scheduler: Config, size: PictureSize,
    own_vae: bool,
) -> dict[str, Config]:  # fmt: skip
    """The configs of all parts; raises ValueError if a tensor that tells of them is missing."""
    try:
        configs = {
            "text_encoder": text_config(tensors["text_encoder"], family == SD2),
            "unet": unet_config(tensors["unet"], family, size.sample_size),
            "scheduler": scheduler,
        }
        if family == SDXL:
            if "text_projection.weight" not in tensors[SECOND]:
                raise KeyError("the text_projection of its second text encoder")
            configs[SECOND] = text_config(tensors[SECOND], True)
        if own_vae:
            configs["vae"] = vae_config(tensors["vae"], size.height, SCALES[family])
    except (KeyError, StopIteration, IndexError, ValueError) as error:
        raise ValueError(f"{name} is incomplete: it lacks {error or 'attention'}") from None
    return configs


def _check(name: str, raw: Tensors, places: Places, own_vae: bool) -> None:
    """Raises ValueError unless this is a whole checkpoint without unknown keys."""
    parts = {"UNet": keys.UNET_AT, "VAE": keys.VAE_AT}
    for part, place in places.texts.items():
        parts["second text encoder" if part == SECOND else "text encoder"] = place.at
    lacks = [p for p, at in parts.items() if not any(key.startswith(at) for key in raw)]
    if len(lacks) == len(parts):
        raise ValueError(
            f"{name} is no Stable Diffusion checkpoint in the LDM layout{list_keys(list(raw))}"
        )
    if lacks == ["VAE"]:
        if own_vae:
            raise ValueError(f"{name} holds no VAE: give one beside it (vae=)")
    elif lacks:
        raise ValueError(f"{name} holds no {' and no '.join(lacks)}: want a whole checkpoint")
    models = tuple(parts.values())
    odd = [k for k, t in raw.items() if not (k.startswith(models) or is_leftover(k, t))]
    if odd:
        raise ValueError(f"{name}: {len(odd)} unexpected keys{list_keys(sorted(odd))}")
    start, end = (raw.get(f"{keys.UNET_AT}{key}.weight") for key in ("input_blocks.0.0", "out.2"))
    written = len(end) if end is not None and end.ndim == 4 else LATENT
    refuse_channels(
        name, start.shape[1] if start is not None and start.ndim == 4 else None, written
    )


def _split_parts(name: str, raw: Tensors, places: Places, ema: bool) -> dict[str, Tensors]:
    """The models under their diffusers names; nearly all tensors are views."""
    levels = keys.XL_LEVELS if places.family == SDXL else 4
    unet = keys.strip_prefix(raw, keys.UNET_AT)
    unet = select_ema(name, raw, unet) if ema else unet
    layers = keys.count_layers(unet, levels)
    unet = keys.rename_keys(unet, lambda key: keys.unet_key(key, levels, layers))
    used = {key: tensor for key, tensor in raw.items() if not key.startswith(UNUSED)}
    vae = flatten_attention(keys.rename_keys(keys.strip_prefix(used, keys.VAE_AT), keys.vae_key))
    texts = {p: _split_text(used, place, p == SECOND) for p, place in places.texts.items()}
    if places.family == SD2:  # it reads the layer before the last
        text = texts["text_encoder"].items()
        texts["text_encoder"] = {k: t for k, t in text if not k.startswith(LAST_LAYER)}
    return {**texts, "unet": unet, "vae": vae}


def _split_text(used: Tensors, place: TextPlace, projection: bool) -> Tensors:
    """A text encoder under transformers' names."""
    text = keys.strip_prefix(used, place.at)
    if place.openclip_names:
        text = keys.unpack(keys.rename_keys(text, keys.openclip_key))
    return prefix_text_keys(text, projection)


def select_ema(name: str, raw: Tensors, unet: Tensors) -> Tensors:
    """The UNet's exponential moving average, whose keys are the weights' without their dots."""
    pairs = {key: f"model_ema.diffusion_model{key.replace('.', '')}" for key in unet}
    if any(average not in raw for average in pairs.values()):
        raise ValueError(f"{name} holds no whole model_ema: load it without ema")
    return {key: raw[average] for key, average in pairs.items()}

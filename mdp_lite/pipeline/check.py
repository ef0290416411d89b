"""Checks of arguments, before any work; each raises BadInput with what it got and wants."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mdp_lite.checkpoint.models import Models
from mdp_lite.engine import devices
from mdp_lite.engine.gpu import GpuSettings
from mdp_lite.names import PREDICTION_TYPES, SAMPLERS, SPACINGS, BadInput
from mdp_lite.pictures import images

MAX_SIDE = 4096  # pixels; these models can't use more


def text(name: str, value: Any) -> str:
    """A prompt; the empty text is the unconditional one."""
    if not isinstance(value, str):
        raise BadInput(f"{name} must be a text, got {type(value).__name__}", name)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise BadInput(f"{name} must be valid Unicode, got {value!r}", name) from None
    return value


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """One of the allowed words."""
    if not isinstance(value, str) or value not in allowed:
        raise BadInput(f"{name} must be one of {', '.join(allowed)}, got {value!r}", name)
    return value


def number(name: str, value: Any) -> float:
    """A finite number, which a float can hold."""
    right = isinstance(value, int | float) and not isinstance(value, bool)
    if not right or not abs(value) <= sys.float_info.max:
        raise BadInput(f"{name} must be a finite number, got {value!r}", name)
    return value


def whole(name: str, value: Any) -> int:
    """A whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadInput(f"{name} must be a whole number, got {value!r}", name)
    return value


def max_rows(value: Any) -> int:
    """How many UNet rows one call may have."""
    if whole("max_rows", value) < 0:
        raise BadInput(f"max_rows must be 0 or more, got {value}")
    return value


def flag(name: str, value: Any) -> bool:
    """Yes or no; a text, which is always true, raises BadInput."""
    if not isinstance(value, int | np.bool_) or value not in (0, 1):
        raise BadInput(f"{name} must be True or False, got {value!r:.80}", name)
    return bool(value)


def callback(name: str, value: Any) -> Any:
    """A function to call, or None."""
    if value is not None and not callable(value):
        raise BadInput(f"{name} must be a function, got {value!r:.80}", name)
    return value


def seed(value: Any) -> int:
    """A seed for torch's generator: 0 to 2^63 - 1."""
    if not 0 <= whole("seed", value) < 2**63:
        raise BadInput(f"seed must be from 0 to 2^63 - 1, got {value}", "seed")
    return value


def guidance(value: Any) -> float:
    """A guidance scale, 1 (none) to 100."""
    if not 1 <= number("guidance_scale", value) <= 100:
        raise BadInput(
            f"guidance_scale must be from 1 (no guidance) to 100, got {value}", "guidance_scale"
        )
    return float(value)


def strength(value: Any, t_m: float | None) -> float:
    """How far an edit may differ from its source, 0 to 1; it replaces t_m."""
    if t_m is not None:
        raise BadInput("strength and t_m set the same thing: give one of them", "strength", "t_m")
    if not 0 <= number("strength", value) <= 1:
        raise BadInput(f"strength must be from 0 to 1, got {value}", "strength")
    return value


def deadline(value: Any) -> float:
    """Seconds until an edit must return a picture."""
    if number("deadline", value) <= 0:
        raise BadInput(f"deadline must be above 0 seconds, got {value}", "deadline")
    return value


def quantile(name: str, value: Any) -> float:
    """A quantile from 0 to below 1."""
    if not 0 <= number(name, value) < 1:
        raise BadInput(f"{name} must be a quantile from 0 to below 1, got {value}", name)
    return float(value)


def feather(value: Any) -> int:
    """The width in pixels of the soft edge of a pasted edit."""
    if not 0 <= whole("feather", value) <= MAX_SIDE:
        raise BadInput(f"feather must be from 0 to {MAX_SIDE} pixels, got {value}", "feather")
    return value


def side(name: str, value: Any, factor: int) -> int:
    """A width or height in pixels, a multiple of the latent factor."""
    if whole(name, value) % factor or not factor <= value <= MAX_SIDE:
        raise BadInput(
            f"{name} must be a multiple of {factor} from {factor} to {MAX_SIDE}, got {value}", name
        )
    return value


def picture(value: Any) -> Image.Image:
    """A picture given as a PIL image, a path, bytes or a numpy array."""
    return images.load_picture(value)


def device(value: Any) -> torch.device:
    """A device of this machine; by default a GPU if there is one."""
    if value is None:
        return devices.default_device()
    chosen = device_name(value)
    devices.check_present(chosen)
    return chosen


def device_name(value: Any) -> torch.device:
    """A device that may not be here."""
    try:
        chosen = torch.device(value)
    except (RuntimeError, TypeError):
        raise BadInput(f"device must be cpu, cuda or mps, got {value!r}", "device") from None
    one_of("device", chosen.type, devices.KINDS)
    return chosen


def dtype(value: Any) -> torch.dtype | None:
    """A dtype for the models, or None for "auto", which means the checkpoint's."""
    names = ("float32", "float16", "bfloat16")
    if isinstance(value, str) and value in names:
        return getattr(torch, value)
    if isinstance(value, torch.dtype) and str(value).removeprefix("torch.") in names:
        return value
    if not isinstance(value, str) or value != "auto":
        raise BadInput(f"dtype must be auto, {', '.join(names)}, got {value!r}", "dtype")
    return None


def gpu(value: Any) -> GpuSettings:
    """How a GPU computes."""
    if not isinstance(value, GpuSettings):
        raise BadInput(f"gpu must be a GpuSettings, got {value!r:.80}")
    return value


def load_choices(
    variant: Any, prediction_type: Any, revision: Any, token: Any,
    sampler: Any = None, timestep_spacing: Any = None,
) -> None:  # fmt: skip
    """Texts or None; a variant is part of a file name, so it must not contain a path."""
    for name, value in (("variant", variant), ("revision", revision), ("token", token)):
        if value is not None and (not isinstance(value, str) or not value):
            raise BadInput(f"{name} must be a text, got {value!r}", name)
    if variant is not None and not variant.replace("_", "").isalnum():
        raise BadInput(f"variant must be part of a file name like fp16, got {variant!r}", "variant")
    if prediction_type is not None:
        one_of("prediction_type", prediction_type, PREDICTION_TYPES)
    if sampler is not None:
        one_of("sampler", sampler, SAMPLERS)
    if timestep_spacing is not None:
        one_of("timestep_spacing", timestep_spacing, SPACINGS)


def loras(value: Any) -> tuple[tuple[str | Path, float], ...]:
    """LoRA files, each with its strength, by default 1."""
    pairs = [(one, 1.0) if isinstance(one, str | Path) else one for one in several("loras", value)]
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], str | Path):
            raise BadInput(f"loras must be files or pairs (file, strength), got {pair!r}")
        number("the strength of a LoRA", pair[1])
    return tuple(pairs)


def embeddings(value: Any) -> tuple[tuple[str | Path, str | None], ...]:
    """Textual inversion files, each alone or with a word to use in prompts."""
    listed = several("embeddings", value)
    pairs = [(one, None) if isinstance(one, str | Path) else one for one in listed]
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], str | Path):
            raise BadInput(f"embeddings must be files or pairs (file, word), got {pair!r}")
        if pair[1] is not None:
            text("the word of an embedding", pair[1])
    return tuple(pairs)


def several(name: str, value: Any) -> list[Any]:
    """A list; a single text, which is an easy mistake, raises BadInput."""
    if isinstance(value, str | Path) or not isinstance(value, Iterable):
        raise BadInput(f"{name} must be a list, got {value!r}", name)
    return list(value)


def as_many(name: str, value: Any, count: int) -> list[Any]:
    """A list of this length."""
    listed = several(name, value)
    if len(listed) != count or not count:
        raise BadInput(
            f"{name} must be as many as the images, at least one, got {len(listed)}", name
        )
    return listed


def blend(value: Any) -> list[tuple[str, float]]:
    """A prompt, or several with their shares: positive numbers, relative to their sum."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return [(text("prompt", value), 1.0)]
    parts = several("prompt", value)
    for part in parts:
        if not isinstance(part, tuple) or len(part) != 2:
            raise BadInput(f"prompt must be a text or pairs (text, share), got {part!r}", "prompt")
        text("prompt", part[0])
        if number("the share of a prompt", part[1]) <= 0:
            raise BadInput(f"the share of a prompt must be above 0, got {part[1]}")
    if not parts:
        raise BadInput("prompt must be a text or pairs (text, share), got none", "prompt")
    return parts


def models(value: Any) -> Models:
    """Loaded models; the name of a checkpoint, which is an easy mistake, raises BadInput."""
    if not isinstance(value, Models):
        want = f"Editor.from_pretrained({value!r:.80})"
        raise BadInput(f"models must be loaded ones, got {type(value).__name__}: want {want}")
    return value


def some_source(value: Any) -> Any:
    """A source of any model; a picture, which is an easy mistake, raises BadInput."""
    if not hasattr(value, "path") or not hasattr(value, "grid"):
        want = "a Source, from editor.generate or editor.invert(picture)"
        raise BadInput(f"source must be {want}, got {type(value).__name__}")
    return value


def requests(value: Any) -> list[Any]:
    """A list of requests; one alone, or sources, which are easy mistakes, raise BadInput."""
    if hasattr(value, "prompt"):
        raise BadInput(f"requests must be a list of them, got one {type(value).__name__}")
    listed = several("requests", value)
    for one in listed:
        if not hasattr(one, "source"):
            raise BadInput(f"requests must be of Request(source, prompt), got {one!r:.80}")
    return listed


def source(value: Any, models: Models) -> Any:
    """A source that fits this model."""
    some_source(value)
    path, n = value.path, len(value.grid.t)
    got = (path.x.shape[2], *path.c.shape[1:])
    want = (models.vae.config.latent_channels, *models.c_shape)
    if got != want:
        raise BadInput(
            f"source must be of this model (latent channels, tokens, width {want}), got {got}"
        )
    if len(path.x) != n + 1 or len(path.eps) != n:
        counts = f"{len(path.x)} and {len(path.eps)}"
        raise BadInput(f"source must hold {n + 1} latents and {n} noises, got {counts}")
    maps = (("noise maps", path.noise), ("directions", path.direction))
    for name, steps in (("null rows", path.null), *maps):
        if steps is not None and len(steps) != n:
            raise BadInput(f"source must hold {n} {name}, got {len(steps)}")
    k = 0 if path.channels is None else path.channels.shape[1]
    if k != models.unet.config.constant_channels:
        kinds = ("no mask", "a mask")
        want = f"of a model that reads {kinds[models.inpaints]}"
        raise BadInput(f"source must be {want}, got one with {k} channels of a mask")
    dtype = next(models.text_encoder.parameters()).dtype
    if path.c.dtype != dtype:
        runs = f"this model runs in {dtype}"
        raise BadInput(f"source must be of one precision: {runs}, got {path.c.dtype}")
    return value

"""Notes on the configs of a checkpoint: what they hold that was not read."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from mdp_lite.checkpoint.config_files import is_taesd, unwrap_clip
from mdp_lite.checkpoint.config_keys import SCHEDULER, TAESD, TEXT_ENCODER, UNET, VAE
from mdp_lite.checkpoint.samplers import describe_sampler
from mdp_lite.models.config import (
    CLIPConfig,
    SchedulerConfig,
    TAESDConfig,
    UNetConfig,
    VAEConfig,
)

PARTS = {
    "text_encoder": (CLIPConfig, TEXT_ENCODER),
    "text_encoder_2": (CLIPConfig, TEXT_ENCODER),
    "unet": (UNetConfig, UNET),
    "vae": (VAEConfig, VAE),
    "scheduler": (SchedulerConfig, SCHEDULER),
}
LONGEST = 160  # characters of all unknown options of a part


def describe_configs(configs: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    """One note on the sampler, and one for each part that has unknown options with a value."""
    sampler = describe_sampler(configs["scheduler"])
    return (*([sampler] if sampler else []), *_describe_unknown(configs))


def list_unknown(part: str, raw: dict[str, Any]) -> dict[str, Any]:
    """The options of a part that nothing is known about; those that are null change nothing."""
    cls, keys = (TAESDConfig, TAESD) if part == "vae" and is_taesd(raw) else PARTS[part]
    known = {field.name for field in dataclasses.fields(cls)} | keys.only.keys() | keys.ignored
    raw = unwrap_clip(raw) if part.startswith("text_encoder") else raw
    return {k: v for k, v in raw.items() if k not in known and k[:1] != "_" and v is not None}


def _describe_unknown(configs: dict[str, dict[str, Any]]) -> Iterator[str]:
    for part in PARTS.keys() & configs.keys():
        unknown = list_unknown(part, configs[part])
        if unknown:
            text = ", ".join(f"{key} {json.dumps(value)}" for key, value in unknown.items())
            text = text if len(text) <= LONGEST else text[:LONGEST] + " ..."
            yield f"{part}: unknown options were ignored: {text}"

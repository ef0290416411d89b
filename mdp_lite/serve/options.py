"""From the command line and the environment to the settings of a service."""

import importlib
import os
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from mdp_lite.cli.commands.serve import ServeOptions
from mdp_lite.names import BadInput
from mdp_lite.serve.model_specs import ModelSpec, read_specs
from mdp_lite.serve.settings import Limits, SafetyHook, ServiceSettings
from mdp_lite.serve.traces import check_tracing

KEYS = "MDP_LITE_API_KEYS"


def read_settings(args: ServeOptions) -> ServiceSettings:
    """The settings that the command line and the environment give. Raises BadInput."""
    alias, *more = args.alias or (ServiceSettings.alias,)
    several = args.models
    others = read_specs(several.serve_model, several.models_file, args.model, args.engine)
    memory = several.model_memory
    return ServiceSettings(
        alias, args.host, args.port, read_keys(args.key_file), args.open, args.origin,
        args.rows, not args.no_metadata, args.drain, load_hook(args.safety_hook),
        parse_limits(args.limit), more_aliases=tuple(more), openai_names=not args.no_openai_names,
        trace=args.trace and check_tracing(),
        first=ModelSpec(alias, args.model, args.engine, tuple(more), True), others=others,
        lora_folder=several.lora_folder,
        model_memory=None if memory is None else int(memory * 1e9),
    )  # fmt: skip


def read_keys(file: str | None) -> tuple[str, ...]:
    """API keys from a file or the environment; never from the command line, which all can see."""
    if file is None:
        text = os.environ.get(KEYS, "").replace(",", "\n")
    else:
        try:
            text = Path(file).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            raise BadInput(f"key-file must be a readable text file, got {file!r}") from None
    found = tuple(line.strip() for line in text.splitlines() if line.strip())
    if file is not None and not found:
        raise BadInput(f"key-file must hold a key, got none in {file!r}")
    return found


def parse_limits(texts: Iterable[str]) -> Limits:
    """Limits from NAME=VALUE; each value has the type of its default."""
    kinds = {field.name: type(field.default) for field in fields(Limits)}
    values: dict[str, Any] = {}
    for one in texts:
        name, _, value = one.partition("=")
        name = name.replace("-", "_")
        if name not in kinds:
            raise BadInput(f"limit must be one of {', '.join(kinds)}, got {one!r}")
        try:
            values[name] = kinds[name](value)
        except ValueError:
            raise BadInput(f"limit {name} must be a number, got {value!r}") from None
        if not 0 < values[name] < float("inf"):
            raise BadInput(f"limit {name} must be above 0, got {value}")
    return Limits(**values)


def load_hook(name: str | None) -> SafetyHook | None:
    """The function MODULE:FUNCTION, or None without a name."""
    if name is None:
        return None
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadInput(f"safety-hook must be MODULE:FUNCTION, got {name!r} ({error})") from None

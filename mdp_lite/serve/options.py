"""From the command line and the environment to the settings of a service."""

import importlib
import os
import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from mdp_lite.cli.commands.serve import ServeOptions
from mdp_lite.model_pool.specs import ModelSpec, read_specs
from mdp_lite.names import BadInput
from mdp_lite.serve.settings import JobSettings, Limits, SafetyHook, ServiceSettings
from mdp_lite.serve.traces import check_tracing

KEYS, SECRET = "MDP_LITE_API_KEYS", "MDP_LITE_WEBHOOK_SECRET"
HIGHEST = 10  # priority that a key may have


def read_settings(args: ServeOptions) -> ServiceSettings:
    """The settings that the command line and the environment give. Raises BadInput."""
    alias, *more = args.alias or (ServiceSettings.alias,)
    several = args.models
    others = read_specs(several.serve_model, several.models_file, args.model, args.engine)
    memory = several.model_memory
    keys = read_keys(args.access.key_file)
    jobs = JobSettings(args.jobs, keys, args.webhook_host, read_secret(args.webhook_secret_file))
    return ServiceSettings(
        alias, args.host, args.port, tuple(keys), args.access.open, args.origin,
        args.work.rows, not args.work.no_metadata, args.drain, load_hook(args.safety_hook),
        parse_limits(args.work.limit), more_aliases=tuple(more),
        openai_names=not args.no_openai_names, trace=args.trace and check_tracing(),
        first=ModelSpec(alias, args.model, args.engine, tuple(more), True), others=others,
        lora_folder=several.lora_folder,
        model_memory=None if memory is None else int(memory * 1e9),
        jobs=jobs,
    )  # fmt: skip


def read_keys(file: str | None) -> dict[str, int]:
    """API keys, each with the highest priority of its jobs, from a file or the environment.

    Never from the command line, which all can see. A line is KEY or KEY priority=N.
    """
    if file is None:
        text = os.environ.get(KEYS, "").replace(",", "\n")
    else:
        try:
            text = Path(file).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            raise BadInput(f"key-file must be a readable text file, got {file!r}") from None
    found = dict(_read_key(line) for line in text.splitlines() if line.strip())
    if file is not None and not found:
        raise BadInput(f"key-file must hold a key, got none in {file!r}")
    return found


def _read_key(line: str) -> tuple[str, int]:
    """A key and its priority. Errors never show a key."""
    key, *rest = line.split()
    words = [re.fullmatch(r"priority=(\d{1,3})", word) for word in rest]
    numbers = [int(word[1]) for word in words if word]
    if len(rest) > 1 or len(numbers) != len(rest) or any(one > HIGHEST for one in numbers):
        raise BadInput(f"after a key there may be priority=N, N from 0 to {HIGHEST}, nothing else")
    return key, numbers[0] if numbers else 0


def read_secret(file: str | None) -> str | None:
    """The secret of webhooks from a file or the environment, or None."""
    try:
        text = os.environ.get(SECRET, "") if file is None else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise BadInput(f"webhook-secret-file must be a readable text, got {file!r}") from None
    if file is not None and not text.strip():
        raise BadInput(f"webhook-secret-file must hold a secret, got none in {file!r}")
    return text.strip() or None


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

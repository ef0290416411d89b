"""What an operator says of a service, on the command line and in the environment, as settings."""

import importlib
import logging
import os
import sys
from argparse import Namespace
from dataclasses import fields
from pathlib import Path
from typing import Any

from mdp_lite.serve.settings import Limits, SafetyHook, Settings

KEYS = "MDP_LITE_API_KEYS"


def settings_of(args: Namespace) -> Settings:
    """What the command line and the environment say."""
    return Settings(
        args.alias, args.host, args.port, keys(args.key_file), args.open, tuple(args.origin),
        args.rows, args.metadata, args.drain, hook(args.safety_hook), limits(args.limit),
    )  # fmt: skip


def keys(file: str | None) -> tuple[str, ...]:
    """API keys of a file or of the environment; never of the command line, which all can see."""
    if file is None:
        text = os.environ.get(KEYS, "").replace(",", "\n")
    else:
        try:
            text = Path(file).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            raise ValueError(f"key-file must be a readable text file, got {file!r}") from None
    found = tuple(line.strip() for line in text.splitlines() if line.strip())
    if file is not None and not found:
        raise ValueError(f"key-file must hold a key, got none in {file!r}")
    return found


def limits(said: list[str]) -> Limits:
    """Limits as NAME=VALUE; a float where the default is one."""
    kinds = {field.name: type(field.default) for field in fields(Limits)}
    given: dict[str, Any] = {}
    for one in said:
        name, _, value = one.partition("=")
        name = name.replace("-", "_")
        if name not in kinds:
            raise ValueError(f"limit must be one of {', '.join(kinds)}, got {one!r}")
        try:
            given[name] = kinds[name](value)
        except ValueError:
            raise ValueError(f"limit {name} must be a number, got {value!r}") from None
        if not 0 < given[name] < float("inf"):
            raise ValueError(f"limit {name} must be above 0, got {value}")
    return Limits(**given)


def hook(name: str | None) -> SafetyHook | None:
    """The function that an operator names as MODULE:FUNCTION."""
    if name is None:
        return None
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"safety-hook must be MODULE:FUNCTION, got {name!r} ({error})") from None


def log_requests(quiet: bool) -> None:
    """One JSON object a line on stderr, and warnings of all others."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("mdp_lite.serve").setLevel(logging.ERROR if quiet else logging.INFO)

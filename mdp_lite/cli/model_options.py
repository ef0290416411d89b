"""Options that most commands share, as parents of their parsers: output, model, sampling."""

import argparse
import os
from pathlib import Path

from mdp_lite.cli.argument_types import parse_embedding, parse_lora, parse_number, parse_whole
from mdp_lite.cli.parser import CommandParser
from mdp_lite.names import DTYPES, ENGINES, PREDICTION_TYPES

Group = argparse._ArgumentGroup


def build_output_parent() -> CommandParser:
    """What a command prints, and whether it only checks."""
    parent = CommandParser(add_help=False)
    group = parent.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    group.add_argument("--quiet", action="store_true", help="no progress, no messages")
    group.add_argument(
        "--dry-run", action="store_true",
        help="check everything and print the cost, but write nothing",
    )  # fmt: skip
    return parent


def build_model_parent(engines: tuple[str, ...] = ENGINES) -> CommandParser:
    """The model and how it runs."""
    parent = CommandParser(add_help=False)
    group = parent.add_argument_group("model")
    group.add_argument(
        "--model", default="tiny",
        help="a folder, a .safetensors file or a hub id (default: tiny, bundled)",
    )  # fmt: skip
    group.add_argument("--device", help="cpu, cuda or cuda:1 (default: a GPU if there is one)")
    group.add_argument("--dtype", default="auto", choices=DTYPES, help="default: the checkpoint's")
    _add_addon_options(group)
    add_checkpoint_options(group)
    _add_engine_options(group, engines)
    group.add_argument(
        "--cache", metavar="FOLDER", default=os.environ.get("MDP_LITE_CACHE") or None,
        help="store sources there and reuse them (default: the variable MDP_LITE_CACHE)",
    )  # fmt: skip
    return parent


def build_sampling_parent() -> CommandParser:
    """How a picture is sampled."""
    parent = CommandParser(add_help=False)
    group = parent.add_argument_group("sampling (defaults: the model's)")
    group.add_argument("--steps", type=parse_whole, metavar="N", help="DDIM steps")
    group.add_argument("--guidance-scale", type=parse_number, metavar="G", help="1 = no guidance")
    group.add_argument("--negative-prompt", default="", metavar="TEXT")
    group.add_argument("--width", type=parse_whole, metavar="PIXELS")
    group.add_argument("--height", type=parse_whole, metavar="PIXELS")
    return parent


def add_checkpoint_options(group: Group) -> None:
    """What a checkpoint does not say about itself, and how the hub is used."""
    group.add_argument(
        "--model-variant", metavar="NAME", help="which files of a folder, such as fp16"
    )
    group.add_argument(
        "--prediction-type", choices=PREDICTION_TYPES, help="overrides what the checkpoint says"
    )
    group.add_argument("--ema", action="store_true", help="the averaged UNet of a single file")
    group.add_argument("--tokenizer", metavar="PLACE", help="a folder or hub id, for a single file")
    group.add_argument("--revision", help="of a hub id: a branch, tag or commit")
    group.add_argument("--offline", action="store_true", help="use only what the hub's cache holds")


def _add_addon_options(group: Group) -> None:
    group.add_argument("--vae", metavar="PLACE", help="another VAE: a folder, file or hub id")
    group.add_argument(
        "--lora", type=parse_lora, action="append", default=[], metavar="FILE[:STRENGTH]",
        help="a LoRA to merge (default strength: 1); can be given several times",
    )  # fmt: skip
    group.add_argument(
        "--embedding", type=parse_embedding, action="append", default=[], metavar="FILE[=WORD]",
        help="a word learned by textual inversion; can be given several times",
    )  # fmt: skip


def _add_engine_options(group: Group, engines: tuple[str, ...]) -> None:
    group.add_argument(
        "--engine", choices=engines, default="auto",
        help="how the UNet is run (default: aot if --packages is given, else graph on a GPU and "
        "eager on a CPU)",
    )  # fmt: skip
    group.add_argument(
        "--packages", metavar="FOLDER", type=Path,
        default=os.environ.get("MDP_LITE_PACKAGES") or None,
        help="what mdp-lite compile wrote, which is machine code: use a folder that you trust "
        "(default: the variable MDP_LITE_PACKAGES)",
    )  # fmt: skip

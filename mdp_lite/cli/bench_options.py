"""The options of `mdp-lite bench`."""

import argparse
from pathlib import Path

from mdp_lite.cli.argument_types import json_file, png, several, whole


def benching(sub: argparse.ArgumentParser) -> None:
    """What is measured, on what, and where its figures are kept."""
    sub.add_argument(
        "what", choices=("inversion", "edits", "pie", "speed"),
        help="what is compared: inversions on drawn pictures, methods of editing on these or on "
        "PIE-Bench, or the engine's modes by the clock",
    )  # fmt: skip
    sub.add_argument("--steps", type=whole, metavar="N", help="DDIM steps")
    sub.add_argument(
        "--pictures", type=whole, metavar="N", help="inversion: default 128; edits: 64 of each kind"
    )
    sub.add_argument("--methods", type=several(str), metavar="A,B,C", help="default: all")
    sub.add_argument("--kinds", type=several(str), metavar="A,B,C", help="edits: default all")
    sub.add_argument(
        "--split", choices=("tune", "report"),
        help="edits: tune compares settings, report the methods with theirs (default)",
    )  # fmt: skip
    sub.add_argument("--short", action="store_true", help="edits: few, in few steps")
    sub.add_argument("--sheet", type=png, metavar="FILE", help="edits: pictures of each kind")
    _pie(sub)
    sub.add_argument(
        "--rounds", type=whole, metavar="N", help="speed: default by how long they take"
    )
    sub.add_argument(
        "--engines", type=several(str), metavar="A,B,C",
        help="speed: default those that need no minutes to compile",
    )  # fmt: skip
    sub.add_argument(
        "-o", "--output", type=json_file, metavar="FILE",
        help="keep all figures there; a method whose figures it has is not run again",
    )  # fmt: skip


def _pie(sub: argparse.ArgumentParser) -> None:
    """Where PIE-Bench is, and what looks at its pictures."""
    sub.add_argument(
        "--data", type=Path, metavar="FOLDER",
        help="pie: the benchmark's own folder, with mapping_file.json and annotation_images",
    )  # fmt: skip
    sub.add_argument(
        "--results", type=Path, metavar="FOLDER",
        help="pie: for DEFAULT_METHOD/annotation_images and evaluation_result.csv (default: output)",
    )  # fmt: skip
    for name, what in (("clip", "similarity to the texts"), ("dino", "distance in structure")):
        sub.add_argument(
            f"--{name}", metavar="MODEL", help=f"pie: a folder or hub id, for the {what}"
        )

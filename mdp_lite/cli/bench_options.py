"""The options of `mdp-lite bench`."""

import argparse
from pathlib import Path

from mdp_lite.cli.argument_types import parse_json_path, parse_list, parse_png_path, parse_whole


def add_bench_options(sub: argparse.ArgumentParser) -> None:
    """What is measured, on which pictures, and where the results are written."""
    sub.add_argument(
        "what", choices=("inversion", "edits", "pie", "speed"),
        help="inversion: inversion methods on synthetic pictures; edits: editing methods on "
        "synthetic edits; pie: editing methods on PIE-Bench; speed: the time of each engine",
    )  # fmt: skip
    sub.add_argument("--steps", type=parse_whole, metavar="N", help="DDIM steps")
    sub.add_argument(
        "--pictures", type=parse_whole, metavar="N",
        help="inversion: default 128; edits: default 64 of each kind",
    )  # fmt: skip
    sub.add_argument("--methods", type=parse_list(str), metavar="A,B,C", help="default: all")
    sub.add_argument("--kinds", type=parse_list(str), metavar="A,B,C", help="edits: default all")
    sub.add_argument(
        "--split", choices=("tune", "report"),
        help="edits: tune compares settings of the methods, report the methods (default: report)",
    )  # fmt: skip
    sub.add_argument("--short", action="store_true", help="edits: few edits of few steps")
    sub.add_argument(
        "--sheet", type=parse_png_path, metavar="FILE", help="edits: pictures of each kind"
    )
    _add_pie_options(sub)
    sub.add_argument(
        "--rounds", type=parse_whole, metavar="N", help="speed: default by how long a round takes"
    )
    sub.add_argument(
        "--engines", type=parse_list(str), metavar="A,B,C",
        help="speed: default those that do not compile for minutes",
    )  # fmt: skip
    sub.add_argument(
        "-o", "--output", type=parse_json_path, metavar="FILE",
        help="write all results there; a method whose results are there is not run again",
    )  # fmt: skip


def _add_pie_options(sub: argparse.ArgumentParser) -> None:
    """The folders of PIE-Bench, and the models that score its pictures."""
    sub.add_argument(
        "--data", type=Path, metavar="FOLDER",
        help="pie: the folder of the benchmark, with mapping_file.json and annotation_images",
    )  # fmt: skip
    sub.add_argument(
        "--results", type=Path, metavar="FOLDER",
        help="pie: for METHOD/annotation_images and evaluation_result.csv (default: output)",
    )  # fmt: skip
    for name, what in (("clip", "similarity to the texts"), ("dino", "distance in structure")):
        sub.add_argument(
            f"--{name}", metavar="MODEL", help=f"pie: a folder or hub id, for the {what}"
        )

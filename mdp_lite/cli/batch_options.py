"""The arguments of `mdp-lite batch`; what the columns of its rows are is in mdp_lite/batch/."""

import argparse
from pathlib import Path

from mdp_lite.cli.argument_types import whole
from mdp_lite.cli.picture_options import fitting, inverting, masking


def batching(sub: argparse.ArgumentParser) -> None:
    """Which rows, where their edits go, and what holds for all rows that do not say otherwise."""
    sub.add_argument(
        "job", metavar="JOB",
        help="a folder or a glob of pictures, or a .csv, .jsonl or .parquet of rows",
    )  # fmt: skip
    sub.add_argument(
        "-o", "--output", type=Path, default=Path("batch"), metavar="FOLDER",
        help="for pictures and manifest.jsonl; what is there is not made again (default: batch)",
    )  # fmt: skip
    sub.add_argument(
        "--retry-failed", action="store_true", help="try again what an earlier run could not make"
    )
    sub.add_argument(
        "--rows", type=whole, default=0, metavar="N",
        help="UNet rows of a call, at most; 0: each edit's steps alone (default: 0)",
    )  # fmt: skip
    group = sub.add_argument_group("on a Ray cluster (--engine ray)")
    group.add_argument(
        "--workers", type=whole, metavar="N", help="default: one for each GPU, or for its cores"
    )
    group.add_argument(
        "--worker-cpus", type=whole, default=1, metavar="N", help="cores of each (default: 1)"
    )
    group = sub.add_argument_group("for every row that does not say otherwise, here and below")
    group.add_argument(
        "--prompt", action="append", default=[], metavar="TARGET",
        help="what it is to show; may be given several times",
    )  # fmt: skip
    group.add_argument("--source-prompt", metavar="SOURCE", help="what it shows now")
    group.add_argument("--seed", type=whole, help="of a source made from a prompt (default: 0)")
    inverting(sub)
    fitting(sub)
    masking(sub, saved=False)

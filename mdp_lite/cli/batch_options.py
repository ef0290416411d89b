"""The options of `mdp-lite batch`; mdp_lite/batch/ documents the columns of a job's rows."""

import argparse
from pathlib import Path

from mdp_lite.cli.argument_types import parse_whole
from mdp_lite.cli.edit_options import add_edit_options
from mdp_lite.cli.picture_options import add_fit_option, add_inversion_options, add_mask_options


def add_batch_options(sub: argparse.ArgumentParser) -> None:
    """The rows of the job, the output folder, and defaults for rows that leave a setting out."""
    sub.add_argument(
        "job", metavar="JOB",
        help="a folder or a glob of pictures, or a .csv, .jsonl or .parquet file of rows",
    )  # fmt: skip
    sub.add_argument(
        "-o", "--output", type=Path, default=Path("batch"), metavar="FOLDER",
        help="for pictures and manifest.jsonl; an edit that is there is not made again "
        "(default: batch)",
    )  # fmt: skip
    sub.add_argument(
        "--retry-failed", action="store_true", help="try edits again that failed in an earlier run"
    )
    sub.add_argument(
        "--rows", type=parse_whole, default=0, metavar="N",
        help="the most UNet rows of a call; 0: every step is a call (default: 0)",
    )  # fmt: skip
    _add_worker_options(sub)
    group = sub.add_argument_group("defaults for rows that leave them out, here and below")
    group.add_argument(
        "--prompt", action="append", default=[], metavar="TARGET",
        help="what the edit shows; can be given several times",
    )  # fmt: skip
    group.add_argument("--source-prompt", metavar="SOURCE", help="what the source shows")
    group.add_argument("--seed", type=parse_whole, help="of a generated source (default: 0)")
    add_inversion_options(sub)
    add_fit_option(sub)
    add_mask_options(sub, save=False)
    add_edit_options(sub)


def _add_worker_options(sub: argparse.ArgumentParser) -> None:
    group = sub.add_argument_group("on a Ray cluster (--engine ray)")
    group.add_argument(
        "--workers", type=parse_whole, metavar="N",
        help="default: one for each GPU, or as many as the CPU cores allow",
    )  # fmt: skip
    group.add_argument(
        "--worker-cpus", type=parse_whole, default=1, metavar="N",
        help="CPU cores of each worker (default: 1)",
    )  # fmt: skip

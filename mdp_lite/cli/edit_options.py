"""Options of an edit and of a sweep: the variant, the window, the schedule."""

import argparse

from mdp_lite.cli.argument_types import parse_choice, parse_list, parse_number
from mdp_lite.names import SCHEDULES, VARIANTS


def add_edit_options(sub: argparse.ArgumentParser) -> None:
    """How an edit mixes the target with its source."""
    group = sub.add_argument_group("edit")
    group.add_argument(
        "--variant", choices=(*VARIANTS, "all"),
        help="the quantity that is mixed with the source's; all: one picture of each (default: x "
        "for a picture inverted by edit-friendly if no window is given, else epsilon)",
    )  # fmt: skip
    group.add_argument(
        "--t-max", type=parse_number, metavar="STEPS", help="steps left when mixing starts"
    )
    group.add_argument("--t-m", type=parse_number, metavar="STEPS", help="steps that are mixed")
    group.add_argument(
        "--schedule", choices=SCHEDULES,
        help="the weights over the mixed steps (default: leash, or constant if a window is given)",
    )  # fmt: skip
    group.add_argument(
        "--strength", type=parse_number, metavar="S",
        help="instead of --t-m: 0 is the source, 1 the target alone",
    )  # fmt: skip
    group.add_argument(
        "--proximal", type=parse_number, metavar="Q",
        help="proximal guidance: guide only where predictions differ by more than this quantile",
    )  # fmt: skip


def add_grid_options(sub: argparse.ArgumentParser) -> None:
    """The settings that a sweep combines, each a list."""
    group = sub.add_argument_group("settings, each one value or several as A,B,C")
    for name, parse in (
        ("--variants", parse_choice(VARIANTS)),
        ("--t-max", parse_number),
        ("--t-m", parse_number),
        ("--schedules", parse_choice(SCHEDULES)),
    ):
        group.add_argument(name, type=parse_list(parse), default=[None], metavar="LIST")

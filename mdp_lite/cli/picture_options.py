"""Options on pictures: how one is fitted and inverted, where it is edited, what is kept of it."""

import argparse

from mdp_lite.cli.argument_types import box, number, png, safetensors, whole
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD, METHODS

FITS = ("crop", "pad", "resize", "own")


def fitting(sub: argparse.ArgumentParser) -> None:
    """How PICTURE is brought to --width and --height."""
    sub.add_argument(
        "--fit", choices=FITS,
        help="of PICTURE to --width x --height, or own for its own size (default: crop)",
    )  # fmt: skip


def inverting(sub: argparse.ArgumentParser) -> None:
    """How PICTURE is inverted; each setting is of the methods that its help names."""
    group = sub.add_argument_group("inversion of PICTURE")
    group.add_argument("--method", choices=METHODS, help=f"default: {DEFAULT_METHOD}")
    for name, kind, metavar, text in (
        ("--inversion-steps", whole, "M", "ddim, negative-prompt: steps up (default: as down)"),
        ("--iterations", whole, "K", "fixed-point: predictions a step (default: 5)"),
        ("--inner-steps", whole, "J", "null-text: most iterations a step (default: 10)"),
        ("--early-stop", number, "LOSS", "null-text: what is good enough (default: 1e-5)"),
        ("--inversion-seed", whole, "SEED", "edit-friendly: of its noise (default: 0)"),
    ):
        group.add_argument(name, type=kind, metavar=metavar, help=text)


def tuning(sub: argparse.ArgumentParser) -> None:
    """Which steps null-text inversion is for."""
    sub.add_argument(
        "--tune", choices=("all", "plan"),
        help="null-text: tune all steps, or those alone that the edit's plan evaluates",
    )  # fmt: skip


def masking(sub: argparse.ArgumentParser, saved: bool = True) -> None:
    """Where an edit happens; saved is whether the mask can be kept as a file."""
    group = sub.add_argument_group("where (by default everywhere)")
    one = group.add_mutually_exclusive_group()
    one.add_argument("--mask", metavar="FILE", help="a picture of PICTURE's size: white is edited")
    one.add_argument("--box", type=box, metavar="X0,Y0,X1,Y1", help="in PICTURE's pixels")
    one.add_argument(
        "--auto-mask", action="store_true", help="where the two prompts ask for different noise"
    )
    group.add_argument(
        "--feather", type=whole, default=0, metavar="PIXELS", help="fade inside the mask's edge"
    )
    group.add_argument(
        "--no-paste", dest="paste", action="store_false",
        help="do not put PICTURE's own pixels back outside the mask",
    )  # fmt: skip
    if saved:
        group.add_argument("--save-mask", type=png, metavar="FILE", help="the mask as it was used")


def saving(sub: argparse.ArgumentParser) -> None:
    """The source as a file, for more edits."""
    sub.add_argument(
        "--save-source", type=safetensors, metavar="FILE",
        help="the source as a .safetensors file, which edit takes as PICTURE",
    )  # fmt: skip

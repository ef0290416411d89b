"""Options on pictures: how one is fitted and inverted, where it is edited, what is saved of it."""

import argparse

from mdp_lite.cli.argument_types import (
    parse_box,
    parse_number,
    parse_png_path,
    parse_safetensors_path,
    parse_whole,
)
from mdp_lite.names import FITS
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD, METHODS


def add_source_options(sub: argparse.ArgumentParser) -> None:
    """PICTURE, and how it becomes a source."""
    sub.add_argument(
        "picture", nargs="?", metavar="PICTURE",
        help="a PNG, JPEG, WebP or saved source; without it: --source-prompt and --seed",
    )  # fmt: skip
    sub.add_argument("--source-prompt", metavar="SOURCE", help="what the source shows")
    add_inversion_options(sub)
    add_fit_option(sub)


def add_fit_option(sub: argparse.ArgumentParser) -> None:
    """How PICTURE is brought to --width and --height."""
    sub.add_argument(
        "--fit", choices=FITS,
        help="how PICTURE is brought to --width x --height; own: it keeps its size (default: crop)",
    )  # fmt: skip


def add_inversion_options(sub: argparse.ArgumentParser) -> None:
    """How PICTURE is inverted; the help of a setting names the methods that read it."""
    group = sub.add_argument_group("inversion of PICTURE")
    group.add_argument("--method", choices=METHODS, help=f"default: {DEFAULT_METHOD}")
    for name, parse, metavar, text in (
        ("--inversion-steps", parse_whole, "M",
         "ddim, negative-prompt: steps of the inversion (default: as many as --steps)"),
        ("--iterations", parse_whole, "K", "fixed-point: predictions at each step (default: 5)"),
        ("--inner-steps", parse_whole, "J", "null-text: most iterations of a step (default: 10)"),
        ("--early-stop", parse_number, "LOSS",
         "null-text: the loss at which a step stops (default: 1e-5)"),
        ("--inversion-seed", parse_whole, "SEED",
         "edit-friendly: the seed of its noise (default: 0)"),
    ):  # fmt: skip
        group.add_argument(name, type=parse, metavar=metavar, help=text)


def add_tune_option(sub: argparse.ArgumentParser) -> None:
    """Which steps null-text inversion tunes."""
    sub.add_argument(
        "--tune", choices=("all", "plan"),
        help="null-text: tune all steps, or only the steps at which the edit calls the UNet",
    )  # fmt: skip


def add_mask_options(sub: argparse.ArgumentParser, save: bool = True) -> None:
    """Where an edit happens; save adds the option that writes the mask to a file."""
    group = sub.add_argument_group("mask (by default the whole picture is edited)")
    one = group.add_mutually_exclusive_group()
    one.add_argument(
        "--mask",
        metavar="FILE",
        help="a picture of PICTURE's size: its white pixels are edited, or its transparent ones if "
        "it has any",
    )
    one.add_argument("--box", type=parse_box, metavar="X0,Y0,X1,Y1", help="in PICTURE's pixels")
    one.add_argument(
        "--auto-mask", action="store_true",
        help="edit where the predictions for the two prompts differ",
    )  # fmt: skip
    group.add_argument(
        "--feather", type=parse_whole, default=0, metavar="PIXELS",
        help="fade over so many pixels inside the mask's edge",
    )  # fmt: skip
    group.add_argument(
        "--no-paste", dest="paste", action="store_false",
        help="do not paste PICTURE's pixels back outside the mask",
    )  # fmt: skip
    if save:
        group.add_argument(
            "--save-mask", type=parse_png_path, metavar="FILE", help="write the mask that was used"
        )


def add_save_option(sub: argparse.ArgumentParser) -> None:
    """The file for the source, for later edits."""
    sub.add_argument(
        "--save-source", type=parse_safetensors_path, metavar="FILE",
        help="write the source as a .safetensors file, which edit takes as PICTURE",
    )  # fmt: skip

"""The command line of mdp-lite as argparse reads it; nothing heavy is imported for `--help`."""

import argparse
from pathlib import Path

from mdp_lite.cli.app_options import add_app_options
from mdp_lite.cli.argument_types import parse_list, parse_number, parse_png_path, parse_whole
from mdp_lite.cli.batch_options import add_batch_options
from mdp_lite.cli.bench_options import add_bench_options
from mdp_lite.cli.edit_options import add_edit_options, add_grid_options
from mdp_lite.cli.model_options import (
    add_checkpoint_options,
    build_model_parent,
    build_output_parent,
    build_sampling_parent,
)
from mdp_lite.cli.parser import CommandParser
from mdp_lite.cli.picture_options import (
    add_fit_option,
    add_inversion_options,
    add_mask_options,
    add_save_option,
    add_source_options,
    add_tune_option,
)
from mdp_lite.cli.serve_options import add_serve_options
from mdp_lite.names import DTYPES, ENGINES
from mdp_lite.version import __version__

SEED_HELP = "of a generated source (default: 0)"


def build_parser() -> CommandParser:
    """mdp-lite and its sub-commands."""
    top = CommandParser("mdp-lite", description="Edit pictures by text (MDP).", allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"mdp-lite {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    output, model, sampling = build_output_parent(), build_model_parent(), build_sampling_parent()
    cluster = build_model_parent((*ENGINES, "ray"))
    for name, add_options, parents, text in (
        ("generate", _add_generate, [sampling, model, output], "make a picture from a prompt"),
        ("edit", _add_edit, [sampling, model, output], "edit a picture or a generated one"),
        ("plan", _add_plan, [sampling, model, output], "what an edit will compute and cost"),
        ("sweep", _add_sweep, [sampling, model, output], "many edits at once, on a contact sheet"),
        ("invert", _add_invert, [sampling, model, output], "invert a picture and reconstruct it"),
        ("batch", add_batch_options, [sampling, cluster, output], "edit many pictures, each once"),
        ("app", add_app_options, [model, output], "edit in the browser"),
        ("serve", add_serve_options, [cluster, output], "a service with the OpenAI Images API"),
        ("bench", add_bench_options, [model, output], "compare inversions, edits or engines"),
        ("compile", _add_compile, [model, output], "compile the UNet ahead, for the engine aot"),
        ("info", _add_info, [output], "describe a model"),
        ("convert", _add_convert, [output], "write a model in another form, without pickles"),
        ("demo", _add_demo, [output], "edits by the bundled model, all variants on one sheet"),
    ):
        sub = commands.add_parser(
            name, parents=parents, help=text, description=f"{text[0].upper()}{text[1:]}.",
            allow_abbrev=False,
        )  # fmt: skip
        add_options(sub)
    return top


def _add_generate(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("prompt", metavar="PROMPT")
    sub.add_argument("--seed", type=parse_whole, default=0, help="default: 0")
    sub.set_defaults(picture=None)
    _add_output_file(sub, "out.png")
    add_save_option(sub)


def _add_edit(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--prompt", required=True, metavar="TARGET", help="what the edit shows")
    add_source_options(sub)
    sub.add_argument("--seed", type=parse_whole, help=SEED_HELP)
    _add_output_file(sub, "edited.png")
    add_save_option(sub)
    sub.add_argument(
        "--sheet", type=parse_png_path, metavar="FILE", help="before and after, side by side"
    )
    sub.add_argument(
        "--previews", type=parse_png_path, metavar="FILE",
        help="a sheet of cheap previews of the edit's steps",
    )  # fmt: skip
    sub.add_argument(
        "--deadline", type=parse_number, metavar="SECONDS",
        help="the time for each edit; when it is up, the best picture so far is written",
    )  # fmt: skip
    add_mask_options(sub)
    add_tune_option(sub)
    add_edit_options(sub)


def _add_plan(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--prompt", required=True, metavar="TARGET", help="what the edit shows")
    add_source_options(sub)
    sub.add_argument("--seed", type=parse_whole, help=SEED_HELP)
    add_tune_option(sub)
    add_edit_options(sub)


def _add_sweep(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--prompt", required=True, action="append", metavar="TARGET",
        help="what the edit shows; can be given several times",
    )  # fmt: skip
    add_source_options(sub)
    sub.add_argument(
        "--seed", type=parse_list(parse_whole), metavar="SEEDS",
        help="of generated sources, such as 1,2,3 (default: 0)",
    )  # fmt: skip
    sub.add_argument(
        "-o", "--output", type=Path, default=Path("sweep"), metavar="FOLDER",
        help="for sheet.png, sweep.jsonl and the picture of each cell (default: sweep)",
    )  # fmt: skip
    sub.add_argument("--rows", type=parse_whole, metavar="N", help="the most UNet rows of a call")
    add_grid_options(sub)


def _add_invert(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("picture", metavar="PICTURE", help="a PNG, JPEG or WebP")
    sub.add_argument("--prompt", default="", metavar="TEXT", help="what the picture shows")
    add_inversion_options(sub)
    add_fit_option(sub)
    _add_output_file(sub, "reconstruction.png")
    add_save_option(sub)


def _add_compile(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="for the packages"
    )
    sub.add_argument(
        "--rows", type=parse_whole, nargs="+", default=[1, 2], metavar="N",
        help="UNet rows of a call, one package for each (default: 1 2, without and with guidance)",
    )  # fmt: skip
    sub.add_argument("--width", type=parse_whole, metavar="PIXELS", help="default: the model's")
    sub.add_argument("--height", type=parse_whole, metavar="PIXELS", help="default: the model's")


def _add_info(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "model", nargs="?", default="tiny", metavar="MODEL",
        help="a folder, a .safetensors file or a hub id (default: tiny, bundled)",
    )  # fmt: skip
    sub.add_argument("--list", action="store_true", help="well-known checkpoints and licences")
    sub.add_argument(
        "--no-hash", dest="hash", action="store_false", help="leave out the files' SHA-256"
    )
    add_checkpoint_options(sub.add_argument_group("model"))


def _add_convert(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "model", metavar="MODEL",
        help="a folder, a .safetensors file, a hub id or a pickle (.ckpt, .pt, .bin)",
    )  # fmt: skip
    sub.add_argument(
        "output", type=Path, metavar="OUT", help="a .safetensors file, or else a new folder"
    )
    sub.add_argument("--dtype", default="auto", choices=DTYPES, help="default: the checkpoint's")
    add_checkpoint_options(sub.add_argument_group("model"))


def _add_demo(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "-o", "--output", type=Path, default=Path("demo"), metavar="FOLDER", help="default: demo"
    )
    sub.set_defaults(model="tiny", picture=None)


def _add_output_file(sub: argparse.ArgumentParser, default: str) -> None:
    sub.add_argument(
        "-o", "--output", type=parse_png_path, default=Path(default), metavar="FILE",
        help=f"default: {default}",
    )  # fmt: skip

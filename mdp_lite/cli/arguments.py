"""The command line of mdp-lite as argparse reads it; nothing heavy is imported for `--help`."""

import argparse
import os
from pathlib import Path
from typing import NoReturn

from mdp_lite.cli.app_options import hosting
from mdp_lite.cli.argument_types import embedding, lora, number, one_of, png, several, whole
from mdp_lite.cli.batch_options import batching
from mdp_lite.cli.bench_options import benching
from mdp_lite.cli.picture_options import fitting, inverting, masking, saving, tuning
from mdp_lite.cli.serve_options import serving
from mdp_lite.version import __version__

# Equal to schedule.VARIANTS and schedule.SHAPES, which cost an import of torch.
VARIANTS = ("epsilon", "c", "x", "beta")
SCHEDULES = ("constant", "linear", "cosine", "exp", "leash")
DTYPES = ("auto", "float32", "float16", "bfloat16")
ENGINES = ("auto", "eager", "compile", "graph", "aot")
PREDICTIONS = ("epsilon", "v_prediction")


class Parser(argparse.ArgumentParser):
    """Raises ValueError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """One sentence for main to print."""
        raise ValueError(message)


def build_parser() -> Parser:
    """mdp-lite and its sub-commands."""
    top = Parser("mdp-lite", description="Edit pictures by text (MDP).", allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"mdp-lite {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    common, model, sampling = _common(), _model(), _sampling()
    spread = _model(("ray",))
    for name, add, parents, text in (
        ("generate", _generate, [sampling, model, common], "make a picture from a prompt"),
        ("edit", _edit, [sampling, model, common], "edit a picture, or one made from a prompt"),
        ("plan", _plan, [sampling, model, common], "what an edit computes and costs, without it"),
        ("sweep", _sweep, [sampling, model, common], "many edits at once, on a contact sheet"),
        ("invert", _invert, [sampling, model, common], "invert a picture and reconstruct it"),
        ("batch", _batch, [sampling, spread, common], "edit many pictures, each once"),
        ("app", hosting, [model, common], "edit in the browser"),
        ("serve", serving, [spread, common], "edit for others, behind the OpenAI Images API"),
        ("bench", benching, [model, common], "compare inversions or edits, or time the engine"),
        ("compile", _compile, [model, common], "packages for the engine aot, run by no compiler"),
        ("info", _info, [common], "what a model consists of"),
        ("convert", _convert, [common], "write a model in another form, pickles as safetensors"),
        ("demo", _demo, [common], "edits with the bundled model, all variants, on one sheet"),
    ):
        sub = commands.add_parser(
            name, parents=parents, help=text, description=f"{text.capitalize()}.",
            allow_abbrev=False,
        )  # fmt: skip
        add(sub)
    return top


def _common() -> Parser:
    common = Parser(add_help=False)
    group = common.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="one JSON object on stdout")
    group.add_argument("--quiet", action="store_true", help="no progress, no messages")
    group.add_argument(
        "--dry-run", action="store_true", help="check everything, say the cost, write nothing"
    )
    return common


def _model(more: tuple[str, ...] = ()) -> Parser:
    model = Parser(add_help=False)
    group = model.add_argument_group("model")
    group.add_argument(
        "--model", default="tiny",
        help="a folder, a .safetensors file or a hub id (default: tiny, bundled)",
    )  # fmt: skip
    group.add_argument("--device", help="cpu, cuda or cuda:1 (default: a GPU if there is one)")
    group.add_argument("--dtype", default="auto", choices=DTYPES, help="default: the checkpoint's")
    group.add_argument("--vae", metavar="PLACE", help="another VAE: folder, file or hub id")
    group.add_argument(
        "--lora", type=lora, action="append", default=[], metavar="FILE[:STRENGTH]",
        help="a LoRA to merge (default strength: 1); may be given several times",
    )  # fmt: skip
    group.add_argument(
        "--embedding", type=embedding, action="append", default=[], metavar="FILE[=WORD]",
        help="a word learned by textual inversion; may be given several times",
    )  # fmt: skip
    reading(group)
    group.add_argument(
        "--engine", choices=(*ENGINES, *more), default="auto",
        help="how the UNet is run (default: graphs on a GPU, else packages where given, or eager)",
    )  # fmt: skip
    group.add_argument(
        "--packages", metavar="FOLDER", type=Path,
        default=os.environ.get("MDP_LITE_PACKAGES") or None,
        help="what mdp-lite compile wrote: machine code, so a folder you trust",
    )  # fmt: skip
    group.add_argument(
        "--cache", metavar="FOLDER", default=os.environ.get("MDP_LITE_CACHE") or None,
        help="keep sources there and make none twice (default: the variable MDP_LITE_CACHE)",
    )  # fmt: skip
    return model


def reading(group: "argparse._ArgumentGroup") -> None:
    """What a checkpoint leaves open, and how the hub is asked."""
    group.add_argument("--model-variant", metavar="NAME", help="a folder's fp16 files, say")
    group.add_argument(
        "--prediction-type", choices=PREDICTIONS, help="instead of what the checkpoint says"
    )
    group.add_argument("--ema", action="store_true", help="a single file's averaged UNet")
    group.add_argument("--tokenizer", metavar="PLACE", help="for a single file: folder or hub id")
    group.add_argument("--revision", help="of a hub id: a branch, tag or commit")
    group.add_argument("--offline", action="store_true", help="take hub ids from the cache alone")


def _sampling() -> Parser:
    sampling = Parser(add_help=False)
    group = sampling.add_argument_group("sampling (by default as the model suggests)")
    group.add_argument("--steps", type=whole, metavar="N", help="DDIM steps")
    group.add_argument("--guidance-scale", type=number, metavar="G", help="1 = no guidance")
    group.add_argument("--negative-prompt", default="", metavar="TEXT")
    group.add_argument("--width", type=whole, metavar="PIXELS")
    group.add_argument("--height", type=whole, metavar="PIXELS")
    return sampling


def _generate(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("prompt", metavar="PROMPT")
    sub.add_argument("--seed", type=whole, default=0, help="default: 0")
    sub.set_defaults(picture=None)
    _output(sub, "out.png")
    saving(sub)


def _edit(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--prompt", required=True, metavar="TARGET", help="what it is to show")
    _source(sub)
    sub.add_argument("--seed", type=whole, help="of a source made from a prompt (default: 0)")
    _output(sub, "edited.png")
    saving(sub)
    sub.add_argument("--sheet", type=png, metavar="FILE", help="before and after, side by side")
    sub.add_argument("--previews", type=png, metavar="FILE", help="cheap looks at it on its way")
    sub.add_argument(
        "--deadline", type=number, metavar="SECONDS", help="of an edit: then the best so far"
    )
    masking(sub)
    tuning(sub)
    _steering(sub)


def _source(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "picture", nargs="?", metavar="PICTURE",
        help="a PNG, JPEG, WebP or saved source; without one: --source-prompt and --seed",
    )  # fmt: skip
    sub.add_argument("--source-prompt", metavar="SOURCE", help="what it shows now")
    inverting(sub)
    fitting(sub)


def _steering(sub: argparse.ArgumentParser) -> None:
    group = sub.add_argument_group("edit")
    group.add_argument(
        "--variant", choices=(*VARIANTS, "all"),
        help="what is mixed with the source's; all makes one picture each (default: x for a "
        "picture inverted by edit-friendly, else, or where a window is given, epsilon)",
    )  # fmt: skip
    group.add_argument("--t-max", type=number, metavar="STEPS", help="steps to go as mixing starts")
    group.add_argument("--t-m", type=number, metavar="STEPS", help="steps that are mixed")
    group.add_argument(
        "--schedule", choices=SCHEDULES,
        help="weights of them (default: leash, or constant where a window is given)",
    )  # fmt: skip
    group.add_argument(
        "--strength", type=number, metavar="S", help="instead of --t-m: 0 = source, 1 = new picture"
    )
    group.add_argument(
        "--proximal", type=number, metavar="Q",
        help="proximal guidance: only where the predictions differ most, above this quantile",
    )  # fmt: skip


def _plan(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--prompt", required=True, metavar="TARGET", help="what it is to show")
    _source(sub)
    sub.add_argument("--seed", type=whole, help="of a source made from a prompt (default: 0)")
    tuning(sub)
    _steering(sub)


def _sweep(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--prompt", required=True, action="append", metavar="TARGET",
        help="what it is to show; may be given several times",
    )  # fmt: skip
    _source(sub)
    sub.add_argument(
        "--seed", type=several(whole), metavar="SEEDS",
        help="of sources made from a prompt, as 1,2,3 (default: 0)",
    )  # fmt: skip
    sub.add_argument(
        "-o", "--output", type=Path, default=Path("sweep"), metavar="FOLDER",
        help="for sheet.png, sweep.jsonl and every cell's picture (default: sweep)",
    )  # fmt: skip
    sub.add_argument("--rows", type=whole, metavar="N", help="UNet rows of a call, at most")
    group = sub.add_argument_group("settings, each one or several as A,B,C")
    for name, kind, default in (
        ("--variants", one_of(VARIANTS), [None]),
        ("--t-max", number, [None]),
        ("--t-m", number, [None]),
        ("--schedules", one_of(SCHEDULES), [None]),
    ):
        group.add_argument(name, type=several(kind), default=default, metavar="LIST")


def _batch(sub: argparse.ArgumentParser) -> None:
    batching(sub)
    _steering(sub)


def _invert(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("picture", metavar="PICTURE", help="a PNG, JPEG or WebP")
    sub.add_argument("--prompt", default="", metavar="TEXT", help="what it shows")
    inverting(sub)
    fitting(sub)
    _output(sub, "reconstruction.png")
    saving(sub)


def _compile(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="where packages are kept"
    )
    sub.add_argument(
        "--rows", type=whole, nargs="+", default=[1, 2], metavar="N",
        help="of one call, a package each (default: 1 2, without and with guidance)",
    )  # fmt: skip
    sub.add_argument("--width", type=whole, metavar="PIXELS", help="default: the model's")
    sub.add_argument("--height", type=whole, metavar="PIXELS", help="default: the model's")


def _info(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "model", nargs="?", default="tiny", metavar="MODEL",
        help="a folder, a .safetensors file or a hub id (default: tiny, bundled)",
    )  # fmt: skip
    sub.add_argument("--list", action="store_true", help="well-known checkpoints and licences")
    sub.add_argument(
        "--no-hash",
        dest="hash",
        action="store_false",
        help="leave out the files' SHA-256",
    )
    reading(sub.add_argument_group("model"))


def _convert(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "model", metavar="MODEL",
        help="a folder, a .safetensors file, a hub id or a pickle (.ckpt, .pt, .bin)",
    )  # fmt: skip
    sub.add_argument(
        "output", type=Path, metavar="OUT", help="a .safetensors file, or else a new folder"
    )
    sub.add_argument("--dtype", default="auto", choices=DTYPES, help="default: as it is")
    reading(sub.add_argument_group("model"))


def _demo(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "-o", "--output", type=Path, default=Path("demo"), metavar="FOLDER", help="default: demo"
    )
    sub.set_defaults(model="tiny", picture=None)


def _output(sub: argparse.ArgumentParser, default: str) -> None:
    sub.add_argument(
        "-o", "--output", type=png, default=Path(default), metavar="FILE",
        help=f"default: {default}",
    )  # fmt: skip

"""python -m train_tiny: draw the scenes, train the parts, write the checkpoint folder."""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from transformers import CLIPTokenizer

from train_tiny import autoencoder, denoiser, reader, score, score_pictures
from train_tiny.data import prepare
from train_tiny.export import export
from train_tiny.pack import describe, pack, unpack
from train_tiny.recipe import PARTS, TINY, Recipe
from train_tiny.small import SMALL
from train_tiny.tokens import write_tokenizer
from train_tiny.workers import spawn

STAGES = ("data", *PARTS, "export", "score")
PACK = "pack"  # writes the file from which another machine goes on; in no full run
RECIPES = {recipe.name: recipe for recipe in (TINY, SMALL)}


def run(stage: str, recipe: Recipe, work: Path, out: Path) -> None:
    """Run one stage: read the files of earlier stages in work, resume its own checkpoint."""
    tokenizer = work / "tokenizer"
    write_tokenizer(tokenizer, recipe.world.words, recipe.length)
    resume = recipe.resume
    if resume and resume.exists() and not any((work / f"{part}.pt").exists() for part in PARTS):
        print("resuming from", resume.name, describe(unpack(resume, work)))
    prepare(work, recipe, tokenizer)
    if stage == PACK and resume:
        print("packed", describe(pack(recipe, work, resume)))
    if stage == "vae":
        spawn(autoencoder.train, recipe, work)
        autoencoder.encode(recipe, work)
    if stage == "unet":
        words = CLIPTokenizer.from_pretrained(tokenizer)
        empty = words("", padding="max_length", max_length=recipe.length)["input_ids"]
        spawn(denoiser.train, recipe, work, len(words), empty)
    if stage == "decoder":
        spawn(autoencoder.train_decoder, recipe, work)
    if stage == "reader":
        prepare_more(recipe, work, tokenizer)
        reader.stage(recipe, work)
    if stage == "export":
        export(recipe, work, out)


def prepare_more(recipe: Recipe, work: Path, tokenizer: Path) -> None:
    """Draw the scenes that the reader alone learns from."""
    if recipe.reader_scenes:
        more = replace(recipe, scenes=recipe.reader_scenes)
        prepare(reader.find_scenes(recipe, work), more, tokenizer)


def change_recipe(args: argparse.Namespace) -> Recipe:
    """The recipe with the number of scenes, minutes and steps of the command line."""
    recipe = RECIPES[args.model]
    if args.scenes:
        recipe = replace(recipe, scenes=args.scenes, reader_scenes=0)
    for part in PARTS:
        minutes, steps = getattr(args, f"{part}_minutes"), getattr(args, f"{part}_steps")
        training = getattr(recipe, f"{part}_training")
        if minutes is not None:
            training = replace(training, minutes=minutes, steps=0)
        if steps is not None:
            training = replace(training, steps=steps)
        recipe = replace(recipe, **{f"{part}_training": training})
    return recipe


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser("python -m train_tiny", description=__doc__)
    parser.add_argument(
        "stages", nargs="*", help=f"some of {', '.join(STAGES)}; default all; or {PACK}"
    )
    parser.add_argument("--model", choices=RECIPES, default="tiny", help="the recipe")
    parser.add_argument("--work", type=Path, help="checkpoints and sheets; default runs/MODEL")
    parser.add_argument("--out", type=Path, help="default weights/mdp_lite_weights/MODEL")
    parser.add_argument("--scenes", type=int)
    for part in PARTS:
        parser.add_argument(f"--{part}-minutes", type=float, help="train by time")
        parser.add_argument(f"--{part}-steps", type=int, help="train by steps")
    parser.add_argument("--quick", action="store_true", help="score a few pictures only")
    parser.add_argument("--guidance", type=float, help="score at this guidance")
    parser.add_argument("--dtype", choices=score.DTYPES, default="bfloat16", help="score in this")
    return parser


def run_score(recipe: Recipe, args: argparse.Namespace, found: Path, out: Path) -> None:
    """Score the pictures of the checkpoint in out; of the first model its edits too."""
    plan = score_pictures.QUICK_PICTURES if args.quick else score_pictures.PicturePlan()
    score_pictures.stage(recipe, out, found, plan, args.guidance)
    if recipe.name == TINY.name:
        score.stage(out, found, args.quick, args.guidance, args.dtype)


def main() -> None:
    """Read the command line and run the stages in order."""
    parser = make_parser()
    args = parser.parse_args()
    unknown = set(args.stages) - {*STAGES, PACK}
    if unknown:
        parser.error(f"stages must be among {', '.join(STAGES)}, got {', '.join(sorted(unknown))}")
    work = args.work or Path("runs") / args.model
    out = args.out or Path("weights/mdp_lite_weights") / args.model
    recipe = change_recipe(args)
    torch.set_num_threads(1)
    for stage in args.stages or STAGES:
        if stage == "score":
            run_score(recipe, args, work / "score", out)
            continue
        run(stage, recipe, work, out)


if __name__ == "__main__":
    main()

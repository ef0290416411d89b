"""python -m train_tiny: draw the scenes, train the parts, write the checkpoint folder."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from mdp_lite.names import BadInput
from train_tiny import score, score_pictures
from train_tiny.recipe import PARTS, TINY, Recipe
from train_tiny.small import SMALL
from train_tiny.stages import Places, check_stages, run_stage, start_work

STAGES = ("data", *PARTS, "export", "score")
PACK = "pack"  # writes the file from which another machine goes on; in no full run
RECIPES = {recipe.name: recipe for recipe in (TINY, SMALL)}


def change_recipe(args: argparse.Namespace) -> Recipe:
    """The recipe with the number of scenes, minutes and steps of the command line.

    Raises BadInput for fewer scenes than a batch has.
    """
    recipe = RECIPES[args.model]
    if args.scenes is not None:
        recipe = replace(recipe, scenes=args.scenes, reader_scenes=0)
    for part in PARTS:
        minutes, steps = getattr(args, f"{part}_minutes"), getattr(args, f"{part}_steps")
        training = getattr(recipe, f"{part}_training")
        if training.batch > recipe.scenes:
            raise BadInput(f"scenes must be {training.batch} or more, got {recipe.scenes}")
        if minutes is not None:
            training = replace(training, minutes=minutes, steps=0)
        if steps is not None:
            training = replace(training, steps=steps)
        recipe = replace(recipe, **{f"{part}_training": training})
    return recipe


def above_zero(read: Callable[[str], float]) -> Callable[[str], float]:
    """A reader of numbers that refuses those up to zero."""

    def read_number(text: str) -> float:
        number = read(text)
        if not 0 < number < float("inf"):
            raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
        return number

    return read_number


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser("python -m train_tiny", description=__doc__)
    parser.add_argument(
        "stages", nargs="*", help=f"some of {', '.join(STAGES)}; default all; or {PACK}"
    )
    parser.add_argument("--model", choices=RECIPES, default="tiny", help="the recipe")
    parser.add_argument("--work", type=Path, help="checkpoints and sheets; default runs/MODEL")
    parser.add_argument(
        "--out",
        type=Path,
        help="default weights/mdp_lite_weights/MODEL, and the reader into the package; with a "
        "folder given the reader stays in --work",
    )
    parser.add_argument("--scenes", type=above_zero(int))
    for part in PARTS:
        parser.add_argument(f"--{part}-minutes", type=above_zero(float), help="train by time")
        parser.add_argument(f"--{part}-steps", type=above_zero(int), help="train by steps")
    parser.add_argument("--quick", action="store_true", help="score a few pictures only")
    parser.add_argument("--guidance", type=float, help="score at this guidance")
    parser.add_argument("--dtype", choices=score.DTYPES, help="score edits in this (bfloat16)")
    return parser


def run_score(recipe: Recipe, args: argparse.Namespace, places: Places) -> None:
    """Score the pictures of the checkpoint in places.out; of the first model its edits too."""
    plan = score_pictures.QUICK_PICTURES if args.quick else score_pictures.PicturePlan()
    found = places.work / "score"
    score_pictures.stage(recipe, places.out, found, plan, args.guidance)
    if recipe.name == TINY.name:
        score.stage(places.out, found, args.quick, args.guidance, args.dtype or "bfloat16")


def find_places(args: argparse.Namespace, recipe: Recipe) -> Places:
    """Where the command line says that things are, or the project's own places."""
    own = Path("weights/mdp_lite_weights") / args.model
    reader = recipe.reader.weights if args.out is None else None
    return Places(args.work or Path("runs") / args.model, args.out or own, reader)


def check(args: argparse.Namespace) -> Recipe:
    """The recipe. Raises BadInput for what the command line asks in vain."""
    unknown = set(args.stages) - {*STAGES, PACK}
    if unknown:
        raise BadInput(
            f"stages must be among {', '.join(STAGES)}, got {', '.join(sorted(unknown))}"
        )
    if args.dtype and args.model != TINY.name:
        raise BadInput("--dtype is of edits, which are scored of tiny alone")
    return change_recipe(args)


def main() -> None:
    """Read the command line and run the stages in order."""
    parser = make_parser()
    args = parser.parse_args()
    torch.set_num_threads(1)
    stages = args.stages or STAGES
    try:
        recipe = check(args)
        places = find_places(args, recipe)
        if set(stages) != {"score"}:
            start_work(recipe, places.work)
        check_stages([name for name in stages if name != "score"], recipe, places.work)
        for name in stages:
            if name == "score":
                run_score(recipe, args, places)
            else:
                run_stage(name, recipe, places)
    except BadInput as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()

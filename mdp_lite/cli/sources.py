"""The source of an edit: from a picture, a saved source, or a prompt and a seed."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from mdp_lite.cli.console import Console
from mdp_lite.editor import Editor, Source
from mdp_lite.method.null_text import TunedStep
from mdp_lite.method.plan import call_steps, plan
from mdp_lite.names import VARIANTS, BadInput
from mdp_lite.pictures import images
from mdp_lite.pipeline.inversion_methods import (
    DEFAULT_METHOD,
    INNER_STEPS,
    METHODS,
    NEVER,
    Inversion,
)
from mdp_lite.pipeline.request import build_weights
from mdp_lite.pipeline.result import Cost
from mdp_lite.pipeline.sources import OnTuned
from mdp_lite.store import source_file

SETTINGS = ("inversion_steps", "iterations", "inner_steps", "early_stop", "inversion_seed")
INVERSION = ("method", *SETTINGS, "tune")  # options that only an inversion reads


def choose_source(args: Namespace, editor: Editor, console: Console) -> Source:
    """The source that the command line asks for: PICTURE, or --source-prompt and --seed."""
    if args.picture is not None and args.picture.endswith(".safetensors"):
        return source_from_file(args, editor)
    if args.picture is None:
        if args.source_prompt is None:
            raise BadInput(f"{args.command} needs a PICTURE or a --source-prompt, got neither")
        for name in (*INVERSION, "fit"):
            if (value := getattr(args, name, None)) is not None:
                option = name.replace("_", "-")
                raise BadInput(f"{option} is for inverting a PICTURE, got {value!r} without one")
        return source_from_prompt(args, editor, console, args.source_prompt, args.seed or 0)
    if args.seed is not None:
        raise BadInput(f"seed is for a source made from a prompt, got {args.seed} and a PICTURE")
    return source_from_picture(args, editor, console, args.source_prompt or "")


def source_from_file(args: Namespace, editor: Editor) -> Source:
    """A saved source, which costs nothing. Raises BadInput for options that it has settings for."""
    for name in ("source_prompt", "seed", *INVERSION, "fit", "steps", "width", "height"):
        if getattr(args, name, None) is not None:
            option = name.replace("_", "-")
            raise BadInput(f"{option} is for making a source: the saved one has its own")
    return replace(editor.load_source(args.picture), cost=Cost(0, 0))


def source_from_prompt(
    args: Namespace, editor: Editor, console: Console, prompt: str, seed: int
) -> Source:
    """A source generated from a prompt and a seed."""
    with console.progress("generate") as on_step:
        source = editor.generate(
            prompt, seed, args.steps, args.guidance_scale, args.negative_prompt, args.width,
            args.height, on_step,
        )  # fmt: skip
    log_truncation(editor, console, prompt, args.negative_prompt)
    return source


def source_from_picture(
    args: Namespace, editor: Editor, console: Console, prompt: str
) -> Source:  # fmt: skip
    """A source inverted from PICTURE.

    --guidance-scale is for the inversion if that is the command, or if edits repeat its guidance;
    else it is for the edit alone.
    """
    picture, inversion = images.open_picture(args.picture), build_inversion(args, editor)
    repeats = METHODS[inversion.method].repeats_guidance
    guidance = args.guidance_scale if args.command == "invert" or repeats else None
    with console.progress("invert") as on_step:
        source = editor.invert(
            picture, prompt, inversion, args.steps, guidance, args.negative_prompt, args.width,
            args.height, args.fit or "crop", on_step, _show_tuning(console, inversion),
        )  # fmt: skip
    for change in images.describe_changes(source.picture):
        console.log(f"the picture: {change}")
    (w, h), (width, height) = source.picture.size, source.image.size
    if fitting := source.fit.describe():
        console.log(f"the picture of {w}x{h} was {fitting} to {width}x{height}")
    log_truncation(editor, console, prompt, args.negative_prompt)
    return source


def build_inversion(args: Namespace, editor: Editor) -> Inversion:
    """The inversion that the command line asks for.

    In a dry run null-text does not stop early, because the dry run reports the highest cost.
    """
    settings = {
        name: getattr(args, name) for name in ("inversion_steps", "iterations", "inner_steps")
    }
    method, early_stop = args.method or DEFAULT_METHOD, args.early_stop
    if args.dry_run and method == "null-text" and early_stop is None:
        early_stop = NEVER
    tune = getattr(args, "tune", None)
    if tune and method != "null-text":
        raise BadInput(f"tune is for null-text, got {tune!r} with {method}")
    steps = _find_call_steps(args, editor) if tune == "plan" else None
    return Inversion(
        method, **settings, early_stop=early_stop, tuned_steps=steps, seed=args.inversion_seed
    )


def _find_call_steps(args: Namespace, editor: Editor) -> tuple[int, ...]:
    """The steps at which the edits of the command line call the UNet."""
    grid = editor.runner.grid(args.steps)
    window = args.t_max, args.t_m, args.schedule, args.strength
    steps: set[int] = set()
    for variant in VARIANTS if args.variant == "all" else (args.variant,):
        weights = build_weights(len(grid.t), editor.models.defaults, variant, *window)
        steps |= set(call_steps(plan(weights, grid)))
    return tuple(sorted(steps))


def _show_tuning(console: Console, inversion: Inversion) -> OnTuned:
    """A function that shows the result of each tuned step of null-text."""
    inner_steps = inversion.inner_steps or INNER_STEPS

    def on_tuned(i: int, step: TunedStep) -> None:
        tries, loss = int(step.iterations.max()), float(step.loss.max())
        console.status(f"loss {loss:.1e}, {tries} of {inner_steps} inner steps")

    return on_tuned


def pack_source(args: Namespace, source: Source) -> tuple[tuple[Path, bytes], ...]:
    """The file of --save-source and its content, if that is asked for."""
    return ((args.save_source, source_file.to_file_bytes(source)),) if args.save_source else ()


def log_truncation(editor: Editor, console: Console, *prompts: str) -> None:
    """Log where prompts are cut that are longer than the model can read."""
    for prompt in prompts:
        for sentence in editor.runner.describe_cuts(prompt):
            console.log(sentence)

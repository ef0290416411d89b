"""Where the commands that edit get their source: from a picture, or from a prompt and a seed."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from mdp_lite.cli.console import Console
from mdp_lite.editor import Editor, Source
from mdp_lite.method.null_text import Tuned
from mdp_lite.method.plan import Known, evaluated, plan
from mdp_lite.names import VARIANTS
from mdp_lite.pictures import images
from mdp_lite.pipeline.inversion_methods import (
    DEFAULT_METHOD,
    INNER_STEPS,
    METHODS,
    NEVER,
    Inversion,
)
from mdp_lite.pipeline.masks import Where
from mdp_lite.pipeline.request import described
from mdp_lite.pipeline.result import Cost
from mdp_lite.pipeline.sources import OnTuned
from mdp_lite.store import source_file as sources

SETTINGS = ("inversion_steps", "iterations", "inner_steps", "early_stop", "inversion_seed")
INVERTING = ("method", *SETTINGS, "tune")


def source_of(args: Namespace, editor: Editor, console: Console) -> Source:
    """The path that an edit reads: of PICTURE, a saved one, or of --source-prompt and --seed."""
    if args.picture is not None and args.picture.endswith(".safetensors"):
        return loaded(args, editor)
    if args.picture is None:
        if args.source_prompt is None:
            raise ValueError(f"{args.command} needs a PICTURE or a --source-prompt, got neither")
        for name in (*INVERTING, "fit"):
            if (given := getattr(args, name, None)) is not None:
                shown = name.replace("_", "-")
                raise ValueError(f"{shown} is for inverting a PICTURE, got {given!r} without one")
        return generated(args, editor, console, args.source_prompt, args.seed or 0)
    if args.seed is not None:
        raise ValueError(f"seed is for a source made from a prompt, got {args.seed} and a PICTURE")
    return inverted(args, editor, console, args.source_prompt or "")


def loaded(args: Namespace, editor: Editor) -> Source:
    """A source from its file, which costs nothing; it has its own settings."""
    for name in ("source_prompt", "seed", *INVERTING, "fit", "steps", "width", "height"):
        if getattr(args, name, None) is not None:
            shown = name.replace("_", "-")
            raise ValueError(f"{shown} is for making a source: the saved one has its own")
    return replace(editor.load_source(args.picture), cost=Cost(0, 0))


def saved(args: Namespace, source: Source) -> tuple[tuple[Path, bytes], ...]:
    """The file that --save-source asks for."""
    return ((args.save_source, sources.to_file(source)),) if args.save_source else ()


def generated(args: Namespace, editor: Editor, console: Console, prompt: str, seed: int) -> Source:
    """A source from a prompt and a seed."""
    with console.progress("generate") as on_step:
        source = editor.generate(
            prompt, seed, args.steps, args.guidance_scale, args.negative_prompt, args.width,
            args.height, on_step,
        )  # fmt: skip
    note_cut(editor, console, prompt, args.negative_prompt)
    return source


def inverted(args: Namespace, editor: Editor, console: Console, prompt: str) -> Source:
    """A source from the picture of the command line; the guidance asked for is that of the edit."""
    picture, how = images.open_picture(args.picture), inversion(args, editor)
    given = args.command == "invert" or METHODS[how.method].repeats
    guidance = args.guidance_scale if given else None
    with console.progress("invert") as on_step:
        source = editor.invert(
            picture, prompt, how, args.steps, guidance, args.negative_prompt, args.width,
            args.height, args.fit or "crop", on_step, _told(console, how),
        )  # fmt: skip
    (w, h), (width, height) = source.picture.size, source.image.size
    if how := source.frame.told():
        console.log(f"the picture of {w}x{h} was {how} to {width}x{height}")
    note_cut(editor, console, prompt, args.negative_prompt)
    return source


def inversion(args: Namespace, editor: Editor) -> Inversion:
    """How the command line inverts; a dry run of null-text never stops early: it says the most."""
    given = {name: getattr(args, name) for name in ("inversion_steps", "iterations", "inner_steps")}
    method, early_stop = args.method or DEFAULT_METHOD, args.early_stop
    if args.dry_run and method == "null-text" and early_stop is None:
        early_stop = NEVER
    tune = getattr(args, "tune", None)
    if tune and method != "null-text":
        raise ValueError(f"tune is for null-text, got {tune!r} with {method}")
    rows = _rows(args, editor) if tune == "plan" else None
    return Inversion(method, **given, early_stop=early_stop, rows=rows, seed=args.inversion_seed)


def _rows(args: Namespace, editor: Editor) -> tuple[int, ...]:
    """The steps at which the edits of the command line call the UNet."""
    grid = editor.runner.grid(args.steps)
    window = args.t_max, args.t_m, args.schedule, args.strength
    rows: set[int] = set()
    for variant in VARIANTS if args.variant == "all" else (args.variant,):
        weights = described(len(grid.t), editor.models.defaults, variant, *window)
        rows |= set(evaluated(plan(weights, grid, Known())))
    return tuple(sorted(rows))


def _told(console: Console, how: Inversion) -> OnTuned:
    """Says of every step of null-text inversion how it went."""
    most = how.inner_steps or INNER_STEPS

    def on_tuned(i: int, tuned: Tuned) -> None:
        tries, loss = int(tuned.iterations.max()), float(tuned.loss.max())
        console.status(f"loss {loss:.1e}, {tries} of {most} inner steps")

    return on_tuned


def where_of(args: Namespace) -> Where | None:
    """Where an edit happens, as --mask, --box or --auto-mask say; None is everywhere."""
    if args.mask is not None:
        return images.open_picture(args.mask)
    where = "auto" if args.auto_mask else args.box
    if where is None:
        for name, given in (("feather", args.feather), ("save-mask", args.save_mask)):
            if given:
                raise ValueError(f"{name} needs a mask: give --mask, --box or --auto-mask")
    return where


def note_cut(editor: Editor, console: Console, *prompts: str) -> None:
    """Say which prompts the model can't read to their end."""
    longest = editor.models.tokenizer.length - 2  # start and end are tokens too
    for prompt in prompts:
        if editor.runner.is_truncated(prompt):
            console.log(f"only the first {longest} tokens were read of the prompt {prompt!r}")

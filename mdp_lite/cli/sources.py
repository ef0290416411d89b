"""The source of an edit: from a picture, a saved source, or a prompt and a seed."""

from dataclasses import replace
from pathlib import Path

from PIL import Image

from mdp_lite.cli.commands.edit import EditCommandOptions
from mdp_lite.cli.commands.plan import PlanOptions
from mdp_lite.cli.commands.sweep import SweepOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.inputs import is_saved_source, open_input
from mdp_lite.cli.naming import INVERSION, naming
from mdp_lite.cli.picture_options import InversionOptions, SaveOptions
from mdp_lite.cli.requests import read_mask_option, read_xl_options
from mdp_lite.cli.sampling_options import SamplingOptions
from mdp_lite.editor import Editor, Source
from mdp_lite.method.null_text import TunedStep
from mdp_lite.method.plan import call_steps, plan
from mdp_lite.names import VARIANTS, BadInput
from mdp_lite.pictures import images
from mdp_lite.pipeline.inpainting import mask_of_source
from mdp_lite.pipeline.inversion_methods import (
    DEFAULT_METHOD,
    INNER_STEPS,
    METHODS,
    NEVER,
    Inversion,
)
from mdp_lite.pipeline.likeness import warn_of_picture
from mdp_lite.pipeline.masks import MaskSpec
from mdp_lite.pipeline.request import build_weights
from mdp_lite.pipeline.result import Cost
from mdp_lite.pipeline.sources import OnTuned
from mdp_lite.pipeline.xl import XLCondition
from mdp_lite.store import source_file

EditArgs = EditCommandOptions | PlanOptions | SweepOptions
SETTINGS = ("inversion_steps", "iterations", "inner_steps", "early_stop", "inversion_seed")


def choose_source(args: EditArgs, editor: Editor, console: Console, seed: int | None) -> Source:
    """The source that the command line asks for: PICTURE, or --source-prompt and a seed."""
    picture, prompt = args.source.picture, args.source.source_prompt
    if picture is None:
        for option, value in _list_inversion(args):
            if value is not None:
                raise BadInput(f"{option} is for inverting a PICTURE, got {value!r} without one")
        second, noisy = args.source.source_prompt_2, args.source.record_noise
        return source_from_prompt(
            args.sampling, editor, console, prompt or "", seed or 0, second, noisy,
            records_direction(args),
        )  # fmt: skip
    if is_saved_source(picture, args.source.content):
        return source_from_file(args, editor, picture, seed)
    if seed is not None:
        raise BadInput(f"--seed is for a source made from a prompt, got {seed} and a PICTURE")
    image = open_input(picture, args.source.content)
    return _invert_for_edit(args, editor, console, image)


def records_direction(args: EditArgs) -> bool:
    """Whether the source is to have guidance directions: its edits move theirs by them."""
    edit = args.grid if isinstance(args, SweepOptions) else args.edit
    saved = isinstance(args, EditCommandOptions) and args.save.record_direction
    return saved or edit.guidance_every > 1


def _list_inversion(args: EditArgs) -> list[tuple[str, object]]:
    """The options that only an inversion reads, with their values."""
    tune = None if isinstance(args, SweepOptions) else args.tune.tune
    names = ("method", *SETTINGS, "fit")
    values = [(name, getattr(args.inversion, name)) for name in names]
    return [("--" + name.replace("_", "-"), value) for name, value in [*values, ("tune", tune)]]


def source_from_file(args: EditArgs, editor: Editor, file: str, seed: int | None) -> Source:
    """A saved source, which costs nothing. Raises BadInput for options that it has settings for."""
    sampling = args.sampling
    own = [
        ("--source-prompt", args.source.source_prompt),
        ("--source-prompt-2", args.source.source_prompt_2 or None),
        ("--seed", seed), *_list_inversion(args),
        ("--steps", sampling.steps),
        ("--width", sampling.width), ("--height", sampling.height),
    ]  # fmt: skip
    for option, value in own:
        if value is not None:
            raise BadInput(f"{option} is for making a source: the saved one has its own")
    content = args.source.content
    source = editor.load_source(file) if content is None else source_file.load_bytes(
        content, repr(file), editor.runner
    )  # fmt: skip
    return replace(source, cost=Cost(0, 0))


def source_from_prompt(
    sampling: SamplingOptions, editor: Editor, console: Console, prompt: str, seed: int,
    second: str, record_noise: bool, record_direction: bool,
) -> Source:  # fmt: skip
    """A source generated from a prompt and a seed; second is for the second text encoder."""
    xl = read_xl_options(sampling.xl, second)
    with console.progress("generate") as on_step:
        source = editor.generate(
            prompt, seed, sampling.steps, sampling.guidance_scale, sampling.negative_prompt,
            sampling.width, sampling.height, on_step, xl=xl, record_noise=record_noise,
            record_direction=record_direction,
        )  # fmt: skip
    log_truncation(editor, console, prompt, sampling.negative_prompt, *list_seconds(xl))
    return source


def _invert_for_edit(
    args: EditArgs, editor: Editor, console: Console, image: Image.Image
) -> Source:
    """A source inverted from PICTURE; its guidance is that of the edits if they repeat it."""
    inversion = build_inversion(args.inversion, args.run.dry_run)
    tune = None if isinstance(args, SweepOptions) else args.tune.tune
    if tune and inversion.method != "null-text":
        raise BadInput(f"--tune is for null-text, got {tune!r} with {inversion.method}")
    if tune == "plan" and not isinstance(args, SweepOptions):
        inversion = replace(inversion, tuned_steps=_find_call_steps(args, editor))
    sampling = args.sampling
    if not METHODS[inversion.method].repeats_guidance:
        sampling = replace(sampling, guidance_scale=None)
    prompt, fit = args.source.source_prompt or "", args.inversion.fit or "crop"
    mask = read_mask_option(args.mask, console) if isinstance(args, EditCommandOptions) else None
    xl = read_xl_options(sampling.xl, args.source.source_prompt_2, "source_prompt_2")
    return source_from_picture(
        image, prompt, inversion, fit, sampling, editor, console, xl, records_direction(args),
        mask_of_source(editor.models, mask),
    )  # fmt: skip


def source_from_picture(
    picture: Image.Image, prompt: str, inversion: Inversion, fit: str, sampling: SamplingOptions,
    editor: Editor, console: Console, xl: XLCondition, record_direction: bool,
    mask: MaskSpec | None = None,
) -> Source:  # fmt: skip
    """A source inverted from a picture; logs how it was changed to fit the model.

    A picture that the model can only blur is warned of before the inversion.
    """
    warn_of_picture(editor.runner, picture)
    with console.progress("invert") as on_step, naming(INVERSION):
        source = editor.invert(
            picture, prompt, inversion, sampling.steps, sampling.guidance_scale,
            sampling.negative_prompt, sampling.width, sampling.height, fit, on_step,
            _show_tuning(console, inversion), mask=mask, xl=xl, record_direction=record_direction,
        )  # fmt: skip
    for change in images.describe_changes(source.picture):
        console.log(f"the picture: {change}")
    (w, h), (width, height) = source.picture.size, source.image.size
    if fitting := source.fit.describe():
        console.log(f"the picture of {w}x{h} was {fitting} to {width}x{height}")
    log_truncation(editor, console, prompt, sampling.negative_prompt, *list_seconds(xl))
    return source


def list_seconds(xl: XLCondition) -> list[str]:
    """The texts of the second encoder that differ from the first one's."""
    return [text for text in (xl.prompt_2, xl.negative_prompt_2) if text]


def build_inversion(options: InversionOptions, dry_run: bool) -> Inversion:
    """The inversion that the command line asks for.

    In a dry run null-text does not stop early, because the dry run reports the highest cost.
    """
    method, early_stop = options.method or DEFAULT_METHOD, options.early_stop
    if dry_run and method == "null-text" and early_stop is None:
        early_stop = NEVER
    return Inversion(
        method, options.inversion_steps, options.iterations, options.inner_steps, early_stop,
        seed=options.inversion_seed,
    )  # fmt: skip


def _find_call_steps(args: EditCommandOptions | PlanOptions, editor: Editor) -> tuple[int, ...]:
    """The steps at which the edits of the command line call the UNet."""
    grid, edit = editor.runner.grid(args.sampling.steps), args.edit
    window = edit.t_max, edit.t_m, edit.schedule, edit.strength, edit.weight
    steps: set[int] = set()
    for variant in VARIANTS if edit.variant == "all" else (edit.variant,):
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


def complete_source(editor: Editor, save: SaveOptions, source: Source) -> Source:
    """The source with directions if --record-direction asks for them, also if they take rows."""
    return editor.record_direction(source) if save.record_direction else source


def pack_source(save: SaveOptions, source: Source) -> tuple[tuple[Path, bytes], ...]:
    """The file of --save-source and its content, if that is asked for."""
    file = save.save_source
    return ((file, source_file.to_file_bytes(source)),) if file else ()


def log_truncation(editor: Editor, console: Console, *prompts: str) -> None:
    """Log where prompts are cut that are longer than the model can read."""
    for prompt in prompts:
        for sentence in editor.runner.describe_cuts(prompt):
            console.log(sentence)

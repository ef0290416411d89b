"""From the options of an edit to its requests."""

from mdp_lite.cli.commands.edit import EditCommandOptions
from mdp_lite.cli.commands.plan import PlanOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.inputs import open_input
from mdp_lite.cli.picture_options import MaskOptions
from mdp_lite.cli.sampling_options import XLOptions
from mdp_lite.cli.xl import build_xl, name_option
from mdp_lite.editor import Source
from mdp_lite.names import VARIANTS
from mdp_lite.pipeline.masks import MaskSpec, marks_by_transparency
from mdp_lite.pipeline.request import DEFAULT_VARIANT, Request
from mdp_lite.pipeline.xl import XLCondition

OneEdit = EditCommandOptions | PlanOptions


def choose_variants(args: OneEdit) -> tuple[str, ...]:
    """All variants, the one that is asked for, or the default."""
    asked = args.edit.variant
    return VARIANTS if asked == "all" else (asked or DEFAULT_VARIANT,)


def build_request(args: OneEdit, source: Source, variant: str) -> Request:
    """The request for an edit of the whole picture by one variant."""
    edit, sampling = args.edit, args.sampling
    return Request(
        source, args.prompt, variant, edit.t_max, edit.t_m, edit.schedule, edit.strength, None,
        sampling.guidance_scale, sampling.negative_prompt or None, proximal=edit.proximal,
        xl=read_xl_options(sampling.xl, sampling.xl.prompt_2), weight=edit.weight,
        guidance_every=edit.guidance_every,
    )  # fmt: skip


def read_mask_option(options: MaskOptions, console: Console) -> MaskSpec | None:
    """The mask of --mask, --box or --auto-mask; None is the whole picture.

    Logs if a mask marks by transparency, because many draw white on transparent instead.
    """
    if options.mask is None:
        return "auto" if options.auto_mask else options.box
    mask = open_input(options.mask, options.content, "mask")
    if marks_by_transparency(mask):
        console.log(f"the mask marks by transparency, transparent is edited: {options.mask!r}")
    return mask


def read_xl_options(options: XLOptions, prompt_2: str, second: str = "prompt_2") -> XLCondition:
    """What SDXL reads beside a prompt, whose text for the second encoder is prompt_2.

    second is the option of that text, as errors name it.
    """
    return build_xl(vars(options) | {second: prompt_2}, second, name_option)

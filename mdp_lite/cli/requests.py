"""From the options of an edit to its requests."""

from argparse import Namespace

from mdp_lite.cli.console import Console
from mdp_lite.editor import Editor, Source
from mdp_lite.names import VARIANTS, BadInput
from mdp_lite.pictures import images
from mdp_lite.pipeline.masks import MaskSpec, marks_by_transparency
from mdp_lite.pipeline.request import Request, variant_of


def choose_variants(args: Namespace, editor: Editor, source: Source) -> tuple[str, ...]:
    """All variants, the one that is asked for, or the default for the source."""
    if args.variant == "all":
        return VARIANTS
    request = Request(source, args.prompt, args.variant, args.t_max, args.t_m)
    return (variant_of(request, editor.models.defaults),)


def build_request(args: Namespace, source: Source, variant: str) -> Request:
    """The request for an edit of the whole picture by one variant."""
    return Request(
        source, args.prompt, variant, args.t_max, args.t_m, args.schedule, args.strength,
        None, args.guidance_scale, args.negative_prompt or None, proximal=args.proximal,
    )  # fmt: skip


def read_mask_option(args: Namespace, console: Console) -> MaskSpec | None:
    """The mask of --mask, --box or --auto-mask; None is the whole picture.

    Logs if a mask marks by transparency, because many draw white on transparent instead.
    """
    if args.mask is not None:
        mask = images.open_picture(args.mask)
        if marks_by_transparency(mask):
            console.log(f"the mask marks by transparency, transparent is edited: {args.mask!r}")
        return mask
    mask = "auto" if args.auto_mask else args.box
    if mask is None:
        for name, value in (("feather", args.feather), ("save-mask", args.save_mask)):
            if value:
                raise BadInput(f"{name} needs a mask: give --mask, --box or --auto-mask")
    return mask

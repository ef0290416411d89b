"""Where the commands that edit get their source: from a picture, or from a prompt and a seed."""

from argparse import Namespace
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from mdp_lite import images
from mdp_lite.editor import Editor, Source


class Talk(NamedTuple):
    """Where a command speaks: note takes a sentence, watch(name) shows a loop's progress."""

    note: Callable[[str], None]
    watch: Callable[[str], AbstractContextManager[Any]]  # of OnStep, or None


def source_of(args: Namespace, editor: Editor, talk: Talk) -> Source:
    """The path that `edit` and `plan` read: of PICTURE, or of --source-prompt and --seed."""
    if args.picture is None:
        if args.source_prompt is None:
            raise ValueError(f"{args.command} needs a PICTURE or a --source-prompt, got neither")
        if args.method is not None:
            raise ValueError(f"method is for inverting a PICTURE, got {args.method!r} without one")
        return generated(args, editor, talk, args.source_prompt, args.seed or 0)
    if args.seed is not None:
        raise ValueError(f"seed is for a source made from a prompt, got {args.seed} and a PICTURE")
    return inverted(args, editor, talk, args.source_prompt or "", args.method or "replay")


def generated(args: Namespace, editor: Editor, talk: Talk, prompt: str, seed: int) -> Source:
    """A source from a prompt and a seed."""
    with talk.watch("generate") as on_step:
        source = editor.generate(
            prompt, seed, args.steps, args.guidance_scale, args.negative_prompt, args.width,
            args.height, on_step,
        )  # fmt: skip
    note_cut(editor, talk, prompt, args.negative_prompt)
    return source


def inverted(args: Namespace, editor: Editor, talk: Talk, prompt: str, method: str) -> Source:
    """A source from the picture of the command line; "replay" has no use for guidance."""
    picture = images.upright(images.open_picture(args.picture))
    guidance = args.guidance_scale if method == "ddim" else None
    with talk.watch("invert") as on_step:
        source = editor.invert(
            picture, prompt, method, args.steps, guidance, args.negative_prompt, args.width,
            args.height, on_step,
        )  # fmt: skip
    (w, h), (width, height) = picture.size, source.image.size
    if (w, h) != (width, height):
        how = "resized" if w * height == h * width else "cropped at the centre and resized"
        talk.note(f"the picture of {w}x{h} was {how} to {width}x{height}")
    note_cut(editor, talk, prompt, args.negative_prompt)
    return source


def note_cut(editor: Editor, talk: Talk, *prompts: str) -> None:
    """Say which prompts the model can't read to their end."""
    longest = editor.models.tokenizer.length - 2  # start and end are tokens too
    for prompt in prompts:
        if editor.codec.truncated(prompt):
            talk.note(f"only the first {longest} tokens were read of the prompt {prompt!r}")

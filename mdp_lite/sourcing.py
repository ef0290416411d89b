"""Where the commands that edit get their source: from a picture, or from a prompt and a seed."""

from argparse import Namespace
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mdp_lite import images, sources
from mdp_lite.editor import Editor, Source
from mdp_lite.masks import Where
from mdp_lite.results import Cost


class Talk(NamedTuple):
    """Where a command speaks: note takes a sentence, watch(name) shows a loop's progress."""

    note: Callable[[str], None]
    watch: Callable[[str], AbstractContextManager[Any]]  # of OnStep, or None


def source_of(args: Namespace, editor: Editor, talk: Talk) -> Source:
    """The path that an edit reads: of PICTURE, a saved one, or of --source-prompt and --seed."""
    if args.picture is not None and args.picture.endswith(".safetensors"):
        return loaded(args, editor)
    if args.picture is None:
        if args.source_prompt is None:
            raise ValueError(f"{args.command} needs a PICTURE or a --source-prompt, got neither")
        if args.method is not None:
            raise ValueError(f"method is for inverting a PICTURE, got {args.method!r} without one")
        if args.fit is not None:
            raise ValueError(f"fit is for a PICTURE, got {args.fit!r} without one")
        return generated(args, editor, talk, args.source_prompt, args.seed or 0)
    if args.seed is not None:
        raise ValueError(f"seed is for a source made from a prompt, got {args.seed} and a PICTURE")
    return inverted(args, editor, talk, args.source_prompt or "", args.method or "replay")


def loaded(args: Namespace, editor: Editor) -> Source:
    """A source from its file, which costs nothing; it has its own settings."""
    for name in ("source_prompt", "seed", "method", "fit", "steps", "width", "height"):
        if getattr(args, name) is not None:
            shown = name.replace("_", "-")
            raise ValueError(f"{shown} is for making a source: the saved one has its own")
    return replace(editor.load_source(args.picture), cost=Cost(0, 0))


def saved(args: Namespace, source: Source) -> tuple[tuple[Path, bytes], ...]:
    """The file that --save-source asks for."""
    return ((args.save_source, sources.to_file(source)),) if args.save_source else ()


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
    picture = images.open_picture(args.picture)
    guidance = args.guidance_scale if method == "ddim" else None
    with talk.watch("invert") as on_step:
        source = editor.invert(
            picture, prompt, method, args.steps, guidance, args.negative_prompt, args.width,
            args.height, args.fit or "crop", on_step,
        )  # fmt: skip
    (w, h), (width, height) = source.picture.size, source.image.size
    if how := source.frame.told():
        talk.note(f"the picture of {w}x{h} was {how} to {width}x{height}")
    note_cut(editor, talk, prompt, args.negative_prompt)
    return source


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


def note_cut(editor: Editor, talk: Talk, *prompts: str) -> None:
    """Say which prompts the model can't read to their end."""
    longest = editor.models.tokenizer.length - 2  # start and end are tokens too
    for prompt in prompts:
        if editor.codec.truncated(prompt):
            talk.note(f"only the first {longest} tokens were read of the prompt {prompt!r}")

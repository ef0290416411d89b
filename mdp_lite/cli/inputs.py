"""Pictures that a command reads: files, and what comes through a pipe, which is read once."""

import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from PIL import Image

from mdp_lite.cli.commands.edit import EditCommandOptions
from mdp_lite.cli.commands.invert import InvertOptions
from mdp_lite.cli.commands.plan import PlanOptions
from mdp_lite.cli.commands.sweep import SweepOptions
from mdp_lite.cli.streams import check_open
from mdp_lite.cli.values import STDIN
from mdp_lite.names import BadInput
from mdp_lite.pictures import images
from mdp_lite.pictures.decode import is_pipe, read_pipe, read_stream

Args = TypeVar("Args")


def read_pipes(args: Args) -> Args:
    """The options with the content of each pipe, so that a dry run and the run can both read it.

    Raises BadInput if nothing comes, or if two options are stdin.
    """
    if isinstance(args, InvertOptions):
        return replace(args, content=_read_once(args.picture, "PICTURE"))
    if isinstance(args, EditCommandOptions) and args.source.picture == args.mask.mask == STDIN:
        raise BadInput("PICTURE and --mask can't both be stdin, got - twice")
    if isinstance(args, EditCommandOptions | PlanOptions | SweepOptions):
        content = _read_once(args.source.picture, "PICTURE")
        args = replace(args, source=replace(args.source, content=content))
    if isinstance(args, EditCommandOptions):
        content = _read_once(args.mask.mask, "--mask", "mask")
        args = replace(args, mask=replace(args.mask, content=content))
    return args


def open_input(name: str, content: bytes | None, what: str = "picture") -> Image.Image:
    """The picture of a file, or of the content of a pipe. Raises BadInput that names what it is."""
    if content is None:
        return images.open_picture(name, what=what)
    return images.decode_picture(io.BytesIO(content), repr(name), what=what)


def is_saved_source(name: str, content: bytes | None) -> bool:
    """Whether an input is a saved source: a file by its name, the content of a pipe by itself."""
    if content is None:
        return name.endswith(".safetensors")
    return content[8:9] == b"{"  # safetensors: 8 bytes of length, then JSON; no picture has that


def is_file(name: str | None) -> bool:
    """Whether an input is a file that an output could overwrite."""
    return name is not None and name != STDIN and not is_pipe(Path(name))


def _read_once(name: str | None, option: str, what: str = "picture") -> bytes | None:
    """What comes through a pipe, or None for a file."""
    if name == STDIN:
        check_open(sys.stdin, f"{option} - reads stdin")
        if sys.stdin.isatty():
            raise BadInput(f"{option} - reads a pipe or a file on stdin, got a terminal")
        return read_stream(sys.stdin.buffer, repr(name), what)
    return read_pipe(Path(name), repr(name), what) if name and is_pipe(Path(name)) else None

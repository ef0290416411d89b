"""Parsers of single arguments. They raise argparse's ArgumentTypeError for what they can't read."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def parse_whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None


def parse_number(text: str) -> float:
    """A number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None


def parse_list(parse: Callable[[str], T]) -> Callable[[str], list[T]]:
    """A parser of A,B,C: each part by parse, without repetitions."""
    return lambda text: list(dict.fromkeys(parse(part.strip()) for part in text.split(",")))


def parse_choice(names: tuple[str, ...]) -> Callable[[str], str]:
    """A parser of one of the names, for lists, whose parts argparse's choices can't check."""

    def parse(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"must be of {', '.join(names)}, got {text!r}")
        return text

    return parse


def parse_png_path(text: str) -> Path:
    """The path of a PNG file."""
    if Path(text).suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"must be a file name that ends in .png, got {text!r}")
    return Path(text)


def parse_safetensors_path(text: str) -> Path:
    """The path of a .safetensors file."""
    if Path(text).suffix != ".safetensors":
        raise argparse.ArgumentTypeError(f"must end in .safetensors, got {text!r}")
    return Path(text)


def parse_json_path(text: str) -> Path:
    """The path of a .json file."""
    if Path(text).suffix != ".json":
        raise argparse.ArgumentTypeError(f"must end in .json, got {text!r}")
    return Path(text)


def parse_box(text: str) -> tuple[int, ...]:
    """X0,Y0,X1,Y1 in pixels."""
    try:
        x0, y0, x1, y1 = map(int, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be X0,Y0,X1,Y1 in pixels, got {text!r}") from None
    return x0, y0, x1, y1


def parse_lora(text: str) -> tuple[str, float]:
    """FILE or FILE:STRENGTH; the strength is 1 by default."""
    file, colon, strength = text.rpartition(":")
    try:
        return (file, float(strength)) if colon and file else (text, 1.0)
    except ValueError:
        return text, 1.0


def parse_embedding(text: str) -> tuple[str, str | None]:
    """FILE or FILE=WORD; without a word it is None."""
    file, equals, word = text.rpartition("=")
    return (file, word) if equals and file.endswith(".safetensors") else (text, None)

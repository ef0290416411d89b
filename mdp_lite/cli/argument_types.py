"""What the words of a command line are read as; a word that can't be is argparse's error."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None


def number(text: str) -> float:
    """A number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None


def several(kind: Callable[[str], T]) -> Callable[[str], list[T]]:
    """A,B,C: each once."""
    return lambda text: list(dict.fromkeys(kind(part.strip()) for part in text.split(",")))


def one_of(names: tuple[str, ...]) -> Callable[[str], str]:
    """One of some names, in a list, which argparse can't check against choices."""

    def check(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"must be of {', '.join(names)}, got {text!r}")
        return text

    return check


def png(text: str) -> Path:
    """The path of a PNG file."""
    if Path(text).suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"must be a file name that ends in .png, got {text!r}")
    return Path(text)


def box(text: str) -> tuple[int, ...]:
    """X0,Y0,X1,Y1."""
    try:
        x0, y0, x1, y1 = map(int, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be X0,Y0,X1,Y1 in pixels, got {text!r}") from None
    return x0, y0, x1, y1


def safetensors(text: str) -> Path:
    """The path of a .safetensors file, for argparse."""
    if Path(text).suffix != ".safetensors":
        raise argparse.ArgumentTypeError(f"must end in .safetensors, got {text!r}")
    return Path(text)


def json_file(text: str) -> Path:
    """The path of a .json file, for argparse."""
    if Path(text).suffix != ".json":
        raise argparse.ArgumentTypeError(f"must end in .json, got {text!r}")
    return Path(text)


def lora(text: str) -> tuple[str, float]:
    """FILE or FILE:STRENGTH."""
    file, colon, strength = text.rpartition(":")
    try:
        return (file, float(strength)) if colon and file else (text, 1.0)
    except ValueError:
        return text, 1.0


def embedding(text: str) -> tuple[str, str | None]:
    """FILE or FILE=WORD."""
    file, equals, word = text.rpartition("=")
    return (file, word) if equals and file.endswith(".safetensors") else (text, None)

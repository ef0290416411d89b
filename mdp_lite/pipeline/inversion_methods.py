"""The ways to invert a picture: their names, settings, and what each promises."""

from dataclasses import dataclass, fields
from typing import NamedTuple


class Method(NamedTuple):
    """settings: those of Inversion that it has; guidance: its own, or None for the model's.

    sampled: its noise is what the model predicts along the path; exact: steps along that noise lead
    along the path; repeats: edits take its guidance where they are given none.
    """

    settings: tuple[str, ...] = ()
    guidance: float | None = None
    sampled: bool = True
    exact: bool = True
    repeats: bool = True


METHODS = {
    "replay": Method((), 1.0, sampled=False, repeats=False),
    "ddim": Method(("inversion_steps",)),
    "fixed-point": Method(("iterations",), 1.0, sampled=False, repeats=False),
    "negative-prompt": Method(("inversion_steps",)),
    "null-text": Method(("inner_steps", "early_stop", "rows")),
    "direct": Method((), sampled=False, exact=False),
    "edit-friendly": Method(("seed",), 3.5, repeats=False),
}

METHOD = "edit-friendly"  # the default: see README.md, "Inversions"


@dataclass(frozen=True)
class Inversion:
    """A method by name, and its own settings; what is None is as its paper has it.

    inversion_steps (ddim, negative-prompt): steps up the grid, by default as many as down;
    iterations (fixed-point): predictions a step, 5; inner_steps (null-text): at most so many a
    step, 10; early_stop (null-text): the loss that is good enough, 1e-5 (+ 2e-5 i at step i), or -1
    for none; rows (null-text): the steps that are tuned, by default all; seed (edit-friendly): of
    its noise, 0.
    """

    method: str = METHOD
    inversion_steps: int | None = None
    iterations: int | None = None
    inner_steps: int | None = None
    early_stop: float | None = None
    rows: tuple[int, ...] | None = None
    seed: int | None = None


INNER_STEPS, NEVER = 10, -1.0
DEFAULTS = {"iterations": 5, "inner_steps": INNER_STEPS, "early_stop": 1e-5, "seed": 0}


def settled(how: "str | Inversion", n: int) -> Inversion:
    """The settings of an inversion over n steps, with its method's defaults, or a ValueError."""
    how = Inversion(how) if isinstance(how, str) else how
    if not isinstance(how, Inversion) or how.method not in tuple(METHODS):
        got = repr(how.method) if isinstance(how, Inversion) else type(how).__name__
        raise ValueError(f"method must be one of {', '.join(METHODS)} or an Inversion, got {got}")
    has, given = METHODS[how.method].settings, {}
    for name in (field.name for field in fields(how)[1:]):
        value = getattr(how, name)
        if value is None:
            value = DEFAULTS.get(name) if name in has else None
        elif name not in has:
            raise ValueError(f"{name} is not a setting of {how.method}, got {value!r}")
        given[name] = value if value is None else CHECKS[name](name, value, n)
    return Inversion(how.method, **given)


def _whole(name: str, value: object, least: int, most: float) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}, got {value!r}")
    return value


def _loss(name: str, value: object, n: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not NEVER <= value < 1e9:
        raise ValueError(f"{name} must be a loss of 0 or more, or -1 for never, got {value!r}")
    return float(value)


def _rows(name: str, value: object, n: int) -> tuple[int, ...]:
    if not isinstance(value, tuple | list | range | set | frozenset):
        raise ValueError(f"{name} must be a list of steps, got {value!r}")
    return tuple(sorted({_whole("a step of rows", i, 0, n - 1) for i in value}))


CHECKS = {
    "inversion_steps": lambda name, value, n: _whole(name, value, 1, 1000),
    "iterations": lambda name, value, n: _whole(name, value, 1, 1000),
    "inner_steps": lambda name, value, n: _whole(name, value, 0, 1000),
    "early_stop": _loss,
    "rows": _rows,
    "seed": lambda name, value, n: _whole(name, value, 0, 2**63 - 1),
}

"""The ways to invert a picture: their names, settings, and what each promises."""

from dataclasses import dataclass, fields
from typing import NamedTuple

from mdp_lite.names import BadInput


class InversionMethod(NamedTuple):
    """What a method has and promises.

    settings are the fields of Inversion that it reads. guidance is its default scale, or None for
    the model's. own_noise: its noise is what the model predicts along the path. exact: steps along
    that noise lead along the path. repeats_guidance: edits use its guidance if given none. noisy:
    its steps add noise, which is recorded.
    """

    settings: tuple[str, ...] = ()
    guidance: float | None = None
    own_noise: bool = True
    exact: bool = True
    repeats_guidance: bool = True
    noisy: bool = False


METHODS = {
    "replay": InversionMethod((), 1.0, own_noise=False, repeats_guidance=False),
    "ddim": InversionMethod(("inversion_steps",)),
    "fixed-point": InversionMethod(("iterations",), 1.0, own_noise=False, repeats_guidance=False),
    "negative-prompt": InversionMethod(("inversion_steps",)),
    "null-text": InversionMethod(("inner_steps", "early_stop", "tuned_steps")),
    "direct": InversionMethod((), own_noise=False, exact=False),
    "edit-friendly": InversionMethod(("seed",), 3.5, repeats_guidance=False, noisy=True),
}

DEFAULT_METHOD = "edit-friendly"


@dataclass(frozen=True)
class Inversion:
    """An inversion method by name, with its settings; None means the default of its paper.

    inversion_steps (ddim, negative-prompt): steps up the grid; default: as many as down.
    iterations (fixed-point): predictions at each step; default: 5.
    inner_steps (null-text): the most iterations at each step; default: 10.
    early_stop (null-text): the loss at which a step stops, plus 2e-5 i at step i; -1: never;
    default: 1e-5.
    tuned_steps (null-text): the indices of the steps that are tuned; default: all.
    seed (edit-friendly): the seed of its noise; default: 0.

    >>> Inversion("null-text", inner_steps=3).method
    'null-text'
    """

    method: str = DEFAULT_METHOD
    inversion_steps: int | None = None
    iterations: int | None = None
    inner_steps: int | None = None
    early_stop: float | None = None
    tuned_steps: tuple[int, ...] | None = None
    seed: int | None = None


INNER_STEPS, NEVER = 10, -1.0
DEFAULTS = {"iterations": 5, "inner_steps": INNER_STEPS, "early_stop": 1e-5, "seed": 0}


def resolve_inversion(how: "str | Inversion", n: int) -> Inversion:
    """An inversion over n steps with its method's defaults filled in. Raises BadInput."""
    how = Inversion(how) if isinstance(how, str) else how
    if not isinstance(how, Inversion) or how.method not in tuple(METHODS):
        got = repr(how.method) if isinstance(how, Inversion) else type(how).__name__
        raise BadInput(
            f"method must be one of {', '.join(METHODS)} or an Inversion, got {got}", "method"
        )
    own, settings = METHODS[how.method].settings, {}
    for name in (field.name for field in fields(how)[1:]):
        value = getattr(how, name)
        if value is None:
            value = DEFAULTS.get(name) if name in own else None
        elif name not in own:
            raise BadInput(f"{name} is not a setting of {how.method}, got {value!r}", name)
        settings[name] = value if value is None else CHECKS[name](name, value, n)
    return Inversion(how.method, **settings)


def _whole(name: str, value: object, least: int, most: float) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadInput(f"{name} must be a whole number from {least} to {most}, got {value!r}", name)
    return value


def _loss(name: str, value: object, n: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not NEVER <= value < 1e9:
        raise BadInput(f"{name} must be a loss of 0 or more, or -1 for never, got {value!r}", name)
    return float(value)


def _steps(name: str, value: object, n: int) -> tuple[int, ...]:
    if not isinstance(value, tuple | list | range | set | frozenset):
        raise BadInput(f"{name} must be a list of steps, got {value!r}", name)
    return tuple(sorted({_whole("a step of tuned_steps", i, 0, n - 1) for i in value}))


CHECKS = {
    "inversion_steps": lambda name, value, n: _whole(name, value, 1, 1000),
    "iterations": lambda name, value, n: _whole(name, value, 1, 1000),
    "inner_steps": lambda name, value, n: _whole(name, value, 0, 1000),
    "early_stop": _loss,
    "tuned_steps": _steps,
    "seed": lambda name, value, n: _whole(name, value, 0, 2**63 - 1),
}

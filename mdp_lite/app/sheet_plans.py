"""Which edits a sheet has, and where each stands in it: windows, strengths or variants."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from mdp_lite.app.form import EditForm, check_form
from mdp_lite.app.wording import say
from mdp_lite.names import VARIANTS, BadInput

MAX_CELLS, MAX_COLUMNS = 40, 8
T_MAX_GAP, T_M_GAP = 0.06, 0.12  # shares of the steps between two values that are suggested
SUGGESTIONS = 3  # values of t_max and of t_m

Line = tuple[int | None, ...]  # a row of a table: indices of edits, None where there is none


class SheetPlan(NamedTuple):
    """Edits of one source, and their table: heads of columns and rows, and indices of forms."""

    title: str
    forms: list[EditForm]
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    lines: tuple[Line, ...]


def plan_windows(form: EditForm, variants: Sequence[str], t_max: str, t_m: str) -> SheetPlan:
    """Every variant with every window whose edges are listed, as "44, 47, 50".

    t_max goes across and t_m goes down; a window that is longer than its t_max is left out.
    """
    highs, widths = read_numbers("t_max", t_max), read_numbers("t_m", t_m)
    variants = list(dict.fromkeys(variants))
    keys = [key for key in product(variants, highs, widths) if key[2] <= key[1]]
    if variants and not keys:
        raise BadInput("at least one t_m must be at most a t_max, got none")
    forms = _check_forms([
        replace(form, variant=variant, steer="window", t_max=high, t_m=wide)
        for variant, high, wide in keys
    ])  # fmt: skip
    index = {key: k for k, key in enumerate(keys)}
    lines = [
        (variant, wide, tuple(index.get((variant, high, wide)) for high in highs))
        for variant, wide in product(variants, widths)
    ]
    lines = [one for one in lines if one[2] != (None,) * len(highs)]
    name = "{0}, t_m {1:g}" if len(variants) > 1 else "t_m {1:g}"
    rows = [name.format(variant, wide) for variant, wide, _ in lines]
    columns = tuple(f"t_max {high:g}" for high in highs)
    title = say("sheet", "windows", variants=", ".join(variants))
    return SheetPlan(title, forms, columns, tuple(rows), tuple(line for *_, line in lines))


def plan_strengths(form: EditForm, variants: Sequence[str], count: int) -> SheetPlan:
    """Every variant with so many strengths, evenly from 0 (the source) to 1 (the prompt alone).

    Strengths go across and variants go down.
    """
    if not 2 <= count <= MAX_COLUMNS:
        raise BadInput(f"strengths must be 2 to {MAX_COLUMNS}, got {count}")
    variants = list(dict.fromkeys(variants))
    strengths = [round(k / (count - 1), 4) for k in range(count)]
    forms = _check_forms([
        replace(form, variant=variant, steer="strength", strength=strength)
        for variant, strength in product(variants, strengths)
    ])  # fmt: skip
    columns = tuple(say("sheet", "strength", strength=f"{one:g}") for one in strengths)
    lines = tuple(tuple(range(k, k + count)) for k in range(0, len(forms), count))
    return SheetPlan(say("sheet", "strengths"), forms, columns, tuple(variants), lines)


def plan_variants(form: EditForm) -> SheetPlan:
    """The form with each of the variants, in one row."""
    forms = _check_forms([replace(form, variant=variant) for variant in VARIANTS])
    row = say("sheet", "variants")
    return SheetPlan(say("sheet", "comparison"), forms, (), (row,), (tuple(range(len(forms))),))


def read_numbers(name: str, text: str) -> list[float]:
    """Numbers between commas, without repeats."""
    try:
        numbers = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise BadInput(f"{name} must be numbers like 44, 47, 50, got {text!r:.80}") from None
    if not numbers:
        raise BadInput(f"{name} must be at least one number, got none")
    if len(numbers) > MAX_CELLS:
        raise BadInput(f"{name} must be at most {MAX_CELLS} numbers, got {len(numbers)}")
    return list(dict.fromkeys(numbers))


def suggest_windows(form: EditForm) -> tuple[str, str]:
    """Values of t_max and of t_m around the form's window, such as "44, 47, 50".

    They are different whole numbers of steps: three, or fewer if there are fewer steps.
    """
    t_max = _spread(form.t_max, T_MAX_GAP, form.steps)
    t_m = _spread(form.t_m, T_M_GAP, form.steps)
    return ", ".join(map(str, t_max)), ", ".join(map(str, t_m))


def _spread(value: float, gap: float, steps: int) -> list[int]:
    """Whole numbers from 1 to the steps, with equal gaps: the value and one on each side of it.

    Near an edge all of them move away from it together.
    """
    count = min(SUGGESTIONS, steps)
    step = max(1, min(round(gap * steps), (steps - 1) // max(1, count - 1)))
    first = min(max(1, round(value) - step), steps - step * (count - 1))
    return [first + step * k for k in range(count)]


def _check_forms(forms: list[EditForm]) -> list[EditForm]:
    if not forms:
        raise BadInput("choose at least one variant")
    if len(forms) > MAX_CELLS:
        raise BadInput(f"a sheet must have at most {MAX_CELLS} cells, got {len(forms)}")
    return [check_form(form) for form in forms]

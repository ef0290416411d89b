"""The texts of the page as HTML; what visitors wrote is always escaped."""

from collections.abc import Sequence
from html import escape

from mdp_lite.app.results import EditSheet
from mdp_lite.app.streaming import WAITING, RunProgress
from mdp_lite.app.wording import say
from mdp_lite.cli.units import pluralize


def progress_bar(progress: RunProgress) -> str:
    """A stage's progress bar; screen readers announce it politely."""
    if progress.stage == WAITING:
        return status([say("endpoints", "waiting", runs=pluralize(progress.done, "run"))])
    if not progress.total:  # its model is being loaded
        return status([progress.stage])
    stage, done, total, *_ = progress
    label = escape(say("stage", "steps", stage=stage, done=done, total=total))
    values = f'max="{total}" value="{done}"'
    bar = f'<progress aria-label="{label}" {values}></progress>'
    return f'<div class="mdp-status" role="status"><span>{label}</span>{bar}</div>'


def status(lines: Sequence[str]) -> str:
    """Sentences below each other, which screen readers announce."""
    inner = "<br>".join(escape(one) for one in lines)
    return f'<div class="mdp-status" role="status">{inner}</div>'


def problem(sentence: str) -> str:
    """What is wrong, beside what caused it; screen readers announce it at once."""
    plain = escape(sentence[:1].upper() + sentence[1:])
    return f'<div class="mdp-error" role="alert">{plain}</div>'


def plan(lines: Sequence[str], steps: Sequence[str]) -> str:
    """Sentences about what a run will cost; below them, folded, a line for each of its steps."""
    items = "".join(f"<li>{escape(one)}</li>" for one in steps)
    head = escape(say("endpoints", "steps"))
    folded = f"<details><summary>{head}</summary><ul>{items}</ul></details>" if steps else ""
    return f'<div class="mdp-plan">{"<br>".join(escape(one) for one in lines)}{folded}</div>'


def sheet_cost(sheet: EditSheet) -> list[str]:
    """Sentences about what the edits of a sheet cost together, and the sheet's notes."""
    rows = pluralize(sheet.cost.unet_rows, "UNet row")
    calls = pluralize(sheet.cost.unet_calls, "call")
    separate = sum(cell.cost.unet_rows for cell in sheet.cells)
    line = say(
        "endpoints", "cost", edits=pluralize(len(sheet.cells), "edit"), rows=rows, calls=calls,
        separate=separate, naive=sheet.naive.unet_rows,
    )  # fmt: skip
    return [line, *sheet.notes]


def comparison(sheet: EditSheet) -> str:
    """A table of the edits: their cost, and how far each is from the source's picture."""
    names = [say("endpoints", "edit"), say("endpoints", "rows"), say("endpoints", "psnr")]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{escape(cell.name)}</th><td>{cell.cost.unet_rows}</td>'
        f"<td>{say('sheet', 'psnr', psnr=f'{cell.psnr:.1f}')}</td></tr>"
        for cell in sheet.cells
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

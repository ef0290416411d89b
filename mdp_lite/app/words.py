"""What the page says in HTML: text of visitors is always escaped."""

from collections.abc import Sequence
from html import escape

from mdp_lite.app.made import Sheet
from mdp_lite.app.streaming import Progress

TITLE = "mdp_lite: edit pictures by text"
INTRO = (
    "# Edit pictures by text\n"
    "Say what a picture shows and what it should show instead. Everything runs on the machine that "
    "serves this page; no picture and no word goes anywhere else."
)
STOPPED = "Stopped. Nothing more is computed."
CLOSED = "The server is being stopped."
FAILED = "Something went wrong on the server; its terminal says more."


def progress(at: Progress) -> str:
    """A stage's bar; screen readers are told of it politely."""
    label = f"{escape(at.stage)}: {at.done} of {at.total} steps"
    bar = f'<progress aria-label="{label}" max="{at.total}" value="{at.done}"></progress>'
    return f'<div class="mdp-status" role="status"><span>{label}</span>{bar}</div>'


def lines(some: Sequence[str], kind: str = "status") -> str:
    """Sentences, one a line, which screen readers are told of."""
    inner = "<br>".join(escape(one) for one in some)
    return f'<div class="mdp-status" role="{kind}">{inner}</div>'


def plan(some: Sequence[str], legs: Sequence[str]) -> str:
    """What a run will take, and below, for who wants it, what each step does."""
    inner = "".join(f"<li>{escape(leg)}</li>" for leg in legs)
    folded = f"<details><summary>Step by step</summary><ul>{inner}</ul></details>" if legs else ""
    return f'<div class="mdp-plan">{"<br>".join(escape(one) for one in some)}{folded}</div>'


def shared(sheet: Sheet) -> list[str]:
    """What a sheet took together."""
    rows, calls = sheet.shared.unet_rows, sheet.shared.unet_calls
    alone = sum(cell.cost.unet_rows for cell in sheet.cells)
    return [
        f"{len(sheet.cells)} edits took {rows} UNet rows in {calls} calls; one by one they take "
        f"{alone}, walking every step {sheet.naive.unet_rows}.",
        *sheet.notes,
    ]


def comparison(sheet: Sheet) -> str:
    """All edits in a table: what each costs and how far it went from the source."""
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("edit", "UNet rows", "PSNR to the source")
    )
    rows = "".join(
        f'<tr><th scope="row">{escape(cell.name)}</th><td>{cell.cost.unet_rows}</td>'
        f"<td>{cell.psnr:.1f} dB</td></tr>"
        for cell in sheet.cells
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

"""What happens on the pages of many edits: the sheet of windows or strengths, and the variants."""

from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from mdp_lite.app import explore, words
from mdp_lite.app.fields import Update, controls, untouched
from mdp_lite.app.form import CASES, Form
from mdp_lite.app.handlers import Handlers, plainly
from mdp_lite.app.made import Sheet
from mdp_lite.app.panel import Files, result
from mdp_lite.app.rival import Rival
from mdp_lite.app.sessions import Session
from mdp_lite.app.streaming import Stopped

SHARES_MAX, SHARES_M = (0.88, 0.94, 1.0), (0.4, 0.52, 0.64)  # of the steps, around the default


class Sheets:
    """The functions of both pages; their outputs are a gallery, a file, words and the status."""

    def __init__(self, handlers: Handlers) -> None:
        self.handlers = handlers

    def explore(
        self, by: str, variants: list[str], t_max: str, t_m: str, count: int, request: gr.Request
    ) -> Iterator[list[Update]]:
        """A sheet of the last edit's source by windows ("window") or by strengths ("strength")."""
        session = self.handlers.session(request)
        with plainly():
            form = explore.last(session).form
            if by == "window":
                forms = explore.windows(form, variants, t_max, t_m)
            else:
                forms = explore.strengths(form, variants, int(count))
            yield from self._made(session, forms, "explore")

    def compare(self, request: gr.Request) -> Iterator[list[Update]]:
        """The four variants on the last edit's source, and what else there is to compare."""
        session, rivals = self.handlers.session(request), self.handlers.studio.rivals
        with plainly():
            forms = explore.compared(explore.last(session).form)
            yield from self._made(session, forms, "compare", rivals)

    def _made(
        self, session: Session, forms: Sequence[Form], kind: str, rivals: Sequence[Rival] = ()
    ) -> Iterator[list[Update]]:
        run = explore.swept(self.handlers.studio, session, forms, kind, rivals)
        try:
            while True:
                yield [gr.skip(), gr.skip(), gr.skip(), words.progress(next(run))]
        except StopIteration as end:
            sheet: Sheet = end.value
        except Stopped:
            yield [gr.skip(), gr.skip(), gr.skip(), words.lines([words.STOPPED])]
            return
        finally:
            run.close()
        shown = [(str(sheet.source), "source")]
        shown += [(str(cell.file), cell.name) for cell in sheet.cells]
        table = words.comparison(sheet) if kind == "compare" else ""
        whole = gr.update(value=str(sheet.whole), interactive=True)
        yield [shown, whole, table, words.lines(words.shared(sheet))]

    def chosen(self, kind: str, index: int, session: Session) -> list[Update]:
        """A cell that was clicked: its picture on the panel, its settings on its case's page."""
        sheet = session.sheets.get(kind)
        if sheet is None or not 1 <= index <= len(sheet.cells):  # 0 is the source
            return [gr.skip() for _ in self._nothing()]
        cell = sheet.cells[index - 1]
        files, model = Files(sheet.source, cell.file), self.handlers.model
        if cell.form is None:
            said = [f"{cell.name}: the page has no settings for it."]
            kept = [one for case in CASES for one in untouched(case)]
            return [*result(files, None, sheet.name, model, said), *kept]
        said = [f"{cell.name}: its settings are on the page now."]
        return [*result(files, cell.form, sheet.name, model, said), *controls(cell.form)]

    def _nothing(self) -> list[Any]:
        return [*range(7), *(one for case in CASES for one in untouched(case))]

    def ready(self, request: gr.Request) -> list[Update]:
        """What a page of sheets starts from, and the windows that it suggests."""
        last = self.handlers.session(request).last
        if last is None:
            said = "Edit a picture first: its source is what this page starts from."
            return [words.lines([said]), gr.skip(), gr.skip()]
        said = f"It starts from the source of your last edit, towards “{last.form.prompt}”."
        return [words.lines([said]), *windows(last.form.steps)]


def windows(steps: int) -> list[str]:
    """Edges of windows around the authors', t_max and t_m, as a visitor writes them."""
    return [
        ", ".join(f"{round(share * steps)}" for share in shares)
        for shares in (SHARES_MAX, SHARES_M)
    ]

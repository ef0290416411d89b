"""What happens on the tabs Explore and Compare, which make many edits of one source."""

from collections.abc import Iterator, Sequence

import gradio as gr

from mdp_lite.app import markup
from mdp_lite.app.fields import Update, skip_controls, update_controls
from mdp_lite.app.form import EditForm
from mdp_lite.app.handlers import Handlers, show_errors
from mdp_lite.app.panel import ResultFiles, show_result
from mdp_lite.app.results import EditSheet
from mdp_lite.app.rival import Rival
from mdp_lite.app.sessions import Session
from mdp_lite.app.sheets import (
    last_edit,
    make_sheet,
    strength_forms,
    variant_forms,
    window_forms,
)
from mdp_lite.app.streaming import StoppedByVisitor

# Of the steps, around the authors' window.
T_MAX_SHARES, T_M_SHARES = (0.88, 0.94, 1.0), (0.4, 0.52, 0.64)


class SheetHandlers:
    """The functions of both tabs; their outputs are a gallery, a file, a table and the status."""

    def __init__(self, handlers: Handlers) -> None:
        self.handlers = handlers

    def explore(
        self, by: str, variants: list[str], t_max: str, t_m: str, count: int, request: gr.Request
    ) -> Iterator[list[Update]]:
        """A sheet of the last edit's source by windows ("window") or by strengths ("strength")."""
        session = self.handlers.session(request)
        with show_errors():
            form = last_edit(session).form
            if by == "window":
                forms = window_forms(form, variants, t_max, t_m)
            else:
                forms = strength_forms(form, variants, int(count))
            yield from self._make_sheet(session, forms, "explore")

    def compare(self, request: gr.Request) -> Iterator[list[Update]]:
        """The four variants on the last edit's source, and the edits by other methods."""
        session, rivals = self.handlers.session(request), self.handlers.studio.rivals
        with show_errors():
            forms = variant_forms(last_edit(session).form)
            yield from self._make_sheet(session, forms, "compare", rivals)

    def _make_sheet(
        self, session: Session, forms: Sequence[EditForm], kind: str, rivals: Sequence[Rival] = ()
    ) -> Iterator[list[Update]]:
        run = make_sheet(self.handlers.studio, session, forms, kind, rivals)
        try:
            while True:
                yield [gr.skip(), gr.skip(), gr.skip(), markup.progress_bar(next(run))]
        except StopIteration as end:
            sheet: EditSheet = end.value
        except StoppedByVisitor:
            yield [gr.skip(), gr.skip(), gr.skip(), markup.status([markup.STOPPED])]
            return
        finally:
            run.close()
        pictures = [(str(sheet.source_file), "source")]
        pictures += [(str(cell.file), cell.name) for cell in sheet.cells]
        table = markup.comparison(sheet) if kind == "compare" else ""
        download = gr.update(value=str(sheet.sheet_file), interactive=True)
        yield [pictures, download, table, markup.status(markup.sheet_cost(sheet))]

    def load_cell(self, kind: str, index: int, session: Session) -> list[Update]:
        """Show the cell that was clicked on the panel, and set the controls to its form."""
        sheet = session.sheets.get(kind)
        if sheet is None or not 1 <= index <= len(sheet.cells):  # 0 is the source
            return [*(gr.skip() for _ in range(7)), *skip_controls()]
        cell = sheet.cells[index - 1]
        files = ResultFiles(sheet.source_file, cell.file)
        model, skip = self.handlers.model, self.handlers.clip_skip
        if cell.form is None:
            lines = [f"{cell.name}: the page has no settings for it."]
            return [*show_result(files, None, sheet.name, model, skip, lines), *skip_controls()]
        lines = [f"{cell.name}: its settings are on the page now."]
        return [
            *show_result(files, cell.form, sheet.name, model, skip, lines),
            *update_controls(cell.form),
        ]

    def open_tab(self, request: gr.Request) -> list[Update]:
        """Show which source the tab starts from, and suggest windows."""
        last = self.handlers.session(request).last
        if last is None:
            line = "Edit a picture first: its source is what this page starts from."
            return [markup.status([line]), gr.skip(), gr.skip()]
        line = f"It starts from the source of your last edit, towards “{last.form.prompt}”."
        return [markup.status([line]), *suggest_windows(last.form.steps)]


def suggest_windows(steps: int) -> list[str]:
    """Values of t_max and of t_m around the authors' window, such as "44, 47, 50"."""
    return [
        ", ".join(f"{round(share * steps)}" for share in shares)
        for shares in (T_MAX_SHARES, T_M_SHARES)
    ]

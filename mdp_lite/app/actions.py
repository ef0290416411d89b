"""What the page does with pictures and results: give one, take one back, compare, restore."""

from dataclasses import replace
from pathlib import Path

from mdp_lite.app.components.history import history_value
from mdp_lite.app.components.model import model_value
from mdp_lite.app.examples import EXAMPLES
from mdp_lite.app.form import EditForm, default_form
from mdp_lite.app.history import HistoryItem
from mdp_lite.app.model_actions import ModelActions
from mdp_lite.app.photo import describe_photo
from mdp_lite.app.restore import restore_form
from mdp_lite.app.results import SheetCell
from mdp_lite.app.sessions import Session
from mdp_lite.app.studio import Studio, open_upload
from mdp_lite.app.views import (
    Change,
    View,
    show_cell,
    show_item,
    show_nothing,
    show_pair,
    show_picture,
    write_code,
)
from mdp_lite.app.visit_page import EMPTY
from mdp_lite.app.wording import say
from mdp_lite.names import BadInput
from mdp_lite.pictures import images
from mdp_lite.pictures.fit import plan_fit

GIVEN = "given-"  # before the number of a restored result, which is no result of the visit


class Actions:
    """One function for each action; each answers with the parts of the page that change."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def open_page(self, session: Session) -> Change:
        """A page that was loaded: what the visit had, or the model's defaults."""
        form = session.page.form or default_form(self.studio.find_editor(session), "picture")
        item, models = session.history.current, ModelActions(self.studio)
        stage = session.page.stage
        if session.is_running or session.was_left:
            stage, session.was_left = stage | {"label": say("stage", "interrupted")}, False
        return Change(
            stage, history_value(session), show_picture(session), form=form,
            code=write_code(self.studio, item) if item else None, notes=self.warn(session),
            model=model_value(self.studio, session), facts=models.describe(session),
        )  # fmt: skip

    def take_file(self, session: Session, path: str | None, form: EditForm) -> Change:
        """A file that was dropped, pasted or chosen: a picture, or a result with its settings."""
        session.note_upload(path)
        try:
            image = open_upload(path)
        except BadInput as error:
            problem = str(error)[:1].upper() + str(error)[1:]
            return Change(picture=show_picture(session) | {"problem": problem})
        notes = []
        if path and has_settings(path):
            try:
                return self.restore(session, path, form)
            except BadInput as error:
                notes = [say("page", "bad_settings", why=error)]
        session.page.add_picture(image, Path(path or "").name)
        change = self.show_new_picture(session)
        return change._replace(notes=[*notes, *(change.notes or [])])

    def choose_example(self, session: Session, name: object, form: EditForm) -> Change:
        """Take an example, with its two prompts."""
        example = next((one for one in EXAMPLES if one.name == name), EXAMPLES[0])
        session.page.add_picture(open_upload(str(example.file)), example.file.name)
        prompts = {"source_prompt": example.source_prompt, "prompt": example.prompt}
        new = form_with(form, case="picture", **prompts)
        return self.show_new_picture(session)._replace(form=new)

    def show_new_picture(self, session: Session) -> Change:
        """Show the picture that is edited from now on; the old result leaves the stage."""
        session.page.stage = {"state": "loaded"}
        stage, picture = session.page.stage, show_picture(session, session.page.region)
        session.page.region = None
        return Change(stage, picture=picture, notes=self.warn(session))

    def warn(self, session: Session) -> list[str]:
        """What the visitor should know of the picture before the edit."""
        picture = session.page.picture
        if picture is None:
            return []
        size = self.studio.find_editor(session).runner.size
        done = plan_fit("crop", picture.size, size).describe()
        want, got = ("x".join(map(str, one)) for one in (size, picture.size))
        lines = [say("page", "fitted", want=want, size=got, how=done)] if done else []
        return [*describe_photo(self.studio, session, picture.file), *lines]

    def remove_picture(self, session: Session) -> Change:
        """The visitor took the picture away."""
        session.page.current = None
        session.page.stage = EMPTY
        return Change(EMPTY, picture=show_picture(session), notes=[])

    def restore(self, session: Session, path: str | None, form: EditForm) -> Change:
        """The settings of a picture that mdp_lite made; the picture itself is shown as a result."""
        model, name = self.studio.find_model(session), Path(path or "").name
        models = model.dry_editor.models
        new, notes = restore_form(path, form, models.name, models.clip_skip, model.reads_xl)
        shown = session.page.add_picture(open_upload(path), name, is_edited=False)
        session.page.stage = {
            "state": "done", "id": f"{GIVEN}{shown.id}", "right": session.url_of(shown.file),
            "right_label": say("page", "restored_result", name=name),
        }  # fmt: skip
        offer = model_value(self.studio, session, offered=self.find_maker(path))
        region = None
        if new.where == "found":  # it is found again; what was painted is not in a PNG
            region = {"where": "found", "png": None, "feather": new.feather}
        session.page.region = region
        lines, picture = [say("page", "restored"), *notes], show_picture(session, region)
        return Change(session.page.stage, form=new, notes=lines, picture=picture, model=offer)

    def find_maker(self, path: str | None) -> str | None:
        """The alias of the served model that made a picture, if it is one."""
        settings = images.read_settings(path or "", Path(path or "").name)
        found = self.studio.menu.find_by_name(settings.get("model"))
        return found and found.alias

    def select(self, session: Session, item_id: object) -> Change:
        """Go back to a result, with its settings and its picture."""
        return self.show_again(session, session.history.show(item_id))

    def show_again(self, session: Session, item: HistoryItem) -> Change:
        """Show a result with its settings; the next edit starts from its picture."""
        if item.form.case == "picture":
            self.use_file(session, item.source_file, item.name or "picture.png")
        mask = None
        if item.mask_file and item.form.where != "everywhere":
            png = session.url_of(item.mask_file)
            mask = {"where": item.form.where, "png": png, "feather": item.form.feather}
        change = show_item(View(self.studio, session), item)
        change = self._use_model(session, item.model, change)
        picture = show_picture(session, mask)
        return change._replace(form=item.form, picture=picture, notes=self.warn(session))

    def _use_model(self, session: Session, alias: str, change: Change) -> Change:
        """The change, and with it the model that made a result."""
        if alias == self.studio.find_model(session).alias:
            return change
        self.studio.choose(session, alias)
        models = ModelActions(self.studio)
        model = model_value(self.studio, session)
        return change._replace(model=model, facts=models.describe(session))

    def use_file(self, session: Session, file: Path, name: str) -> None:
        """Make a file of the visit the picture that is edited, unless it is already."""
        image, picture = images.rgb(images.open_picture(file)), session.page.picture
        if picture is None or images.rgb(images.open_picture(picture.file)) != image:
            session.page.add_picture(image, name)

    def step(self, session: Session, back: bool) -> Change:
        """Undo or redo: the result that was shown before, or after."""
        item = session.history.undo() if back else session.history.redo()
        return self.show_again(session, item) if item else show_nothing(View(self.studio, session))

    def compare(self, session: Session, ids: object) -> Change:
        """Show two results with the bar between them."""
        return show_pair(View(self.studio, session), *session.history.choose_pair(ids))

    def use_result(self, session: Session, item_id: object, form: EditForm) -> Change:
        """Use a result as the next picture; what it shows now is what was asked for."""
        if isinstance(item_id, str) and item_id.startswith(GIVEN):
            return self.use_given(session, item_id, form)
        item = session.history.get(item_id)
        self.use_file(session, item.edit_file, item.file_name)
        new = form_with(form, case="picture", source_prompt=item.form.prompt, prompt="")
        return self.show_new_picture(session)._replace(form=new)

    def use_cell(self, session: Session, cell: SheetCell) -> Change:
        """Show an edit of a sheet with its settings, and its picture if that is another one."""
        change, number = show_cell(session, cell), session.page.current
        if cell.form and cell.form.case == "picture":
            self.use_file(session, cell.source_file, cell.source_file.name)
        if session.page.current == number:
            return change
        return change._replace(picture=show_picture(session), notes=self.warn(session))

    def use_given(self, session: Session, name: str, form: EditForm) -> Change:
        """Use a restored result as the next picture; what it shows now is what was asked for."""
        number = name.removeprefix(GIVEN)
        picture = session.page.pictures.get(int(number)) if number.isdigit() else None
        if picture is None:
            raise BadInput(say("history", "gone"))
        session.page.current = picture.id
        new = form_with(form, case="picture", source_prompt=form.prompt, prompt="")
        return self.show_new_picture(session)._replace(form=new)

    def like(self, session: Session, item_id: object) -> Change:
        """Like a result, or no longer."""
        session.history.like(item_id)
        return Change(history=history_value(session))

    def delete(self, session: Session, item_id: object) -> Change:
        """Delete a result; the one before it is shown."""
        item = session.history.remove(item_id)
        view = View(self.studio, session)
        return show_item(view, item) if item else show_nothing(view)


def has_settings(path: str) -> bool:
    """Whether a picture has settings of an edit or of a generated picture by mdp_lite."""
    try:
        return "prompt" in images.read_settings(path, Path(path).name)
    except BadInput:
        return False


def form_with(form: EditForm, **values: object) -> EditForm:
    """The form with other values, and an edit of the whole picture."""
    return replace(form, where="everywhere", feather=0, **values)  # type: ignore[arg-type]

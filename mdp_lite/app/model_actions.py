"""What the page does with models: say which one is used, and use another one."""

from dataclasses import replace

from mdp_lite.app.components.model import model_value
from mdp_lite.app.components.words import describe_words
from mdp_lite.app.form import XL_FIELDS, EditForm, default_form
from mdp_lite.app.models import PageModel
from mdp_lite.app.quality import build_qualities
from mdp_lite.app.sessions import Session
from mdp_lite.app.studio import Studio
from mdp_lite.app.views import Change, ModelView
from mdp_lite.names import BadInput

# What a form keeps when the model changes; steps, guidance and window are the model's own.
WISHES = (
    "source_prompt", "prompt", "variant", "steer", "strength", "schedule", "seed",
    "negative_prompt", "method", "fit", "where", "feather",
)  # fmt: skip


class ModelActions:
    """One function for each action; each answers with the parts of the page that change."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def choose(self, session: Session, alias: object) -> Change:
        """Use another model from now on, with its own defaults; what the visitor wants stays."""
        try:
            self.studio.choose(session, alias)
        except BadInput as error:
            return self.show_problem(session, error)
        return self.show(session)

    def fetch(self, session: Session, hub_id: str) -> Change:
        """Use a model of the hub, where the operator allows it."""
        try:
            self.studio.fetch(session, hub_id)
        except (BadInput, OSError) as error:
            return self.show_problem(session, error)
        return self.show(session)

    def show(self, session: Session) -> Change:
        """The model of a visit that has just been chosen."""
        chosen = self.studio.find_model(session)
        old = session.page.form or default_form(chosen.dry_editor, "picture")
        model = model_value(self.studio, session)
        form = adapt_form(old, chosen)
        return Change(form=form, model=model, facts=self.describe(session), plan="")

    def show_problem(self, session: Session, error: Exception) -> Change:
        """A model that can't be used; the one before stays."""
        return Change(model=model_value(self.studio, session, str(error)))

    def describe(self, session: Session) -> ModelView:
        """What the page shows of the visitor's model."""
        model = self.studio.find_model(session)
        editor = model.dry_editor
        return ModelView(describe_words(editor.models), model.reads_xl, build_qualities(editor))


def adapt_form(form: EditForm, model: PageModel) -> EditForm:
    """The form for another model: what the visitor wants, with the model's own defaults."""
    values = {name: getattr(form, name) for name in WISHES}
    if model.reads_xl:
        values |= {name: getattr(form, name) for name in XL_FIELDS}
    return replace(default_form(model.dry_editor, form.case), **values)

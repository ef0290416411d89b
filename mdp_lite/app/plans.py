"""What an edit will compute and cost, told before it runs, and what it did, told after."""

from dataclasses import replace
from typing import NamedTuple

from PIL import Image

from mdp_lite.app.form import Form, checked, request
from mdp_lite.app.made import Made
from mdp_lite.app.sessions import Session
from mdp_lite.app.studio import Studio
from mdp_lite.app.work import Asked, made_source, source_key
from mdp_lite.engine.estimate import walked
from mdp_lite.method import plan
from mdp_lite.pipeline.inversion_methods import NEVER
from mdp_lite.pipeline.masks import LOOKS
from mdp_lite.pipeline.result import Cost, Source


class Foretold(NamedTuple):
    """What a form's source and edit will cost, and an edit that walks every step.

    at_hand: the source was made before, so that it costs nothing now; legs are the plan's lines.
    """

    source: Cost
    edit: Cost
    naive: Cost
    at_hand: bool
    legs: tuple[str, ...]
    seconds: float | None

    @property
    def rows(self) -> int:
        """UNet rows that a run takes now."""
        return self.edit.unet_rows + (0 if self.at_hand else self.source.unet_rows)


def foretold(studio: Studio, session: Session, asked: Asked) -> Foretold:
    """The plan of a form; no model but the text encoder is called."""
    form = checked(asked.form)
    at_hand = session.source(source_key(form, asked.picture))
    source = at_hand or rehearsed(studio, form, asked.picture)
    (task,) = studio.idle.tasks([request(source, form, asked.mask)])
    looks = Cost(2 * LOOKS, LOOKS) if form.where == "found" else Cost(0, 0)
    edit = Cost(task.plan.unet_rows + looks.unet_rows, task.plan.unet_calls + looks.unet_calls)
    loop = walked(task.weights, task.to.null is not None)
    told = Foretold(
        source.cost, edit, Cost(loop.unet_rows, loop.unet_calls), at_hand is not None,
        tuple(plan.described(task.plan)[:-1]), None,
    )  # fmt: skip
    return told._replace(seconds=studio.seconds(told.rows))


def rehearsed(studio: Studio, form: Form, picture: Image.Image | None) -> Source:
    """The form's source by models that do nothing; null-text inversion at its most."""
    source = made_source(studio.idle, form, picture)
    if source.how is None or source.method != "null-text":
        return source
    how = replace(source.how, early_stop=NEVER)
    assert picture is not None
    return studio.idle.invert(
        picture, form.source_prompt, how, form.steps, form.guidance_scale, form.negative_prompt,
        fit=form.fit,
    )  # fmt: skip


def before(told: Foretold, form: Form) -> list[str]:
    """Sentences on what a run will take."""
    name = "inversion" if form.case == "picture" else "source"
    rows = told.source.unet_rows
    if told.at_hand:
        first = f"The {name} is at hand and will be used again: {rows} UNet rows saved."
    elif told.source.backward_rows:
        back = told.source.backward_rows
        first = f"The {name} comes first: at most {rows} UNet rows, {back} of them backward too."
    else:
        first = f"The {name} comes first: {rows} UNet rows, once."
    edit, naive = told.edit.unet_rows, told.naive.unet_rows
    calls = f"{told.edit.unet_calls} calls"
    lines = [first, f"The edit: {edit} UNet rows in {calls}; walking every step takes {naive}."]
    if told.seconds is not None:
        lines.append(f"About {told.seconds:.1f} s by the last run.")
    return lines


def after(made: Made) -> list[str]:
    """Sentences on what a run took."""
    source, form, *_ = made.last
    name = "inversion" if form.case == "picture" else "source"
    rows = source.cost.unet_rows
    if made.reused:
        first = f"The {name} was at hand: {rows} UNet rows saved."
    else:
        first = f"The {name} took {rows} UNet rows and {made.seconds['source']:.2f} s."
    cost, seconds = made.edit.cost, made.seconds["edit"]
    lines = [
        first,
        f"The edit took {cost.unet_rows} UNet rows in {cost.unet_calls} calls and {seconds:.2f} s.",
    ]
    return [*lines, *notes(source, made.edit.truncated)]


def notes(source: Source, cut: bool) -> list[str]:
    """What happened to a picture and to prompts that a visitor may not expect."""
    told = []
    if how := source.frame.told():
        size, shape = ("x".join(map(str, one.size)) for one in (source.picture, source.image))
        told.append(f"The picture of {size} was {how} to {shape}, and put back at its own size.")
    if source.truncated or cut:
        told.append("A prompt is longer than the model can read: its end was left out.")
    return told

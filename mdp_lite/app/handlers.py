"""What happens as a visitor clicks: between the page's components and the work."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from mdp_lite.app import plans, words
from mdp_lite.app.fields import NAMES, Update, controls, untouched
from mdp_lite.app.form import CASES, Form, filled, suggested
from mdp_lite.app.panel import Files, quiet, result, told
from mdp_lite.app.restore import restored
from mdp_lite.app.sessions import Session
from mdp_lite.app.streaming import Stopped
from mdp_lite.app.studio import Studio, opened, painted
from mdp_lite.app.work import MASK, Asked, edited, source_key
from mdp_lite.batcher.batcher import Stopped as Closed

Canvas = dict[str, Any] | None  # of gr.ImageEditor
Values = tuple[Any, ...]  # of the controls of a case, in their order
log = logging.getLogger("mdp_lite.app")
MOST_SHOWN = 1024  # pixels of an uploaded picture's longer side on the page
LEAST = 512  # pixels along a canvas's longer side, below which a picture is shown enlarged


@contextmanager
def plainly() -> Iterator[None]:
    """What goes wrong is told to the visitor: bad input by its sentence, all else by one."""
    try:
        yield
    except (gr.Error, Stopped):
        raise
    except ValueError as error:
        raise _shown(str(error)) from None
    except Closed:
        raise _shown(words.CLOSED) from None
    except Exception:
        log.exception("a run failed")
        raise _shown(words.FAILED) from None


def _shown(message: str) -> gr.Error:
    plain = escape(message[:1].upper() + message[1:], quote=False)  # it is shown as HTML
    return gr.Error(plain, duration=None, print_exception=False)


class Handlers:
    """The page's functions over one studio."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.model = studio.editor.models.name

    def session(self, request: gr.Request) -> Session:
        """Whoever asks."""
        return self.studio.sessions.of(request.session_hash or "")

    def left(self, request: gr.Request) -> None:
        """A visitor closed the page: nothing of theirs is kept."""
        self.studio.sessions.drop(request.session_hash or "")

    def stop(self, request: gr.Request) -> str:
        """Stop what runs for this visitor."""
        self.session(request).stop()
        return words.lines([words.STOPPED])

    def edit_picture(
        self, picture: str | None, canvas: Canvas, source_prompt: str, prompt: str, variant: str,
        steer: str, strength: float, t_max: float, t_m: float, schedule: str,
        guidance_scale: float, steps: int, seed: int, negative_prompt: str, where: str,
        feather: int, method: str, fit: str, request: gr.Request,
    ) -> Iterator[list[Update]]:  # fmt: skip
        """Edit an uploaded picture towards a prompt."""
        values = (
            source_prompt, prompt, variant, steer, strength, t_max, t_m, schedule, guidance_scale,
            steps, seed, negative_prompt, where, feather, method, fit,
        )  # fmt: skip
        yield from self._edit("picture", picture, canvas, values, self.session(request))

    def edit_prompt(
        self, canvas: Canvas, source_prompt: str, prompt: str, variant: str, steer: str,
        strength: float, t_max: float, t_m: float, schedule: str, guidance_scale: float,
        steps: int, seed: int, negative_prompt: str, where: str, feather: int,
        request: gr.Request,
    ) -> Iterator[list[Update]]:  # fmt: skip
        """Make a picture from a prompt and a seed, and edit it towards another prompt."""
        values = (
            source_prompt, prompt, variant, steer, strength, t_max, t_m, schedule, guidance_scale,
            steps, seed, negative_prompt, where, feather,
        )  # fmt: skip
        yield from self._edit("prompt", None, canvas, values, self.session(request))

    def _edit(
        self, case: str, path: str | None, canvas: Canvas, values: Values, session: Session
    ) -> Iterator[list[Update]]:
        with plainly():
            asked = self.asked(case, path, canvas, values)
            try:
                made = yield from told(edited(self.studio, session, asked))
            except Stopped:
                yield quiet(words.lines([words.STOPPED]))
                return
            mask = made.after.with_name(MASK)
            files = Files(made.before, made.after, mask if mask.exists() else None)
            yield result(files, made.last.form, made.last.name, self.model, plans.after(made))

    def again(
        self, session: Session, live: bool, case: str, path: str | None, canvas: Canvas,
        values: Values,
    ) -> Iterator[list[Update]]:  # fmt: skip
        """Edit once more as a slider is let go, if that is wanted and the source is at hand."""
        if not live or (case == "picture" and path is None):
            return
        with plainly():
            asked = self.asked(case, path, None, values)
        if session.source(source_key(asked.form, asked.picture)) is not None:
            yield from self._edit(case, path, canvas, values, session)

    def plan(
        self, session: Session, case: str, path: str | None, canvas: Canvas, values: Values
    ) -> str:
        """What a run will take; what is still missing is said, not an error."""
        try:
            asked = self.asked(case, path, canvas, values)
            foretold = plans.foretold(self.studio, session, asked)
        except ValueError as error:
            return words.plan([f"Before it can run: {error}."], [])
        return words.plan(plans.before(foretold, asked.form), foretold.legs)

    def asked(self, case: str, path: str | None, canvas: Canvas, values: Values) -> Asked:
        """What a page's values ask for."""
        form = self.form(case, values)
        picture = opened(path) if case == "picture" else None
        name = Path(path).name if path else None
        if form.where != "painted":
            return Asked(form, picture, name)
        size = picture.size if picture else self.studio.editor.runner.size
        layers = [one for one in (canvas or {}).get("layers", ()) if one is not None]
        return Asked(form, picture, name, painted(layers, size))

    def form(self, case: str, values: Values) -> Form:
        """The form that a page's values make."""
        given = dict(zip(NAMES[case], values, strict=True))
        return filled(suggested(self.studio.editor, case), given)

    def restore(self, path: str | None, *values: Any) -> list[Update]:
        """The tab that a PNG's settings belong to, what they leave out, and all controls."""
        if path is None:  # the file was taken off the page
            return [gr.skip(), "", *(one for case in CASES for one in untouched(case))]
        now = self.form("picture", values)
        with plainly():
            form, notes = restored(path, now, self.model)
        said = words.lines(["The settings of this picture are on the page now.", *notes])
        return [gr.Tabs(selected=form.case), said, *controls(form)]

    def show(self, path: str | None) -> Update:
        """The picture that was given, as it was read; none where it was taken away again."""
        if path is None:
            return gr.update(value=None, visible=False)
        with plainly():
            picture = opened(path)
        picture.thumbnail((MOST_SHOWN, MOST_SHOWN))
        return gr.update(value=picture, visible=True)

    def to_paint(self, session: Session, where: str, case: str, path: str | None) -> list[Update]:
        """The canvas with the picture on it once a visitor wants to paint, and the feather."""
        painting = where == "painted"
        below = self._below(case, path, session) if painting else None
        return [gr.update(value=below, visible=painting), gr.update(visible=where != "everywhere")]

    def _below(self, case: str, path: str | None, session: Session) -> Image.Image | None:
        """What is painted on, enlarged if small: the picture, or the source that was made last."""
        if case == "picture":
            if path is None:
                return None
            with plainly():
                picture = opened(path)
        elif session.last is None or session.last.form.case != case:
            gr.Info("First make the picture by an edit of all of it; then paint on it.")
            return None
        else:
            picture = session.last.source.picture
        factor = max(1, LEAST // max(picture.size))
        size = (factor * picture.width, factor * picture.height)
        return picture.resize(size, Image.Resampling.NEAREST)

"""What happens when a visitor clicks: from the values of the components to a run, and back."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from mdp_lite.app import markup
from mdp_lite.app.fields import FIELD_NAMES, Update, skip_controls, update_controls
from mdp_lite.app.forecast import (
    describe_forecast,
    describe_result,
    describe_unknown_words,
    forecast,
)
from mdp_lite.app.form import EditForm, default_form, fill_form
from mdp_lite.app.panel import ResultFiles, show_result, show_status, stream_updates
from mdp_lite.app.quality import compare_quality
from mdp_lite.app.restore import restore_form
from mdp_lite.app.runs import MASK_FILE, Submission, run_edit
from mdp_lite.app.sessions import Session
from mdp_lite.app.streaming import StoppedByVisitor
from mdp_lite.app.studio import Studio, mask_from_layers, open_upload
from mdp_lite.app.wiring import find_session
from mdp_lite.app.wording import say
from mdp_lite.names import Stopped

Canvas = dict[str, Any] | None  # the value of a gr.ImageEditor
Values = tuple[Any, ...]  # of the controls of a case, in their order
log = logging.getLogger("mdp_lite.app")


@contextmanager
def show_errors() -> Iterator[None]:
    """Show the visitor the message of a bad input, and one sentence for every other error."""
    try:
        yield
    except (gr.Error, StoppedByVisitor):
        raise
    except ValueError as error:
        raise _to_page_error(str(error)) from None
    except Stopped:  # the service's batcher was closed
        raise _to_page_error(say("page", "closed")) from None
    except Exception:
        log.exception("a run failed")
        raise _to_page_error(say("page", "failed")) from None


def _to_page_error(message: str) -> gr.Error:
    plain = escape(message[:1].upper() + message[1:], quote=False)  # gradio shows it as HTML
    return gr.Error(plain, duration=None, print_exception=False)


class Handlers:
    """The page's functions for one edit, over one studio."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.model, self.clip_skip = studio.editor.models.name, studio.editor.models.clip_skip

    def session(self, request: gr.Request) -> Session:
        """The session of the visitor who sent the request."""
        return find_session(self.studio, request)

    def stop(self, request: gr.Request) -> str:
        """Stop the visitor's run."""
        self.session(request).stop()
        return markup.status([say("stage", "stopped")])

    def edit_picture(
        self, picture: str | None, canvas: Canvas, source_prompt: str, prompt: str, variant: str,
        steer: str, strength: float, t_max: float, t_m: float, schedule: str,
        guidance_scale: float, steps: int, seed: int, negative_prompt: str, where: str,
        feather: int, method: str, fit: str, source_prompt_2: str, prompt_2: str,
        negative_prompt_2: str, original_size: str, crop: str, target_size: str,
        negative_original_size: str, negative_crop: str, negative_target_size: str,
        request: gr.Request,
    ) -> Iterator[list[Update]]:  # fmt: skip
        """Edit an uploaded picture towards a prompt."""
        values = (
            source_prompt, prompt, variant, steer, strength, t_max, t_m, schedule, guidance_scale,
            steps, seed, negative_prompt, where, feather, method, fit,
            source_prompt_2, prompt_2, negative_prompt_2, original_size, crop, target_size,
            negative_original_size, negative_crop, negative_target_size,
        )  # fmt: skip
        yield from self._edit("picture", picture, canvas, values, self.session(request))

    def edit_prompt(
        self, canvas: Canvas, source_prompt: str, prompt: str, variant: str, steer: str,
        strength: float, t_max: float, t_m: float, schedule: str, guidance_scale: float,
        steps: int, seed: int, negative_prompt: str, where: str, feather: int,
        source_prompt_2: str, prompt_2: str, negative_prompt_2: str, original_size: str, crop: str,
        target_size: str, negative_original_size: str, negative_crop: str,
        negative_target_size: str, request: gr.Request,
    ) -> Iterator[list[Update]]:  # fmt: skip
        """Make a picture from a prompt and a seed, and edit it towards another prompt."""
        values = (
            source_prompt, prompt, variant, steer, strength, t_max, t_m, schedule, guidance_scale,
            steps, seed, negative_prompt, where, feather,
            source_prompt_2, prompt_2, negative_prompt_2, original_size, crop, target_size,
            negative_original_size, negative_crop, negative_target_size,
        )  # fmt: skip
        yield from self._edit("prompt", None, canvas, values, self.session(request))

    def _edit(
        self, case: str, path: str | None, canvas: Canvas, values: Values, session: Session
    ) -> Iterator[list[Update]]:
        session.note_upload(path)
        with show_errors():
            submission = self.read_submission(case, path, canvas, values)
            try:
                result = yield from stream_updates(run_edit(self.studio, session, submission))
            except StoppedByVisitor:
                yield show_status(markup.status([say("stage", "stopped")]))
                return
            mask = result.edit_file.with_name(MASK_FILE)
            files = ResultFiles(
                result.source_file, result.edit_file, mask if mask.exists() else None
            )
            form, name = result.last.form, result.last.name
            lines = [
                *describe_result(result),
                *compare_quality(self.studio, session, submission, result),
                *self.describe_unknown_words(form),
            ]
            yield show_result(files, form, name, self.model, self.clip_skip, lines)

    def plan(
        self, session: Session, case: str, path: str | None, canvas: Canvas, values: Values
    ) -> str:
        """The forecast of a run; what is still missing is a sentence, not an error."""
        session.note_upload(path)
        try:
            submission = self.read_submission(case, path, canvas, values)
            result = forecast(self.studio, session, submission)
        except ValueError as error:
            return markup.plan([say("endpoints", "not_ready", why=error)], [])
        lines = describe_forecast(result, submission.form)
        lines += self.describe_unknown_words(submission.form)
        return markup.plan(lines, result.lines)

    def describe_unknown_words(self, form: EditForm) -> list[str]:
        """A sentence that names the words of both prompts that the model does not know, or none."""
        return describe_unknown_words(self.studio.dry_editor, form)

    def read_submission(
        self, case: str, path: str | None, canvas: Canvas, values: Values
    ) -> Submission:
        """The form, picture and mask of a page's values."""
        form = self.read_form(case, values)
        picture = open_upload(path) if case == "picture" else None
        name = Path(path).name if path else None
        if form.where != "painted":
            return Submission(form, picture, name)
        size = picture.size if picture else self.studio.editor.runner.size
        layers = [one for one in (canvas or {}).get("layers", ()) if one is not None]
        return Submission(form, picture, name, mask_from_layers(layers, size))

    def read_form(self, case: str, values: Values) -> EditForm:
        """The form of a page's values."""
        fields = dict(zip(FIELD_NAMES[case], values, strict=True))
        return fill_form(default_form(self.studio.editor, case), fields)

    def restore(self, path: str | None, *values: Any) -> list[Update]:
        """The case that a PNG's settings belong to, notes on what is missing, and all controls."""
        if path is None:  # the file was removed from the page
            return [gr.skip(), "", *skip_controls()]
        current = self.read_form("picture", values)
        with show_errors():
            form, notes = restore_form(
                path, current, self.model, self.clip_skip, self.studio.reads_xl
            )
        status = markup.status([say("endpoints", "restored"), *notes])
        return [form.case, status, *update_controls(form)]

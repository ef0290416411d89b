"""Which function answers which event of the page."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from mdp_lite.app.actions import Actions
from mdp_lite.app.components.model import read_id
from mdp_lite.app.fields import Update
from mdp_lite.app.flow import Flow, PageState
from mdp_lite.app.form import CASES, MAX_STEPS, EditForm, default_form
from mdp_lite.app.model_actions import ModelActions
from mdp_lite.app.parts import Parts, list_updates
from mdp_lite.app.quality import choose_steps, name_quality
from mdp_lite.app.sessions import Session
from mdp_lite.app.stage import show_error, show_stopped
from mdp_lite.app.studio import Studio
from mdp_lite.app.views import Change
from mdp_lite.app.visit_page import StageValue
from mdp_lite.app.wiring import MODEL, QUICK, find_session, name_page
from mdp_lite.app.wording import say
from mdp_lite.editor import Editor
from mdp_lite.names import BadInput

# A page that is loaded again says which visit it belongs to.
READ_TOKEN = "() => [sessionStorage.getItem('mdp-lite-visit') || '']"
MARK_CASE = "(name) => (document.body.classList.toggle('mdp-words', name === 'prompt'), [name])"
log = logging.getLogger("mdp_lite.app")
Act = Callable[[Session, PageState, gr.EventData], Change]


def wire_page(blocks: gr.Blocks, studio: Studio, parts: Parts) -> None:
    """Connect all parts of the page."""
    flow, actions = Flow(studio), Actions(studio)
    _wire_visit(blocks, studio, actions, parts)
    _wire_runs(studio, flow, parts)
    _wire_plan(studio, flow, parts)
    _wire_pictures(studio, flow, actions, parts)
    _wire_history(studio, flow, actions, parts)
    _wire_settings(studio, parts)
    _wire_models(studio, parts)


def _wire_visit(blocks: gr.Blocks, studio: Studio, actions: Actions, parts: Parts) -> None:
    token = gr.Textbox(visible=False)

    def open_page(token: str, request: gr.Request) -> list[Update]:
        session = studio.sessions.resume(name_page(request), token)
        change = actions.open_page(session)
        stage = (change.stage or {}) | {"token": session.token}
        return list_updates(change._replace(stage=stage))

    def leave(request: gr.Request) -> None:
        studio.sessions.leave(name_page(request))

    blocks.load(open_page, token, parts.outputs, js=READ_TOKEN, **QUICK)
    blocks.unload(leave)


def _wire_runs(studio: Studio, flow: Flow, parts: Parts) -> None:
    """Edit by the button or by Enter, again when the slider is let go; Stop."""

    def answer(run: Callable[..., Iterator[Change]]) -> Callable[..., Iterator[list[Update]]]:
        def work(request: gr.Request, *values: Any) -> Iterator[list[Update]]:
            session = find_session(studio, request)
            for change in run(session, _read_state(values), name_page(request)):
                yield list_updates(change)

        return work

    event: dict[str, Any] = {"inputs": parts.state, "outputs": parts.outputs}
    event |= {"trigger_mode": "multiple", "api_visibility": "private", **MODEL}
    prompts = [parts.fields[name].submit for name in ("source_prompt", "prompt")]
    gr.on([parts.edit.click, *prompts], answer(flow.edit), **event)
    gr.on([parts.strength.release], answer(flow.edit_again), **event)
    parts.strength.release(lambda: "strength", None, parts.fields["steer"], **QUICK)

    def stop_run(request: gr.Request) -> StageValue:  # its name is not that of the endpoint /stop
        session = find_session(studio, request)
        session.stop()
        return show_stopped(session.page.stage)  # also if nothing runs any more

    parts.stop.click(stop_run, None, parts.stage, **QUICK)


def _wire_plan(studio: Studio, flow: Flow, parts: Parts) -> None:
    """Say what an edit will cost when an input changes."""

    def plan(request: gr.Request, *values: Any) -> str:
        return flow.plan(find_session(studio, request), _read_state(values))

    changes = [one.change for one in (*parts.controls, parts.picture, parts.strength)]
    gr.on(
        changes, plan, parts.state, parts.plan, trigger_mode="always_last", concurrency_id="plan",
        show_progress="hidden", api_visibility="private",
    )  # fmt: skip


def _wire_pictures(studio: Studio, flow: Flow, actions: Actions, parts: Parts) -> None:
    """A picture is given, taken from the examples, or removed."""

    def take(path: str | None, request: gr.Request, *values: Any) -> list[Update]:
        session, state = find_session(studio, request), _read_state(values)
        try:
            change = actions.take_file(session, path, flow.read_form(session, state))
        except Exception:
            log.exception("a picture could not be taken")
            change = Change(stage=show_error(session.page.stage, say("page", "failed"), ()))
        return [None, *list_updates(change)]  # None: the next upload needs an empty field

    # in the queue, unlike QUICK: a large picture takes a while
    parts.file.upload(
        take, [parts.file, *parts.state], [parts.file, *parts.outputs], show_progress="hidden",
        api_visibility="private",
    )  # fmt: skip
    form = flow.read_form
    _on(studio, parts, parts.picture.example_select, lambda session, state, event: (
        actions.choose_example(session, _read_id(event), form(session, state))
    ))  # fmt: skip
    _on(studio, parts, parts.picture.clear, lambda session, state, event: (
        actions.remove_picture(session)
    ))  # fmt: skip


def _wire_history(studio: Studio, flow: Flow, actions: Actions, parts: Parts) -> None:
    """Results come back, are compared, used, liked and deleted."""
    form, history = flow.read_form, parts.history
    answers: list[tuple[Any, Act]] = [
        (history.select, lambda session, state, event: actions.select(session, _read_id(event))),
        (history.option_select, lambda session, state, event: (
            actions.compare(session, getattr(event, "ids", None)))),
        (history.apply, lambda session, state, event: (
            actions.use_result(session, _read_id(event), form(session, state)))),
        (parts.stage.apply, lambda session, state, event: (
            actions.use_result(session, _read_id(event), form(session, state)))),
        (history.like, lambda session, state, event: actions.like(session, _read_id(event))),
        (history.delete, lambda session, state, event: actions.delete(session, _read_id(event))),
        (history.undo, lambda session, state, event: actions.step(session, back=True)),
        (history.retry, lambda session, state, event: actions.step(session, back=False)),
    ]  # fmt: skip
    for listener, act in answers:
        _on(studio, parts, listener, act)
    _wire_end(studio, actions, parts)


def _wire_end(studio: Studio, actions: Actions, parts: Parts) -> None:
    """Delete everything of the visit at once; a new one begins."""

    def end(request: gr.Request) -> list[Update]:
        name = name_page(request)
        studio.sessions.drop(name)
        session = studio.sessions.resume(name, "")  # a new visit, whose page is open
        change = actions.open_page(session)
        return list_updates(change._replace(stage={**(change.stage or {}), "token": session.token}))

    parts.history.clear(end, None, parts.outputs, **QUICK)


def _wire_settings(studio: Studio, parts: Parts) -> None:
    """Show the fields that matter, and keep the window true to the steps."""
    fields = parts.fields
    window = [fields["t_max"], fields["t_m"]]
    steer, case = fields["steer"], fields["case"]
    steer.change(_show_window, [steer, parts.strength], [*window, parts.strength], **QUICK)
    case.change(_name_source_prompt, case, fields["source_prompt"], js=MARK_CASE, **QUICK)

    def choose(quality: str | None, name: str, request: gr.Request) -> list[Any]:
        editor = studio.find_editor(find_session(studio, request))
        return choose_steps(editor, _check_case(name), quality)

    def follow(count: Any, name: str, request: gr.Request) -> list[Any]:
        editor = studio.find_editor(find_session(studio, request))
        window = choose_window(editor, _check_case(name), count)
        return list(window)

    def name_steps(count: Any, request: gr.Request) -> Any:
        return name_quality(studio.find_editor(find_session(studio, request)), count)

    steps, quality = fields["steps"], fields["quality"]
    quality.input(choose, [quality, case], [steps, *window], **QUICK)
    steps.input(follow, [steps, case], window, trigger_mode="always_last", **QUICK)
    steps.change(name_steps, steps, quality, trigger_mode="always_last", **QUICK)


def _wire_models(studio: Studio, parts: Parts) -> None:
    """Use another model: one of the menu, or one of the hub, which is fetched first."""
    actions = ModelActions(studio)

    def choose(request: gr.Request, event: gr.EventData) -> list[Update]:
        return list_updates(actions.choose(find_session(studio, request), _read_id(event)))

    def fetch(request: gr.Request, event: gr.EventData) -> list[Update]:
        hub_id = read_id(getattr(event, "hub", None))
        return list_updates(actions.fetch(find_session(studio, request), hub_id))

    parts.model.select(choose, None, parts.outputs, **QUICK)
    parts.model.submit(
        fetch, None, parts.outputs, show_progress="hidden", api_visibility="private",
        concurrency_id="hub", concurrency_limit=1,
    )  # fmt: skip


def choose_window(editor: Editor, case: str, steps: Any) -> list[Any]:
    """The default window for a number of steps; a number that is none leaves it as it is."""
    if not isinstance(steps, int | float) or not 1 <= steps <= MAX_STEPS or steps % 1:
        return [gr.skip(), gr.skip()]
    form = default_form(editor, case, int(steps))
    return [form.t_max, form.t_m]


def _name_source_prompt(case: str) -> Any:
    """The source prompt describes the picture, or it is what a picture is made from."""
    name = "make_prompt" if case == "prompt" else "source_prompt"
    hint = say("settings", f"{name}_hint")
    return gr.update(label=say("settings", name), placeholder=hint)


def _show_window(steer: str, strength: Any) -> list[Any]:
    window = steer == "window"
    value = strength if isinstance(strength, dict) else {"strength": EditForm.strength}
    return [gr.update(visible=window), gr.update(visible=window), value | {"steer": steer}]


def _on(studio: Studio, parts: Parts, listener: Any, act: Act) -> None:
    """Answer an event of a component by an action; what can't be done is said on the stage."""

    def answer(request: gr.Request, event: gr.EventData, *values: Any) -> list[Update]:
        session = find_session(studio, request)
        try:
            change = act(session, _read_state(values), event)
        except BadInput as error:
            change = Change(stage=show_error(session.page.stage, str(error), ()))
        except Exception:
            log.exception("an action failed")
            change = Change(stage=show_error(session.page.stage, say("page", "failed"), ()))
        return list_updates(change)

    listener(answer, parts.state, parts.outputs, **QUICK)


def _check_case(case: Any) -> str:
    return case if case in CASES else CASES[0]


def _read_state(values: tuple[Any, ...]) -> PageState:
    picture, strength, *fields = values
    return PageState(picture, strength, tuple(fields))


def _read_id(event: gr.EventData) -> Any:
    return getattr(event, "id", None)

"""Edits as a loop: the state of each after every step, and what stays in memory."""

import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, lerp

from mdp_lite.editor import Editor
from mdp_lite.method.ddim import eps_to_x0
from mdp_lite.pipeline.progress import EditState
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.result import Cost
from support.watched import N, Watched, random_table, unlike

KINDS: dict[str, dict[str, Any]] = {
    "epsilon": {},
    "v": {"prediction_type": "v_prediction"},
    "v-zero-snr": {
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
        "rescale_betas_zero_snr": True,
    },
}


@pytest.fixture(scope="module")
def requests(editor: Editor) -> list[Request]:
    return unlike(editor)


@pytest.fixture
def watched(editor: Editor) -> tuple[Editor, Watched]:
    unet: Any = Watched(editor.models.unet)
    return Editor(replace(editor.models, unet=unet), editor.device), unet


@pytest.mark.parametrize("max_rows", [0, 5])
def test_the_loop_ends_where_edits_end(
    editor: Editor, max_rows: int, requests: list[Request]
) -> None:
    *_, last = rounds = list(editor.steps(requests, max_rows))
    want = editor.edits(requests, max_rows)
    assert [one.done for one in rounds] == sorted({one.done for one in rounds})
    assert {one.total for one in rounds} == {last.done}
    for state, edit in zip(last.states, want, strict=True):
        result = editor.result(state)
        assert state.finished and result.finished and edit.finished
        assert torch.equal(result.latent, edit.latent) and torch.equal(state.x, edit.latent)
        assert (result.image.tobytes(), result.cost) == (edit.image.tobytes(), edit.cost)
        assert result.cost == Cost(edit.plan.unet_rows, edit.plan.unet_calls)


def test_each_round_moves_the_edits_that_it_names(editor: Editor, requests: list[Request]) -> None:
    steps = [0] * len(requests)
    for progress in editor.steps(requests, 4):
        now = [state.step for state in progress.states]
        assert progress.moved and all(now[i] > steps[i] for i in progress.moved)
        assert all(now[i] == steps[i] for i in range(6) if i not in progress.moved)
        steps = now
    assert steps == [N, N, N + 2, N - 3, N + 2, N - 3]


def test_no_requests_are_no_steps(editor: Editor) -> None:
    assert list(editor.steps([])) == [] and editor.edits([]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_x0_is_what_the_step_predicted_mixed_as_x_was(editor: Editor, kind: str) -> None:
    scheduler = replace(editor.models.scheduler, **KINDS[kind])
    other = Editor(replace(editor.models, scheduler=scheduler), editor.device)
    source = other.generate("a red house", 1, N)
    table = random_table(5, N)
    before, path, grid = source.path.x[0], source.path, source.grid
    for progress in other.steps([Request(source, "a blue house", weights=table)]):
        (state,) = progress.states
        i = state.step - 1
        assert state.x0.isfinite().all()
        if 0 < i < N - 1 or (i == 0 and grid.a[0] > 0):
            w, its_eps = table.x[i], path.eps[i]  # state.eps is mixed as x was
            eps = (state.eps - w * its_eps) / (1 - w) if w < 1 else its_eps
            pairs = ((eps, before), (its_eps, path.x[i]))
            own, its = (eps_to_x0(e, x, grid.a[i]) for e, x in pairs)
            want = lerp(own, its, w)
            assert (state.x0 - want).abs().max() <= 1e-9 * want.abs().max()
        before = state.x
    assert state.step == N and torch.equal(state.x0, state.x)


def test_every_edit_can_be_shown_after_every_round(editor: Editor, requests: list[Request]) -> None:
    for progress in editor.steps(requests):
        begun = {state.step > 0 for state in progress.states}
        last = progress.states[progress.moved[-1]]
        for state in progress.states if begun == {True, False} else [last]:
            edit = editor.result(state)
            assert edit.finished is (state.step == state.task.plan.n)
            assert edit.cost.unet_calls == sum(
                one.kind == "call" and one.stop <= state.step for one in edit.plan.segments
            )
            assert edit.image.size == state.request.source.image.size


@pytest.mark.parametrize("max_rows", [0, 5])
@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_cancelled_edit_stops_at_once_and_frees_its_memory(
    watched: tuple[Editor, Watched], max_rows: int, after: int, requests: list[Request]
) -> None:
    editor, unet = watched
    unet.seen.clear()
    loop = editor.steps(requests, max_rows)
    for _ in range(after):
        progress = next(loop)
    refs = [weakref.ref(progress.states[i].x) for i in progress.moved]
    calls = unet.calls
    loop.close()
    del progress
    assert unet.calls == calls
    assert unet.alive() == 0 and next(loop, None) is None
    paths = [one.source.path.x.untyped_storage().data_ptr() for one in requests]
    left = [x for x in (one() for one in refs) if x is not None]
    assert all(x.untyped_storage().data_ptr() in paths for x in left)


def test_leaving_a_for_loop_cancels(
    watched: tuple[Editor, Watched], requests: list[Request]
) -> None:
    editor, unet = watched
    before = unet.calls
    for _ in editor.steps(requests):
        if unet.calls > before + 2:
            break
    assert unet.calls == before + 3 and unet.alive() == 0


class Cancelled(Exception):
    pass


def cancelling(after: int, refs: list[weakref.ref[Tensor]]) -> Callable[[int, int, Tensor], None]:
    def on_step(done: int, total: int, latent: Tensor) -> None:
        refs.append(weakref.ref(latent))
        if len(refs) == after:
            raise Cancelled

    return on_step


def makers(editor: Editor) -> Iterator[Callable[..., object]]:
    source = editor.generate("a red house", 1, N)
    yield lambda on_step: editor.generate("a", 1, N, on_step=on_step)
    yield lambda on_step: editor.invert(source.image, "a", "ddim", N, on_step=on_step)
    yield lambda on_step: editor.edit(source, "a boat", "c", t_max=N, t_m=0, on_step=on_step)


@pytest.mark.parametrize("after", [1, 3])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_an_error_of_on_step_comes_through_and_leaves_nothing(
    watched: tuple[Editor, Watched], which: int, after: int
) -> None:
    editor, unet = watched
    make = list(makers(editor))[which]
    calls, refs = unet.calls, []
    try:
        make(cancelling(after, refs))
        raise AssertionError("on_step's error was lost")
    except Cancelled:
        pass
    assert unet.calls == calls + after
    assert len(refs) == after and not any(one() is not None for one in refs)
    assert unet.alive() == 0


def test_a_running_edit_keeps_no_step_that_is_over(watched: tuple[Editor, Watched]) -> None:
    editor, _ = watched
    source = editor.generate("a red house", 1, 30)
    latents: list[weakref.ref[Tensor]] = []
    for progress in editor.steps([Request(source, "a boat", "c", t_max=30, t_m=0)]):
        latents.append(weakref.ref(progress.states[0].x))
        assert sum(one() is not None for one in latents) <= 2
    assert len(latents) >= 28


def test_a_bad_request_is_refused_before_the_first_step(editor: Editor) -> None:
    source = editor.generate("a red house", 1, 2)
    with pytest.raises(ValueError, match="strength"):
        editor.steps([Request(source, "a boat", strength=2.0)])


def test_a_state_is_frozen(editor: Editor) -> None:
    source = editor.generate("a red house", 1, 2)
    (state,) = next(editor.steps([Request(source, "a boat")])).states
    assert isinstance(state, EditState)
    with pytest.raises(AttributeError):
        state.step = 5  # type: ignore[misc]

"""Edits as a loop: where they are after each step, what is left when it is left."""

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


@pytest.mark.parametrize("most", [0, 5])
def test_the_loop_ends_where_edits_end(editor: Editor, most: int, requests: list[Request]) -> None:
    *_, last = ticks = list(editor.steps(requests, most))
    want = editor.edits(requests, most)
    assert [one.done for one in ticks] == sorted({one.done for one in ticks})
    assert {one.total for one in ticks} == {last.done}
    for at, edit in zip(last.at, want, strict=True):
        made = editor.result(at)
        assert at.finished and made.finished and edit.finished
        assert torch.equal(made.latent, edit.latent) and torch.equal(at.x, edit.latent)
        assert (made.image.tobytes(), made.cost) == (edit.image.tobytes(), edit.cost)
        assert made.cost == Cost(edit.plan.unet_rows, edit.plan.unet_calls)


def test_each_tick_moves_what_it_says(editor: Editor, requests: list[Request]) -> None:
    rows = [0] * len(requests)
    for tick in editor.steps(requests, 4):
        now = [at.row for at in tick.at]
        assert tick.moved and all(now[i] > rows[i] for i in tick.moved)
        assert all(now[i] == rows[i] for i in range(6) if i not in tick.moved)
        rows = now
    assert rows == [N, N, N + 2, N - 3, N + 2, N - 3]


def test_no_requests_are_no_steps(editor: Editor) -> None:
    assert list(editor.steps([])) == [] and editor.edits([]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_x0_is_what_the_step_predicted_mixed_as_x_was(editor: Editor, kind: str) -> None:
    scheduler = replace(editor.models.scheduler, **KINDS[kind])
    other = Editor(replace(editor.models, scheduler=scheduler), editor.device)
    source = other.generate("a red house", 1, N)
    table = random_table(5, N)
    before, path, grid = source.path.x[0], source.path, source.grid
    for tick in other.steps([Request(source, "a blue house", weights=table)]):
        (at,) = tick.at
        i = at.row - 1
        assert at.x0.isfinite().all()
        if 0 < i < N - 1 or (i == 0 and grid.a[0] > 0):
            own, its = (eps_to_x0(e, x, grid.a[i]) for e, x in ((at.eps, before),
                        (path.eps[i], path.x[i])))  # fmt: skip
            want = lerp(own, its, table.x[i])
            assert (at.x0 - want).abs().max() <= 1e-9 * want.abs().max()
        before = at.x
    assert at.row == N and torch.equal(at.x0, at.x)


def test_every_edit_can_be_shown_at_every_tick(editor: Editor, requests: list[Request]) -> None:
    for tick in editor.steps(requests):
        begun = {at.row > 0 for at in tick.at}
        for at in tick.at if begun == {True, False} else [tick.at[tick.moved[-1]]]:
            edit = editor.result(at)
            assert edit.finished is (at.row == at.task.plan.n)
            assert edit.cost.unet_calls == sum(
                leg.kind == "call" and leg.stop <= at.row for leg in edit.plan.segments
            )
            assert edit.image.size == at.asked.source.image.size


@pytest.mark.parametrize("most", [0, 5])
@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_cancelled_edit_stops_at_once_and_frees_its_memory(
    watched: tuple[Editor, Watched], most: int, after: int, requests: list[Request]
) -> None:
    editor, unet = watched
    unet.seen.clear()
    loop = editor.steps(requests, most)
    for _ in range(after):
        tick = next(loop)
    held = [weakref.ref(tick.at[i].x) for i in tick.moved]
    calls = unet.calls
    loop.close()
    del tick
    assert unet.calls == calls
    assert unet.alive() == 0 and next(loop, None) is None
    paths = [one.source.path.x.untyped_storage().data_ptr() for one in requests]
    left = [x for x in (one() for one in held) if x is not None]
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


class Stop(Exception):
    pass


def stopping(after: int, seen: list[weakref.ref[Tensor]]) -> Callable[[int, int, Tensor], None]:
    def on_step(done: int, total: int, latent: Tensor) -> None:
        seen.append(weakref.ref(latent))
        if len(seen) == after:
            raise Stop

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
    calls, seen = unet.calls, []
    try:
        make(stopping(after, seen))
        raise AssertionError("on_step's error was lost")
    except Stop:
        pass
    assert unet.calls == calls + after
    assert len(seen) == after and not any(one() is not None for one in seen)
    assert unet.alive() == 0


def test_a_running_edit_keeps_no_step_that_is_over(watched: tuple[Editor, Watched]) -> None:
    editor, _ = watched
    source = editor.generate("a red house", 1, 30)
    latents: list[weakref.ref[Tensor]] = []
    for tick in editor.steps([Request(source, "a boat", "c", t_max=30, t_m=0)]):
        latents.append(weakref.ref(tick.at[0].x))
        assert sum(one() is not None for one in latents) <= 2
    assert len(latents) >= 28


def test_a_bad_request_is_refused_before_the_first_step(editor: Editor) -> None:
    source = editor.generate("a red house", 1, 2)
    with pytest.raises(ValueError, match="strength"):
        editor.steps([Request(source, "a boat", strength=2.0)])


def test_a_standing_is_frozen(editor: Editor) -> None:
    source = editor.generate("a red house", 1, 2)
    (at,) = next(editor.steps([Request(source, "a boat")])).at
    assert isinstance(at, EditState)
    with pytest.raises(AttributeError):
        at.row = 5  # type: ignore[misc]

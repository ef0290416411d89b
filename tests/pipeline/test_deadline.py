"""Deadlines: the best picture so far, in time but for one step."""

import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mdp_lite.editor import Editor
from mdp_lite.pipeline import edit as edits
from mdp_lite.pipeline import runner, sources
from mdp_lite.pipeline.request import Request
from support.watched import N, Watched, unlike


class Clock:
    """A monotonic clock that only models advance: a UNet call by 1 s, decoding by 2 s."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> Callable[[], None]:
        return lambda: setattr(self, "now", self.now + seconds)


class SlowVAE(nn.Module):
    """A VAE that advances the clock when it decodes."""

    def __init__(self, vae: Any, wait: Callable[[], None]) -> None:
        super().__init__()
        self.vae, self.config, self.wait, self.encode = vae, vae.config, wait, vae.encode

    def decode(self, latent: Tensor) -> Tensor:
        self.wait()
        return self.vae.decode(latent)


@pytest.fixture
def timed(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> tuple[Editor, Clock, Watched]:
    clock = Clock()
    for module in (edits, sources, runner):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock))
    unet: Any = Watched(editor.models.unet, clock.advance(1))
    vae: Any = SlowVAE(editor.models.vae, clock.advance(2))
    return Editor(replace(editor.models, unet=unet, vae=vae), editor.device), clock, unet


@pytest.mark.parametrize("deadline", [0.1, 2, 2.5, 4, 6.5, 7])
def test_a_deadline_is_kept_but_for_one_step(
    timed: tuple[Editor, Clock, Watched], deadline: float
) -> None:
    editor, clock, unet = timed
    source = editor.generate("a red house", 1, N)  # that decoded a picture of this size
    start, calls = clock.now, unet.calls
    edit = editor.edit(source, "a boat", "c", t_max=N, t_m=0, deadline=deadline)
    calls = unet.calls - calls
    assert clock.now - start < deadline + 1 or calls == 1
    assert clock.now - start >= deadline  # all steps that there was time for
    assert not edit.finished and edit.cost.unet_calls == calls


def test_a_decoding_that_is_not_known_comes_on_top(
    timed: tuple[Editor, Clock, Watched], editor: Editor
) -> None:
    new, clock, unet = timed
    source = editor.generate("a red house", 1, N)  # by another editor
    for calls in (5, 3):
        start, before = clock.now, unet.calls
        new.edit(source, "a boat", "c", t_max=N, t_m=0, deadline=5)
        assert (unet.calls - before, clock.now - start) == (calls, calls + 2)


def test_the_best_picture_so_far_is_the_predicted_one(
    timed: tuple[Editor, Clock, Watched],
) -> None:
    editor = timed[0]
    source = editor.generate("a red house", 1, N)
    request = Request(source, "a boat", "c", t_max=N, t_m=0)
    edit = editor.edits([request], deadline=5.5)[0]
    state = next(one.states[0] for one in editor.steps([request]) if one.states[0].step == 4)
    assert torch.equal(edit.latent, state.x0)
    assert edit.image.tobytes() == editor.runner.decode(state.x0).tobytes()


def test_a_deadline_of_unlike_edits_shows_each_as_it_is(
    timed: tuple[Editor, Clock, Watched],
) -> None:
    editor, clock, _ = timed
    requests = unlike(editor)
    start = clock.now
    edits = editor.edits(requests, deadline=25)
    assert 25 <= clock.now - start < 26
    assert {edit.finished for edit in edits} == {True, False}
    assert all(edit.latent.isfinite().all() for edit in edits)
    whole = editor.edits(requests)
    for edit, done in zip(edits, whole, strict=True):
        assert done.finished and edit.finished is torch.equal(edit.latent, done.latent)


def test_time_enough_changes_nothing(editor: Editor) -> None:
    source = editor.generate("a red house", 1, N)
    edit, slow = (editor.edit(source, "a boat", deadline=seconds) for seconds in (None, 1e6))
    assert slow.finished and torch.equal(edit.latent, slow.latent) and edit.cost == slow.cost


def test_a_deadline_on_the_real_clock(editor: Editor) -> None:
    unet: Any = Watched(editor.models.unet, lambda: time.sleep(0.05))
    slow = Editor(replace(editor.models, unet=unet), editor.device)
    source = editor.generate("a red house", 1, 50)
    start = time.monotonic()
    edit = slow.edit(source, "a boat", "c", t_max=50, t_m=0, deadline=0.3)
    took = time.monotonic() - start
    assert not edit.finished and 1 <= unet.calls <= 6
    assert 0.25 <= took <= 1.0  # all steps would be 2.5 s; the rest is for a busy machine


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "5", True])
def test_a_bad_deadline_is_refused_at_once(editor: Editor, seconds: Any) -> None:
    source = editor.generate("a red house", 1, 2)
    with pytest.raises(ValueError, match=r"^deadline must be (above 0 seconds|a finite number), "):
        editor.steps([Request(source, "a boat")], deadline=seconds)

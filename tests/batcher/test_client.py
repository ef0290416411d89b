"""Clients with unlike work on one batcher: each has its bits of working alone, in fewer calls."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mdp_lite.batcher.client import client_editor, make_batcher
from mdp_lite.editor import Editor
from mdp_lite.names import VARIANTS, NotFinite, Stopped
from mdp_lite.pipeline.inversion_methods import METHODS
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.result import Edit, Source
from support.batchers import WAIT, running, together
from support.inverting import picture

Job = Callable[[Editor], Any]
PICTURE = picture()
BATCHED = tuple(name for name in METHODS if name != "null-text")


@pytest.fixture(scope="module")
def editor(any_editor: Editor) -> Editor:
    """All of this file is for each family of models."""
    return any_editor


@pytest.fixture(scope="module")
def source(editor: Editor) -> Source:
    return editor.generate("a red house", 1, 5)


def jobs(source: Source) -> list[Job]:
    """Sources of every kind and size, edits of every variant, a mask to find, and a sweep."""
    work: list[Job] = [
        lambda one: one.generate("a red house", 7, 6).path.x,
        lambda one: one.generate("a boat", 8, 4, width=40, height=24).path.x,
    ]
    for name in BATCHED:
        work.append(lambda one, how=name: one.invert(PICTURE, "a house", how, 4, 2.0).path.x)
    for name in VARIANTS:
        work.append(lambda one, v=name: one.edit(source, "a blue boat", v, 4, 2).latent)
    work.append(lambda one: one.edit(source, "a boat", mask="auto").latent)
    work.append(lambda one: one.edit(source, "a blue boat", guidance_every=2).latent)
    work.append(lambda one: one.generate("a boat", 9, 4, record_direction=True).path.direction)
    windows = [(4, 2), (4, 3), (5, 2)]
    work.append(lambda one: cells(one.sweep(source, "a boat", windows=windows, max_rows=4).edits))
    return work


def cells(edits: tuple[Edit, ...]) -> Tensor:
    return torch.cat([one.latent for one in edits])


@pytest.mark.parametrize(
    "max_rows", [0, 16, *(pytest.param(n, marks=pytest.mark.slow) for n in (6, 64))]
)
def test_together_as_alone_to_the_bit(editor: Editor, source: Source, max_rows: int) -> None:
    work = jobs(source)
    alone = [job(editor) for job in work]
    for x, one in zip(together(editor, work, max_rows), alone, strict=True):
        assert torch.equal(x, one)


def test_pictures_too(editor: Editor, source: Source) -> None:
    prompts = ["a red boat", "a house at night", "a blue boat on the grass", ""]
    work = [lambda one, p=p: one.edit(source, p).picture.tobytes() for p in prompts]
    assert together(editor, work, 16) == [job(editor) for job in work]


def test_clients_together_take_fewer_calls(editor: Editor, source: Source) -> None:
    work = [lambda one, s=seed: one.generate("a boat", s, 5).path.x for seed in range(8)]
    batcher = make_batcher(editor, 16)

    def one(job: Job) -> Tensor:
        with batcher.client() as client:
            return job(client_editor(editor, batcher, client))

    with running(batcher), ThreadPoolExecutor(8) as pool:
        list(pool.map(one, work))
    assert batcher.rows == 8 * 5 * 2 and batcher.calls < 20  # alone: 40


def test_a_poisoned_prompt_fails_alone(editor: Editor, source: Source) -> None:
    """Of three edits one has a condition that is not finite."""
    bad = replace(source, path=source.path._replace(c=source.path.c * float("nan")))

    def poisoned(one: Editor) -> str:
        try:
            one.edit(bad, "a boat", "c", 5, 5, "linear")
        except NotFinite:
            return "not finite"
        return "finite"

    good: Job = lambda one: one.edit(source, "a boat").latent  # noqa: E731
    first, result, second = together(editor, [good, poisoned, good], 16)
    assert result == "not finite"
    assert torch.equal(first, good(editor)) and torch.equal(second, first)


def test_a_stopped_edit_ends_and_holds_nothing(editor: Editor, source: Source) -> None:
    batcher = make_batcher(editor, 16)

    def one(_: int) -> tuple[str, int]:
        with batcher.client() as client:
            steps = client_editor(editor, batcher, client).steps([Request(source, "a boat")])
            next(steps)
            before = client.calls
            batcher.stop(client)
            with pytest.raises(Stopped):
                list(steps)
            return "stopped", client.calls - before

    with running(batcher), ThreadPoolExecutor(4) as pool:
        ends = [end.result(WAIT) for end in [pool.submit(one, i) for i in range(4)]]
    assert ends == [("stopped", 0)] * 4 and batcher.clients == 0 and batcher._waiting == []


def test_null_text_is_refused(editor: Editor) -> None:
    ask: Job = lambda one: one.invert(PICTURE, "a house", "null-text", 4, 2.0)  # noqa: E731
    with pytest.raises(ValueError, match="null-text inversion can't share a batcher"):
        together(editor, [ask], 4)

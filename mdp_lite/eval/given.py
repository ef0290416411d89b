"""What methods are given to edit: cases of one kind, their pictures, and source paths of each."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.eval.cases import Case
from mdp_lite.eval.edit_scores import unlike
from mdp_lite.eval.reader import Reader
from mdp_lite.eval.score import conditions, decode, drawn, encode, noise, sample
from mdp_lite.method.sample import Conditions, Path
from mdp_lite.method.schedule import Grid
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD, METHODS
from mdp_lite.pipeline.sources import FINDERS, Found, Job

CASES = ("synthetic", "real")
REAL = (
    DEFAULT_METHOD,
    "replay",
    "null-text",
)  # how drawn pictures are inverted; generated ones: DEFAULT_METHOD
CHUNK = 32  # edits made at once

Backward = float  # UNet rows that a row backward counts


class Track(NamedTuple):
    """A source path of every case, and what one took in UNet rows.

    own: its noise is what the model predicts along it, under the guidance of the edits.
    """

    path: Path
    rows: float
    own: bool


class Said(NamedTuple):
    """An edit in words, and the seed of its noise where one is needed."""

    source: str
    target: str
    seed: int


class Given(NamedTuple):
    """b edits: their words and targets, pictures before (b, 3, y, x), and tracks by name.

    "own" is the track of a generated picture, others are inversions. cases are those of drawn
    edits; answers: the pictures are drawn, so that the true answers can be.
    """

    editor: Editor
    grid: Grid
    said: list[Said]
    before: Tensor
    to: Conditions
    tracks: dict[str, Track]
    cases: list[Case]
    answers: bool


class Making(NamedTuple):
    """How edits are given: the model, steps, the tracks needed, and what a row backward counts."""

    editor: Editor
    grid: Grid
    tracks: frozenset[str]
    share: Backward


def batches(
    how: Making, reader: Reader, case: str, candidates: Iterable[Case], count: int
) -> Iterator[Given]:
    """The first edits of a case ("synthetic" or "real"), at most CHUNK at a time."""
    left = iter(candidates)
    if case == "synthetic":
        yield from synthetic(how, reader, left, count)
        return
    some = islice(left, count)
    while cases := list(islice(some, CHUNK)):
        yield real(how, cases)


def real(how: Making, cases: list[Case]) -> Given:
    """Drawn pictures, inverted under their prompts."""
    before = drawn(case.before for case in cases)
    return inverting(how, [_said(case) for case in cases], before)._replace(
        cases=cases, answers=True
    )


def inverting(how: Making, said: list[Said], before: Tensor) -> Given:
    """Pictures (b, 3, y, x) that are there, inverted under what is said of them."""
    editor, x = how.editor, encode(how.editor, before)
    texts = [one.source for one in said]
    tracks = {name: inverted(how, x, texts, name) for name in REAL if name in how.tracks}
    to = conditions(editor, (one.target for one in said), editor.runner.guidance_scale(None))
    return Given(editor, how.grid, said, before, to, tracks, [], False)


def _said(case: Case) -> Said:
    return Said(case.source, case.target, case.seed)


def synthetic(
    how: Making, reader: Reader, candidates: Iterator[Case], left: int
) -> Iterator[Given]:
    """Pictures generated from their prompts; what shows the answer already is passed over.

    A prompt names little, so that where a sun is to be added the picture may well have one.
    """
    editor, g = how.editor, how.editor.runner.guidance_scale(None)
    while left and (some := list(islice(candidates, CHUNK))):
        under = conditions(editor, (case.source for case in some), g)
        path = sample(editor, how.grid, noise(editor, some), under)
        pictures = decode(editor, path.x[-1])
        new = [k for k, fresh in enumerate(unlike(reader, some, pictures)) if fresh][:left]
        left -= len(new)
        if new:
            cases, own = [some[k] for k in new], picked(path, new)
            tracks = {"own": Track(own, float(under.rows * len(how.grid.t)), True)}
            if DEFAULT_METHOD in how.tracks:
                texts = [case.source for case in cases]
                tracks[DEFAULT_METHOD] = inverted(how, own.x[-1], texts, DEFAULT_METHOD)
            to = conditions(editor, (case.target for case in cases), g)
            said = [_said(case) for case in cases]
            yield Given(editor, how.grid, said, pictures[new], to, tracks, cases, False)


def picked(path: Path, places: Sequence[int]) -> Path:
    """Some of the pictures of a path."""
    at = list(places)
    return Path(path.x[:, at], path.eps[:, at], path.c[at])


def inverted(how: Making, x: Tensor, texts: Sequence[str], name: str) -> Track:
    """Latents x (b, 4, y, x) inverted by a method at its own guidance, or at the edits'."""
    codec, method, grid = how.editor.runner, METHODS[name], how.grid
    g = codec.guidance(method.guidance)
    to = conditions(how.editor, texts, g)
    job = Job(codec, grid, x, to, resolve_inversion(name, len(grid.t)), None, None)
    with torch.no_grad():
        found = FINDERS[name](job)
    own = method.sampled and g == codec.guidance(None)
    return Track(found.path, rows_alone(found, grid, how.share), own)


def rows_alone(found: Found, grid: Grid, share: Backward) -> float:
    """What a picture takes by itself: those tuned together wait until the last one is done."""
    if not found.tuned:
        return float(found.cost.unet_rows)
    inner = torch.stack([one.iterations for one in found.tuned]).double().mean(1)
    moves = grid.a != grid.b
    forward = len(grid.t) + 2 * int(moves.sum())  # 2: with c, and with the null row that was found
    return forward + (1 + share) * float(inner[moves.to(inner.device)].sum())

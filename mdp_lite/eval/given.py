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
from mdp_lite.inversion import METHOD, METHODS, settled
from mdp_lite.paths import FINDERS, Found, Job
from mdp_lite.sample import Conditions, Path
from mdp_lite.schedule import Grid

CASES = ("synthetic", "real")
REAL = (METHOD, "replay", "null-text")  # how drawn pictures are inverted; generated ones: METHOD
CHUNK = 32  # edits made at once

Backward = float  # UNet rows that a row backward counts


class Track(NamedTuple):
    """A source path of every case, and what one took in UNet rows.

    own: its noise is what the model predicts along it, under the guidance of the edits.
    """

    path: Path
    rows: float
    own: bool


class Given(NamedTuple):
    """b cases: pictures before (b, 3, 64, 64), targets, and tracks: "own", or by inversion."""

    editor: Editor
    grid: Grid
    cases: list[Case]
    before: Tensor
    to: Conditions
    tracks: dict[str, Track]
    answers: bool  # whether the pictures are drawn, so that true answers can be


class Making(NamedTuple):
    """How edits are given: the model, its reader, steps, tracks that are needed, backward rows."""

    editor: Editor
    reader: Reader
    grid: Grid
    tracks: frozenset[str]
    share: Backward


def batches(how: Making, case: str, candidates: Iterable[Case], count: int) -> Iterator[Given]:
    """The first edits of a case ("synthetic" or "real"), at most CHUNK at a time."""
    left = iter(candidates)
    if case == "synthetic":
        yield from synthetic(how, left, count)
        return
    some = islice(left, count)
    while cases := list(islice(some, CHUNK)):
        yield real(how, cases)


def real(how: Making, cases: list[Case]) -> Given:
    """Drawn pictures, inverted under their prompts."""
    editor, before = how.editor, drawn(case.before for case in cases)
    x, texts = encode(editor, before), [case.source for case in cases]
    tracks = {name: inverted(how, x, texts, name) for name in REAL if name in how.tracks}
    to = conditions(editor, (case.target for case in cases), editor.codec.guidance(None))
    return Given(editor, how.grid, cases, before, to, tracks, True)


def synthetic(how: Making, candidates: Iterator[Case], left: int) -> Iterator[Given]:
    """Pictures generated from their prompts; what shows the answer already is passed over.

    A prompt names little, so that where a sun is to be added the picture may well have one.
    """
    editor, g = how.editor, how.editor.codec.guidance(None)
    while left and (some := list(islice(candidates, CHUNK))):
        under = conditions(editor, (case.source for case in some), g)
        path = sample(editor, how.grid, noise(editor, some), under)
        pictures = decode(editor, path.x[-1])
        new = [k for k, fresh in enumerate(unlike(how.reader, some, pictures)) if fresh][:left]
        left -= len(new)
        if new:
            cases, own = [some[k] for k in new], picked(path, new)
            tracks = {"own": Track(own, float(under.rows * len(how.grid.t)), True)}
            if METHOD in how.tracks:
                texts = [case.source for case in cases]
                tracks[METHOD] = inverted(how, own.x[-1], texts, METHOD)
            to = conditions(editor, (case.target for case in cases), g)
            yield Given(editor, how.grid, cases, pictures[new], to, tracks, False)


def picked(path: Path, places: Sequence[int]) -> Path:
    """Some of the pictures of a path."""
    at = list(places)
    return Path(path.x[:, at], path.eps[:, at], path.c[at])


def inverted(how: Making, x: Tensor, texts: Sequence[str], name: str) -> Track:
    """Latents x (b, 4, y, x) inverted by a method at its own guidance, or at the edits'."""
    codec, method, grid = how.editor.codec, METHODS[name], how.grid
    g = codec.guidance(method.guidance)
    to = conditions(how.editor, texts, g)
    job = Job(codec, grid, x, to, settled(name, len(grid.t)), None, None)
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

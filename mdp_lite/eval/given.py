"""What methods are given to edit: cases of one kind, their pictures, and source paths of each."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.eval.cases import Case
from mdp_lite.eval.edit_scores import unlike
from mdp_lite.eval.edits import edits
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
    """A source path of every case, what it took in UNet rows, and whether its noise is the model's

    own under the guidance of the edits.
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


class Asking(NamedTuple):
    """Which edits are wanted: of a case ("synthetic" or "real"), a kind and a split, how many."""

    case: str
    kind: str
    split: str
    count: int


def batches(
    editor: Editor, reader: Reader, wanted: Asking, steps: int | None, share: Backward
) -> Iterator[Given]:
    """The edits that are wanted, at most CHUNK at a time."""
    grid, g = editor.codec.grid(steps), editor.codec.guidance(None)
    if wanted.case == "real":
        left = islice(edits(wanted.kind, wanted.split), wanted.count)
        while some := list(islice(left, CHUNK)):
            yield real(editor, grid, some, g, share)
    else:
        yield from synthetic(editor, reader, grid, wanted, g, share)


def real(editor: Editor, grid: Grid, cases: list[Case], g: float, share: Backward) -> Given:
    """Drawn pictures, inverted under their prompts."""
    before = drawn(case.before for case in cases)
    x, texts = encode(editor, before), [case.source for case in cases]
    tracks = {name: inverted(editor, grid, x, texts, name, g, share) for name in REAL}
    to = conditions(editor, (case.target for case in cases), g)
    return Given(editor, grid, cases, before, to, tracks, True)


def synthetic(
    editor: Editor, reader: Reader, grid: Grid, wanted: Asking, g: float, share: Backward
) -> Iterator[Given]:
    """Pictures generated from their prompts; what shows the answer already is passed over.

    A prompt names little, so that where a sun is to be added the picture may well have one.
    """
    left, candidates = wanted.count, edits(wanted.kind, wanted.split)
    while left:
        some = list(islice(candidates, CHUNK))
        under = conditions(editor, (case.source for case in some), g)
        path = sample(editor, grid, noise(editor, some), under)
        pictures = decode(editor, path.x[-1])
        new = [k for k, fresh in enumerate(unlike(reader, some, pictures)) if fresh][:left]
        if new:
            cases, own = [some[k] for k in new], picked(path, new)
            texts, x = [case.source for case in cases], own.x[-1]
            tracks = {"own": Track(own, float(under.rows * len(grid.t)), True)}
            tracks[METHOD] = inverted(editor, grid, x, texts, METHOD, g, share)
            to = conditions(editor, (case.target for case in cases), g)
            yield Given(editor, grid, cases, pictures[new], to, tracks, False)
        left -= len(new)


def picked(path: Path, places: Sequence[int]) -> Path:
    """Some of the pictures of a path."""
    at = list(places)
    return Path(path.x[:, at], path.eps[:, at], path.c[at])


def inverted(
    editor: Editor, grid: Grid, x: Tensor, texts: Sequence[str], name: str, g: float,
    share: Backward,
) -> Track:  # fmt: skip
    """Latents x (b, 4, y, x) inverted by a method at its own guidance, or at the edits'."""
    method = METHODS[name]
    own = g if method.guidance is None else method.guidance
    to = conditions(editor, texts, own)
    job = Job(editor.codec, grid, x, to, settled(name, len(grid.t)), None, None)
    with torch.no_grad():
        found = FINDERS[name](job)
    return Track(found.path, rows_alone(found, grid, share), method.sampled and own == g)


def rows_alone(found: Found, grid: Grid, share: Backward) -> float:
    """What a picture takes by itself: those tuned together wait until the last one is done."""
    if not found.tuned:
        return float(found.cost.unet_rows)
    inner = torch.stack([one.iterations for one in found.tuned]).double().mean(1)
    moves = grid.a != grid.b
    forward = len(grid.t) + 2 * int(moves.sum())  # 2: with c, and with the null row that was found
    return forward + (1 + share) * float(inner[moves.to(inner.device)].sum())

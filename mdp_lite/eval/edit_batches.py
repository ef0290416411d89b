"""Batches of edits for all methods: cases of one kind, their pictures, and their source paths."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mdp_lite.editor import Editor
from mdp_lite.eval.cases import EditCase
from mdp_lite.eval.edit_scores import lack_change
from mdp_lite.eval.score import build_guidance, decode, encode, make_noise, render, sample_path
from mdp_lite.eval.worlds import POSTCARDS, World
from mdp_lite.method.mdp import Guidance
from mdp_lite.method.sample import Trajectory
from mdp_lite.method.schedule import Grid
from mdp_lite.names import BadInput
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD, METHODS, resolve_inversion
from mdp_lite.pipeline.sources import INVERSIONS, InversionJob, InversionResult, SourceMonitor

CASES = ("synthetic", "real")  # sources that the model generated, or that it inverted
GENERATED = "generated"  # the source of a generated picture, beside that by DEFAULT_METHOD
REAL_SOURCES = (DEFAULT_METHOD, "replay", "null-text")  # the inversions of a real picture
CHUNK = 32  # edits made at once


class BatchSource(NamedTuple):
    """A source path of every edit of a batch, and the UNet rows that one of them took.

    own_noise: its noise is what the model predicts along it, under the guidance of the edits.
    """

    path: Trajectory
    rows: float
    own_noise: bool


class EditPrompts(NamedTuple):
    """The two prompts of an edit, and the seed of its noise if one is needed."""

    source: str
    target: str
    seed: int


class EditBatch(NamedTuple):
    """b edits: their prompts, pictures (b, 3, y, x) to edit, guidance, and sources by name.

    A source is GENERATED, or it has the name of an inversion. cases are those of synthetic edits,
    else []; answers: the true answers are known, because the pictures were rendered from scenes.
    """

    editor: Editor
    grid: Grid
    prompts: list[EditPrompts]
    pictures: Tensor
    guidance: Guidance
    sources: dict[str, BatchSource]
    cases: list[EditCase]
    answers: bool
    world: World


class BatchSettings(NamedTuple):
    """The model, its steps, the names of the sources to make, and the cost of a backward row.

    backward_share is that cost in forward rows. guidance is that of the edits, None: the model's.
    world is that of the scenes.
    """

    editor: Editor
    grid: Grid
    sources: frozenset[str]
    backward_share: float
    guidance: float | None = None
    world: World = POSTCARDS

    @property
    def g(self) -> float:
        """The guidance scale of the edits."""
        return self.editor.runner.guidance_scale(self.guidance)


def check_plain(editor: Editor) -> Editor:
    """The editor, unless its UNet reads a mask, which the compared methods have no place for."""
    if editor.models.inpaints:
        raise BadInput(
            f"bench compares methods that repaint whole pictures, got {editor.models.name}, an "
            "inpainting model: want one without a mask"
        )
    return editor


def make_batches(
    settings: BatchSettings, reader: nn.Module, case: str, candidates: Iterable[EditCase],
    count: int,
) -> Iterator[EditBatch]:  # fmt: skip
    """The first edits of a case ("synthetic" or "real"), at most CHUNK at a time."""
    left = iter(candidates)
    if case == "synthetic":
        yield from generate_batches(settings, reader, left, count)
        return
    some = islice(left, count)
    while cases := list(islice(some, CHUNK)):
        yield render_batch(settings, cases)


def render_batch(settings: BatchSettings, cases: list[EditCase]) -> EditBatch:
    """Pictures of the source scenes, inverted under their prompts."""
    pictures = render((case.source_scene for case in cases), settings.world.draw)
    batch = invert_batch(settings, [_prompts(case) for case in cases], pictures)
    return batch._replace(cases=cases, answers=True)


def invert_batch(
    settings: BatchSettings, prompts: list[EditPrompts], pictures: Tensor
) -> EditBatch:
    """Any pictures (b, 3, y, x), inverted under their source prompts."""
    editor, x = settings.editor, encode(settings.editor, pictures)
    texts = [one.source for one in prompts]
    names = [name for name in REAL_SOURCES if name in settings.sources]
    sources = {name: invert_latents(settings, x, texts, name) for name in names}
    guidance = build_guidance(editor, (one.target for one in prompts), settings.g)
    return EditBatch(
        editor, settings.grid, prompts, pictures, guidance, sources, [], False, settings.world
    )


def _prompts(case: EditCase) -> EditPrompts:
    return EditPrompts(case.source, case.target, case.seed)


def generate_batches(
    settings: BatchSettings, reader: nn.Module, candidates: Iterator[EditCase], left: int
) -> Iterator[EditBatch]:
    """Pictures that the model generates from the source prompts, until `left` edits are made.

    A prompt names little, so a generated picture may already show a sun that is to be added. Such
    pictures are skipped.
    """
    editor, g = settings.editor, settings.g
    while left and (some := list(islice(candidates, CHUNK))):
        guidance = build_guidance(editor, (case.source for case in some), g)
        path = sample_path(editor, settings.grid, make_noise(editor, some), guidance)
        pictures = decode(editor, path.x[-1])
        lacking = lack_change(reader, some, pictures, settings.world)
        new = [k for k, lacks in enumerate(lacking) if lacks][:left]
        left -= len(new)
        if new:
            rows = float(len(guidance.reads) * len(settings.grid.t))
            source = BatchSource(select_pictures(path, new), rows, True)
            yield _build_batch(settings, [some[k] for k in new], pictures[new], source)


def _build_batch(
    settings: BatchSettings, cases: list[EditCase], pictures: Tensor, source: BatchSource
) -> EditBatch:
    """A batch of generated pictures, which are also inverted if a method needs that."""
    editor, g = settings.editor, settings.g
    sources = {GENERATED: source}
    if DEFAULT_METHOD in settings.sources:
        texts = [case.source for case in cases]
        x = source.path.x[-1]
        sources[DEFAULT_METHOD] = invert_latents(settings, x, texts, DEFAULT_METHOD)
    guidance = build_guidance(editor, (case.target for case in cases), g)
    prompts = [_prompts(case) for case in cases]
    return EditBatch(
        editor, settings.grid, prompts, pictures, guidance, sources, cases, False, settings.world
    )


def select_pictures(path: Trajectory, indices: Sequence[int]) -> Trajectory:
    """The paths of some of the pictures."""
    some, direction = list(indices), path.direction
    direction = None if direction is None else direction[:, some]
    return Trajectory(path.x[:, some], path.eps[:, some], path.c[some], direction=direction)


def invert_latents(
    settings: BatchSettings, x: Tensor, texts: Sequence[str], name: str
) -> BatchSource:
    """Latents x (b, 4, y, x) inverted by a method at its default guidance, or at the edits'."""
    runner, method, grid = settings.editor.runner, METHODS[name], settings.grid
    g = settings.g if method.guidance is None else runner.guidance_scale(method.guidance)
    guidance = build_guidance(settings.editor, texts, g)
    job = InversionJob(
        runner, grid, x, guidance, resolve_inversion(name, len(grid.t)), SourceMonitor(), True
    )
    with torch.no_grad():
        result = INVERSIONS[name](job)
    own_noise = method.own_noise and g == settings.g
    return BatchSource(result.path, rows_of_one(result, grid, settings.backward_share), own_noise)


def rows_of_one(result: InversionResult, grid: Grid, backward_share: float) -> float:
    """The UNet rows that one picture takes by itself.

    Pictures that are tuned together wait until the last one is done, so the cost of the result is
    higher than that.
    """
    if not result.tuned:
        return float(result.cost.unet_rows)
    inner = torch.stack([one.iterations for one in result.tuned]).cpu().double().mean(1)
    moves = grid.a != grid.b
    forward = len(grid.t) + 2 * int(moves.sum())  # 2: with c, and with the null row that was found
    return forward + (1 + backward_share) * float(inner[moves.to(inner.device)].sum())

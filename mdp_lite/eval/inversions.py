"""Inversions side by side, on drawn pictures: what each costs, rebuilds, and lets an edit do."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.eval.cases import KINDS, Case, edit, scenes
from mdp_lite.eval.metrics import psnr
from mdp_lite.eval.reader import SIZE, Reader
from mdp_lite.eval.score import Figures, distances, drawn, regions, verdicts
from mdp_lite.eval.world import draw
from mdp_lite.method.plan import evaluated, plan
from mdp_lite.method.sample import zero_weights
from mdp_lite.method.schedule import paper_window
from mdp_lite.pictures.images import to_tensor
from mdp_lite.pipeline.inversion_methods import METHODS, Inversion
from mdp_lite.pipeline.request import Request, described
from mdp_lite.pipeline.result import Cost, Source

GUIDANCES = (1.0, 7.5)  # none, and that of the papers; beside these each method has its own
VARIANTS = ("epsilon", "x")  # of the edits that are scored, at the authors' window
CHUNK = 32  # pictures inverted at once
MOST = 64  # UNet rows of an edit's call
PROXIMAL = 0.7  # the quantile in the paper of proximal guidance

Sections = dict[str, Figures]  # "guidance 7.5" or "epsilon" -> measure -> one number a picture


class Row(NamedTuple):
    """A way to invert, and the proximal guidance of the edits that follow."""

    how: Inversion
    proximal: float | None = None


def rows(editor: Editor, steps: int | None) -> dict[str, Row]:
    """All that are compared, by name; planned: null rows for the steps that an edit evaluates."""
    grid = editor.runner.grid(steps)
    window = paper_window(len(grid.t))
    weights = described(len(grid.t), editor.models.defaults, "epsilon", *window)
    planned = evaluated(plan(weights, grid))
    return {
        "replay": Row(Inversion("replay")),
        "ddim": Row(Inversion("ddim")),
        "fixed-point": Row(Inversion("fixed-point")),
        "negative-prompt": Row(Inversion("negative-prompt")),
        "negative-prompt-proximal": Row(Inversion("negative-prompt"), PROXIMAL),
        "null-text": Row(Inversion("null-text")),
        "null-text-planned": Row(Inversion("null-text", rows=planned)),
        "direct": Row(Inversion("direct")),
        "edit-friendly": Row(Inversion("edit-friendly")),
    }


def own_guidance(editor: Editor, row: Row) -> float:
    """What it inverts with where nothing else is asked for."""
    return editor.runner.guidance_scale(METHODS[row.how.method].guidance)


def section(g: float) -> str:
    """Where the figures at a guidance are."""
    return f"guidance {g:g}"


def drawn_cases(count: int) -> list[Case]:
    """Edits from short prompts, the kinds in turn, and no picture twice."""
    left = scenes()

    def following(kind: str) -> Case:
        cases = (edit(kind, seed, scene, short=True) for seed, scene in left)
        return next(case for case in cases if case)

    return list(map(following, itertools.islice(itertools.cycle(KINDS), count)))


def measured(
    editor: Editor, reader: Reader, row: Row, cases: Sequence[Case], steps: int | None,
    on_step: Callable[[int, int], None],
) -> Sections:  # fmt: skip
    """Every figure of every case."""
    parts = []
    for start in range(0, len(cases), CHUNK):
        some = list(cases[start : start + CHUNK])
        parts.append(_measured(editor, reader, row, some, steps))
        on_step(start + len(some), len(cases))
    return {
        part: {name: [v for one in parts for v in one[part][name]] for name in figures}
        for part, figures in parts[0].items()
    }


def _measured(
    editor: Editor, reader: Reader, row: Row, cases: list[Case], steps: int | None
) -> Sections:
    own = own_guidance(editor, row)
    by_guidance = {
        g: inverted(editor, row, cases, steps, g) for g in dict.fromkeys((*GUIDANCES, own))
    }
    found = {section(g): rebuilt(editor, some) for g, some in by_guidance.items()}
    for variant in VARIANTS:
        found[variant] = edited(editor, reader, row, cases, by_guidance[own], variant)
    return {part: {k: rounded(v) for k, v in some.items()} for part, some in found.items()}


def inverted(
    editor: Editor, row: Row, cases: Sequence[Case], steps: int | None, g: float
) -> list[Source]:
    """The sources of the cases' pictures under their prompts."""
    pictures, prompts = [draw(case.before) for case in cases], [case.source for case in cases]
    return editor.inverts(pictures, prompts, row.how, steps, g, width=SIZE, height=SIZE)


def rebuilt(editor: Editor, sources: list[Source]) -> Figures:
    """How sources rebuild their pictures, and what they cost.

    picture, vae: PSNR in dB of what a path decodes to, to the picture as fitted and to the VAE's
    own round trip; latent: the largest distance of the path's end to the picture's latent; anew:
    that of where the model ends, sampling from the path's start under the source's conditions, in
    anew_rows of the UNet; anew_picture: its PSNR to the picture; forward, backward: the rows that
    inverting took.
    """
    pictures = [source.original for source in sources if source.original]
    latents = [editor.runner.encode(picture) for picture in pictures]
    shown = stacked([source.image for source in sources])
    asked = [
        Request(s, s.prompt, guidance_scale=s.guidance_scale, weights=zero_weights(len(s.grid.t)))
        for s in sources
    ]
    again = editor.edits(asked, MOST)
    costs = [cost_alone(source) for source in sources]
    true, trip = stacked(pictures), stacked([editor.runner.decode(z) for z in latents])
    return {
        "picture": psnr(shown, true).tolist(),
        "vae": psnr(shown, trip).tolist(),
        "latent": [largest(s.path.x[-1] - z) for s, z in zip(sources, latents, strict=True)],
        "anew": [largest(one.latent - z) for one, z in zip(again, latents, strict=True)],
        "anew_picture": psnr(stacked([one.image for one in again]), true).tolist(),
        "anew_rows": [float(one.cost.unet_rows) for one in again],
        "forward": [float(cost.unet_rows) for cost in costs],
        "backward": [float(cost.backward_rows) for cost in costs],
    }


def edited(
    editor: Editor, reader: Reader, row: Row, cases: list[Case], sources: list[Source], variant: str
) -> Figures:
    """What the reader makes of edits, their PSNR to the true answers, and their rows.

    right: the edited field reads as wanted, kept: all else as before; outside is NaN where the
    edit's field owns the whole picture.
    """
    asked = [
        Request(
            source, case.target, variant, *paper_window(len(source.grid.t)), proximal=row.proximal
        )  # fmt: skip
        for source, case in zip(sources, cases, strict=True)
    ]
    edits = editor.edits(asked, MOST)
    before, after = (
        drawn(part) for part in zip(*((c.before, c.after) for c in cases), strict=True)
    )
    found = stacked([one.image for one in edits])
    figures = verdicts(reader, cases, before, found) | distances(found, after, regions(cases))
    return figures | {"rows": [float(one.cost.unet_rows) for one in edits]}


def cost_alone(source: Source) -> Cost:
    """What inverting its picture takes by itself: several are tuned until the last is done."""
    if not source.tuning or source.how is None:
        return source.cost
    rows, moves = source.how.rows, (source.grid.a != source.grid.b).tolist()
    tuned = [i for i, moved in enumerate(moves) if moved and (rows is None or i in rows)]
    inner = sum(source.tuning[i].iterations for i in tuned)
    forward = len(moves) + 2 * len(tuned) + inner  # 2: with c, and with the null row that was found
    return Cost(forward, forward, inner)


def total(found: Sections) -> Cost:
    """All that measuring took, if every picture was alone."""
    every = [pair for figures in found.values() for pair in figures.items()]
    forward = sum(sum(v) for name, v in every if name in ("forward", "anew_rows", "rows"))
    backward = sum(sum(v) for name, v in every if name == "backward")
    return Cost(int(forward), int(forward), int(backward))


def stacked(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures of one size as (b, 3, y, x) in [-1, 1]."""
    return torch.cat([to_tensor(picture) for picture in pictures])


def largest(apart: Tensor) -> float:
    """The largest distance from 0."""
    return apart.abs().max().item()


def rounded(values: Sequence[float]) -> list[float]:
    """To six digits, so that figures are the same from a file."""
    return [v if math.isnan(v) else float(f"{v:.6g}") for v in values]

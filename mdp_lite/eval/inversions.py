"""Inversions side by side on synthetic pictures: their cost, reconstructions and edits."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.eval.cases import KINDS, EditCase, iterate_scenes, make_case
from mdp_lite.eval.metrics import psnr
from mdp_lite.eval.reader import SIZE, Reader
from mdp_lite.eval.score import Figures, field_regions, judge_cases, measure_distances, render
from mdp_lite.eval.world import draw
from mdp_lite.method.plan import call_steps, plan
from mdp_lite.method.schedule import paper_window, zero_weights
from mdp_lite.pictures.images import to_tensor
from mdp_lite.pipeline.inversion_methods import METHODS, Inversion
from mdp_lite.pipeline.request import Request, build_weights
from mdp_lite.pipeline.result import Cost, Source

GUIDANCES = (1.0, 7.5)  # none, and that of the papers; each method's default is measured too
VARIANTS = ("epsilon", "x")  # of the edits that are scored, at the authors' window
CHUNK = 32  # pictures inverted at once
MAX_ROWS = 64  # UNet rows of a call in edits
PROXIMAL = 0.7  # the quantile in the paper of proximal guidance

Sections = dict[str, Figures]  # "guidance 7.5" or "epsilon" -> measure -> one number a picture


class InversionSetup(NamedTuple):
    """A way to invert, and the proximal guidance of the edits that follow."""

    inversion: Inversion
    proximal: float | None = None


def build_setups(editor: Editor, steps: int | None) -> dict[str, InversionSetup]:
    """All setups to compare, by name.

    null-text-planned tunes only the steps at which an edit with the authors' window calls the UNet.
    """
    grid = editor.runner.grid(steps)
    window = paper_window(len(grid.t))
    weights = build_weights(len(grid.t), editor.models.defaults, "epsilon", *window)
    planned = Inversion("null-text", tuned_steps=call_steps(plan(weights, grid)))
    return {
        "replay": InversionSetup(Inversion("replay")),
        "ddim": InversionSetup(Inversion("ddim")),
        "fixed-point": InversionSetup(Inversion("fixed-point")),
        "negative-prompt": InversionSetup(Inversion("negative-prompt")),
        "negative-prompt-proximal": InversionSetup(Inversion("negative-prompt"), PROXIMAL),
        "null-text": InversionSetup(Inversion("null-text")),
        "null-text-planned": InversionSetup(planned),
        "direct": InversionSetup(Inversion("direct")),
        "edit-friendly": InversionSetup(Inversion("edit-friendly")),
    }


def default_guidance(editor: Editor, setup: InversionSetup) -> float:
    """The guidance scale that the method inverts with by default."""
    return editor.runner.guidance_scale(METHODS[setup.inversion.method].guidance)


def section_name(g: float) -> str:
    """The name of the section with the figures at a guidance."""
    return f"guidance {g:g}"


def make_mixed_cases(count: int) -> list[EditCase]:
    """Edits with short prompts; the kinds take turns, and no picture comes twice."""
    left = iterate_scenes()

    def next_case(kind: str) -> EditCase:
        cases = (make_case(kind, seed, scene, short=True) for seed, scene in left)
        return next(case for case in cases if case)

    return list(map(next_case, itertools.islice(itertools.cycle(KINDS), count)))


def measure_setup(
    editor: Editor, reader: Reader, setup: InversionSetup, cases: Sequence[EditCase],
    steps: int | None, on_step: Callable[[int, int], None],
) -> Sections:  # fmt: skip
    """Every figure of every case; on_step(done, total) is called after every chunk of cases."""
    parts = []
    for start in range(0, len(cases), CHUNK):
        some = list(cases[start : start + CHUNK])
        parts.append(_measure_chunk(editor, reader, setup, some, steps))
        on_step(start + len(some), len(cases))
    return join_sections(parts)


def join_sections(parts: Sequence[Sections]) -> Sections:
    """The figures of several parts of the cases, one after the other."""
    return {
        section: {name: [v for one in parts for v in one[section][name]] for name in figures}
        for section, figures in parts[0].items()
    }


def _measure_chunk(
    editor: Editor, reader: Reader, setup: InversionSetup, cases: list[EditCase], steps: int | None
) -> Sections:
    own = default_guidance(editor, setup)
    scales = dict.fromkeys((*GUIDANCES, own))
    by_guidance = {g: invert_cases(editor, setup, cases, steps, g) for g in scales}
    sections = {
        section_name(g): score_reconstruction(editor, some) for g, some in by_guidance.items()
    }
    for variant in VARIANTS:
        sections[variant] = score_edits(editor, reader, setup, cases, by_guidance[own], variant)
    return {
        section: {name: round_figures(values) for name, values in figures.items()}
        for section, figures in sections.items()
    }


def invert_cases(
    editor: Editor, setup: InversionSetup, cases: Sequence[EditCase], steps: int | None, g: float
) -> list[Source]:
    """The sources of the cases' pictures under their prompts."""
    pictures = [draw(case.source_scene) for case in cases]
    prompts = [case.source for case in cases]
    return editor.inverts(pictures, prompts, setup.inversion, steps, g, width=SIZE, height=SIZE)


def score_reconstruction(editor: Editor, sources: list[Source]) -> Figures:
    """How well sources reconstruct their pictures, and the UNet rows of their inversions.

    picture, vae: PSNR in dB of the source's image to the picture at the model's size, and to the
    picture after a round trip through the VAE. latent: the largest distance of the path's end to
    the picture's latent. anew: the same for sampling again from the path's start under the source's
    conditions, which takes anew_rows; anew_picture: its PSNR to the picture. forward, backward: the
    rows of the inversion.
    """
    pictures = [source.original for source in sources if source.original]
    latents = [editor.runner.encode(picture) for picture in pictures]
    requests = [
        Request(s, s.prompt, guidance_scale=s.guidance_scale, weights=zero_weights(len(s.grid.t)))
        for s in sources
    ]
    again = editor.edits(requests, MAX_ROWS)
    costs = [cost_of_one(source) for source in sources]
    images = stack_pictures([source.image for source in sources])
    true = stack_pictures(pictures)
    trip = stack_pictures([editor.runner.decode(z) for z in latents])
    return {
        "picture": psnr(images, true).tolist(),
        "vae": psnr(images, trip).tolist(),
        "latent": [_largest(s.path.x[-1] - z) for s, z in zip(sources, latents, strict=True)],
        "anew": [_largest(one.latent - z) for one, z in zip(again, latents, strict=True)],
        "anew_picture": psnr(stack_pictures([one.image for one in again]), true).tolist(),
        "anew_rows": [float(one.cost.unet_rows) for one in again],
        "forward": [float(cost.unet_rows) for cost in costs],
        "backward": [float(cost.backward_rows) for cost in costs],
    }


def score_edits(
    editor: Editor, reader: Reader, setup: InversionSetup, cases: list[EditCase],
    sources: list[Source], variant: str,
) -> Figures:  # fmt: skip
    """The reader's verdicts on edits, their PSNR to the true answers, and their UNet rows.

    right: the edited field reads as wanted. kept: all others read as before. outside is NaN if the
    field may change the whole picture.
    """
    window = paper_window(len(sources[0].grid.t))
    requests = [
        Request(source, case.target, variant, *window, proximal=setup.proximal)
        for source, case in zip(sources, cases, strict=True)
    ]
    edits = editor.edits(requests, MAX_ROWS)
    source = render(case.source_scene for case in cases)
    answers = render(case.target_scene for case in cases)
    pictures = stack_pictures([one.image for one in edits])
    figures = judge_cases(reader, cases, source, pictures)
    figures |= measure_distances(pictures, answers, field_regions(cases))
    return figures | {"rows": [float(one.cost.unet_rows) for one in edits]}


def cost_of_one(source: Source) -> Cost:
    """The cost of inverting one picture by itself.

    Pictures that are tuned together wait until the last one is done, so source.cost is higher.
    """
    how = source.inversion
    if not source.tuning or how is None:
        return source.cost
    moves = (source.grid.a != source.grid.b).tolist()
    chosen = range(len(moves)) if how.tuned_steps is None else how.tuned_steps
    tuned = [i for i in chosen if moves[i]]
    inner = sum(source.tuning[i].iterations for i in tuned)
    forward = len(moves) + 2 * len(tuned) + inner  # 2: with c, and with the null row that was found
    return Cost(forward, forward, inner)


def add_rows(sections: Sections) -> Cost:
    """The UNet rows of all that was measured, if every picture was computed by itself."""
    every = [pair for figures in sections.values() for pair in figures.items()]
    forward = sum(sum(v) for name, v in every if name in ("forward", "anew_rows", "rows"))
    backward = sum(sum(v) for name, v in every if name == "backward")
    return Cost(int(forward), int(forward), int(backward))


def stack_pictures(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures of one size as (b, 3, y, x) in [-1, 1]."""
    return torch.cat([to_tensor(picture) for picture in pictures])


def _largest(difference: Tensor) -> float:
    """The largest distance from 0."""
    return difference.abs().max().item()


def round_figures(values: Sequence[float]) -> list[float]:
    """Round to six digits, so that figures that are read from a file are equal."""
    return [v if math.isnan(v) else float(f"{v:.6g}") for v in values]

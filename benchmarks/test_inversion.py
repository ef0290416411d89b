"""The time of inverting and editing a synthetic picture, against the published flow.

The bundled model on the CPU, fp32, 50 steps, both libraries with as many threads as torch takes.
Every round is another picture; its sides run in turn, the order flips, and the ratio is that of the
medians. What is timed is what is checked: equal iterations, null rows and edited latents.
"""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import published
from mdp_lite import Editor
from mdp_lite.eval.cases import EditCase, make_cases
from mdp_lite.eval.metrics import psnr, quantize
from mdp_lite.eval.reader import load_reader
from mdp_lite.eval.score import judge_cases, render
from mdp_lite.eval.world import draw
from mdp_lite.method.schedule import paper_window, window
from mdp_lite.pictures.images import to_tensor
from mdp_lite_weights import locate

STEPS, GUIDANCE, KINDS = 50, 7.5, ("color", "object", "ground")  # one picture of each kind
NULLS, LATENT = 1e-4, 1e-3  # bounds: relative to the norm, and to the largest value
EXACT, REPLAY = 2.5, 15.0  # how many times faster
PUBLISHED = ("published", "published, not checkpointed")


class FlowResult(NamedTuple):
    """A reconstruction and an edit (1, 3, y, x), the edit's latent, UNet rows, and null rows."""

    reconstruction: Tensor
    edit: Tensor
    latent: Tensor
    forward: int
    backward: int
    nulls: Tensor | None
    iterations: list[int]


class TimedResult(NamedTuple):
    """The result for one picture, and the seconds that it took."""

    seconds: float
    result: FlowResult


Side = Callable[[EditCase], FlowResult]


def ours(method: str, guidance: float | None) -> Side:
    """Invert by a method and edit with mdp_lite."""
    editor = Editor.from_pretrained("tiny", device="cpu", dtype="float32")

    def make(case: EditCase) -> FlowResult:
        source = editor.invert(draw(case.source_scene), case.source, method, STEPS, guidance)
        window = paper_window(STEPS)
        edit = editor.edit(source, case.target, "epsilon", *window, guidance_scale=GUIDANCE)
        forward, backward = source.cost.unet_rows + edit.cost.unet_rows, source.cost.backward_rows
        pictures = to_tensor(source.image), to_tensor(edit.image)
        counts = [one.iterations for one in source.tuning]
        return FlowResult(*pictures, edit.latent, forward, backward, source.path.null, counts)

    return make


def theirs(checkpointing: bool) -> Side:
    """The published flow."""
    flow = published.load(locate("tiny"), STEPS, GUIDANCE, checkpointing)
    weights = window(STEPS, *paper_window(STEPS)).float()

    def make(case: EditCase) -> FlowResult:
        flow.unet.forward = flow.unet.backward = 0
        picture = to_tensor(draw(case.source_scene))
        found = published.run(flow, picture, case.source, case.target, weights)
        pictures = quantize(found.reconstruction), quantize(found.edit)
        rows = flow.unet.forward, flow.unet.backward
        return FlowResult(*pictures, found.latent, *rows, found.nulls, found.iterations)

    return make


def run_in_turns(sides: dict[str, Side], pictures: list[EditCase]) -> dict[str, list[TimedResult]]:
    """The result of each side for each picture, after a round to warm up."""
    found: dict[str, list[TimedResult]] = {name: [] for name in sides}
    for i, case in enumerate([pictures[0], *pictures]):
        for name in list(sides)[:: -1 if i % 2 else 1]:
            begun = time.perf_counter()
            result = sides[name](case)
            found[name].append(TimedResult(time.perf_counter() - begun, result))
    return {name: rounds[1:] for name, rounds in found.items()}


def assert_equal(one: FlowResult, other: FlowResult) -> None:
    """The gate: the same iterations, null rows and edited latent."""
    assert one.iterations == other.iterations
    assert one.nulls is not None and other.nulls is not None
    apart = (one.nulls - other.nulls).flatten(1).norm(dim=1)
    assert (apart <= NULLS * other.nulls.flatten(1).norm(dim=1)).all()
    assert (one.latent - other.latent).abs().max() <= LATENT * other.latent.abs().max()


def figures(rounds: list[TimedResult], pictures: list[EditCase]) -> dict[str, float]:
    """Figures of a side: seconds, rows, reconstruction PSNR in dB, scores of the edits."""
    before = render(case.source_scene for case in pictures)
    again = torch.cat([one.result.reconstruction for one in rounds])
    after = torch.cat([one.result.edit for one in rounds])
    scores = judge_cases(load_reader(), pictures, before, after)
    return {
        "seconds": statistics.median(one.seconds for one in rounds),
        "forward rows": statistics.median(one.result.forward for one in rounds),
        "backward rows": statistics.median(one.result.backward for one in rounds),
        "reconstruction PSNR": psnr(again, before).mean().item(),
        **{name: statistics.mean(values) for name, values in scores.items()},
    }


def test_inversions_against_the_published_flow(benchmark) -> None:
    sides = {"null-text": ours("null-text", GUIDANCE), "replay": ours("replay", None)}
    sides |= {name: theirs(name == "published") for name in PUBLISHED}
    pictures = [case for kind in KINDS for case in make_cases(kind, 1, short=True)]
    found = run_in_turns(sides, pictures)
    for name in PUBLISHED:
        for one, other in zip(found["null-text"], found[name], strict=True):
            assert_equal(one.result, other.result)
    sheet: dict[str, Any] = {name: figures(rounds, pictures) for name, rounds in found.items()}
    ratios = {
        f"{whole} / {name}": sheet[whole]["seconds"] / sheet[name]["seconds"]
        for whole in PUBLISHED
        for name in ("null-text", "replay")
    }
    sheet |= {"ratios": ratios, "pictures": len(pictures), "threads": torch.get_num_threads()}
    benchmark.extra_info.update(sheet, steps=STEPS)
    print(json.dumps(benchmark.extra_info, indent=1))
    benchmark.pedantic(sides["replay"], (pictures[0],), rounds=3)
    assert ratios["published / null-text"] >= EXACT
    assert ratios["published / replay"] >= REPLAY

"""Samplers of few steps with the bundled model: how far DDIM is, and which weights edits need.

The bundled model was not distilled to few steps, so its pictures are worse than those of such a
model. What is compared runs on the same model, grid and noise. `python -m benchmarks.few_steps`
prints the distance between the latents of each sampler and those of DDIM on the same timesteps.
`python -m benchmarks.few_steps edits` prints, for tables of constant weights, the share of
recorded-noise edits that are right and keep all else, on scenes for tuning.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, product
from statistics import mean

import torch
from torch import Tensor

from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.editor import Editor
from mdp_lite.eval.edit_batches import BatchSettings, EditBatch, make_batches
from mdp_lite.eval.edit_scores import score_edits
from mdp_lite.eval.edits import KINDS, iterate_edits
from mdp_lite.eval.reader import Reader, load_reader
from mdp_lite.eval.score import decode
from mdp_lite.method.mdp import Guidance
from mdp_lite.method.sample import sample
from mdp_lite.method.samplers import build_grid
from mdp_lite.method.schedule import Grid, Weights, zero_weights
from mdp_lite.models.config import SchedulerConfig
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD
from mdp_lite.pipeline.noise import draw
from mdp_lite.pipeline.request import build_weights

COUNTS = (1, 2, 4, 8)
SAMPLERS = ("euler", "euler-ancestral", "lcm")
PROMPTS = ("a red house on the grass", "a blue boat on the water", "a green tree on the snow")
SHARES, PULLS = (0.0, 0.5, 0.75, 0.9), (0.0, 1.0, 2.0, 3.0)  # of the noise; the rate of the leash


def plain_ddim(config: SchedulerConfig, n: int) -> Grid:
    """DDIM on the timesteps of another sampler, to the end that DDIM has by this config."""
    grid, own = (build_grid(one, n) for one in (config, replace(config, sampler="ddim")))
    return grid._replace(b=torch.cat([grid.a[1:], own.b[-1:]]), skip=None)


def measure_distance(editor: Editor, config: SchedulerConfig, n: int, prompt: str) -> float:
    """|x_N - x_N by DDIM| / |x_N| of one prompt and seed."""
    runner, shape = editor.runner, editor.runner.noise(0, *editor.runner.size).shape
    guidance = runner.guidance(prompt, "", runner.guidance_scale(None))

    def end(grid: Grid, x: Tensor, noise: Tensor | None) -> Tensor:
        return [*sample(runner.unet, grid, x, guidance, runner.v_prediction, noise=noise)][-1].x

    grid = build_grid(config, n)
    want = end(grid, *draw(config, grid, 0, shape))
    got = end(plain_ddim(config, n), *draw(replace(config, sampler="ddim"), grid, 0, shape))
    return ((got - want).norm() / want.norm()).item()


def print_distances() -> None:
    """A line for each sampler, a figure for each number of steps."""
    editor = Editor.from_pretrained("tiny", device="cpu")
    for name in SAMPLERS:
        config = replace(
            editor.models.scheduler, sampler=name, timestep_spacing="trailing",
        )  # fmt: skip
        each = [mean(measure_distance(editor, config, n, one) for one in PROMPTS) for n in COUNTS]
        print(f"{name:18}", *(f"{number:6.2f}" for number in each))


def list_tables(n: int) -> dict[str, Weights]:
    """The default's table of n steps, and constant ones; the last step has no pull."""
    tables = {"default": build_weights(n, Defaults(), "x")}
    for share, rate in product(SHARES, PULLS):
        pull = torch.full((n,), -math.expm1(-rate / n), dtype=torch.float64)
        pull[-1:] *= n == 1
        eps = torch.full_like(pull, share)
        tables[f"eps {share:g}, pull {rate:g}"] = zero_weights(n)._replace(eps=eps, x=pull)
    return tables


def iterate_batches(editor: Editor, reader: Reader, n: int, count: int) -> Iterator[EditBatch]:
    """Real pictures inverted by recorded noise, count edits of each kind."""
    settings = BatchSettings(editor, editor.runner.grid(n), frozenset([DEFAULT_METHOD]), 1.0)
    for kind in KINDS:
        cases = islice(iterate_edits(kind, "tune"), count)
        yield from make_batches(settings, reader, "real", cases, count)


@torch.no_grad()
def measure_edits(editor: Editor, n: int, count: int) -> dict[str, float]:
    """The share of edits that are right and keep all else, by table."""
    reader, scores = load_reader(), dict[str, list[float]]()
    for batch in iterate_batches(editor, reader, n, count):
        path = batch.sources[DEFAULT_METHOD].path
        to: Guidance = batch.guidance
        for name, weights in list_tables(n).items():
            steps = sample(
                editor.models.unet, batch.grid, path.x[0], to, editor.runner.v_prediction,
                path, weights,
            )  # fmt: skip
            pictures = decode(editor, [*steps][-1].x)
            both = score_edits(reader, batch.cases, batch.pictures, pictures, answers=True)["both"]
            scores.setdefault(name, []).extend(both)
    return {name: mean(some) for name, some in scores.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("distances", "edits"), nargs="?", default="distances")
    parser.add_argument("--sampler", default="euler-ancestral", choices=SAMPLERS)
    parser.add_argument("--count", type=int, default=8, help="edits of each of the ten kinds")
    parser.add_argument("--steps", type=int, nargs="*", default=COUNTS)
    args = parser.parse_args()
    if args.what == "distances":
        print_distances()
        return
    options = {"sampler": args.sampler, "timestep_spacing": "trailing"}
    editor = Editor.from_pretrained("tiny", device="cpu", **options)
    for n in args.steps:
        found = measure_edits(editor, n, args.count)
        for name in sorted(found, key=lambda one: -found[one]):
            print(f"{n} steps  {name:22} {found[name]:.2f}", flush=True)


if __name__ == "__main__":
    main()

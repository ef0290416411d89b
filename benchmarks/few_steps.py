"""Samplers of few steps with the bundled model: how far DDIM is, and which weights edits need.

The bundled model was not distilled to few steps, so its pictures are worse than those of such a
model. What is compared runs on the same model, grid and noise. `python -m benchmarks.few_steps`
prints the distance between the latents of each sampler and those of DDIM on the same timesteps.
`python -m benchmarks.few_steps edits` prints, for the default of a model of few steps and for other
tables of constant weights, the share of recorded-noise edits that are right and keep all else, with
its 95% interval: on scenes for tuning, or with `--split report` on others. `--out FILE` adds each
number of steps to a JSON file, and writes its tables beside it.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from benchmarks.record import format_command
from mdp_lite.editor import Editor
from mdp_lite.eval.edit_batches import BatchSettings, EditBatch, make_batches
from mdp_lite.eval.edit_scores import score_edits
from mdp_lite.eval.edits import KINDS, SPLITS, iterate_edits
from mdp_lite.eval.interval import mean_interval
from mdp_lite.eval.reader import Reader, load_reader
from mdp_lite.eval.score import decode
from mdp_lite.method.mdp import Guidance
from mdp_lite.method.sample import sample
from mdp_lite.method.samplers import build_grid
from mdp_lite.method.schedule import Grid, Weights, few_steps_table, zero_weights
from mdp_lite.models.config import SchedulerConfig
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD
from mdp_lite.pipeline.noise import draw

COUNTS = (1, 2, 4, 8)
SAMPLERS = ("euler", "euler-ancestral", "lcm", "tcd")
PROMPTS = ("a red house on the grass", "a blue boat on the water", "a green tree on the snow")
SHARES, PULLS = (0.0, 0.5, 0.75, 0.9), (0.0, 1.0, 2.0)  # of the noise; the rate of the leash
MEASURES = ("both", "right", "kept")


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
    """Constant tables of n steps, the default's among them; the last step has no pull."""
    tables = dict[str, Weights]()
    for share, rate in product(SHARES, PULLS if n > 1 else PULLS[:1]):
        pull = torch.full((n,), -math.expm1(-rate / n), dtype=torch.float64)
        pull[-1] = 0
        eps = torch.full_like(pull, share)
        tables[f"eps {share:g}, pull {rate:g}"] = zero_weights(n)._replace(eps=eps, x=pull)
    own = find_default(n, tables)
    return tables if own in tables else tables | {own: few_steps_table(n)}


def iterate_batches(
    editor: Editor, reader: Reader, n: int, split: str, count: int
) -> Iterator[EditBatch]:
    """Real pictures inverted by recorded noise, count edits of each kind."""
    settings = BatchSettings(editor, editor.runner.grid(n), frozenset([DEFAULT_METHOD]), 1.0)
    cases = [one for kind in KINDS for one in islice(iterate_edits(kind, split), count)]
    return make_batches(settings, reader, "real", cases, len(cases))


@torch.no_grad()
def measure_edits(editor: Editor, n: int, split: str, count: int) -> dict[str, dict[str, Any]]:
    """For each table the share of edits that are right, that keep all else, and both."""
    reader, scores = load_reader(), dict[str, dict[str, list[float]]]()
    for batch in iterate_batches(editor, reader, n, split, count):
        path = batch.sources[DEFAULT_METHOD].path
        to: Guidance = batch.guidance
        for name, weights in list_tables(n).items():
            steps = sample(
                editor.runner.unet, batch.grid, path.x[0], to, editor.runner.v_prediction,
                path, weights,
            )  # fmt: skip
            pictures = decode(editor, [*steps][-1].x)
            found = score_edits(reader, batch.cases, batch.pictures, pictures, answers=True)
            for measure in MEASURES:
                scores.setdefault(name, {}).setdefault(measure, []).extend(found[measure])
    return {
        name: {measure: list(mean_interval(some)) for measure, some in each.items()}
        for name, each in scores.items()
    }


def find_default(n: int, tables: dict[str, Weights]) -> str:
    """The name of the constant table that the default is; "default" if it is none of them."""
    own = few_steps_table(n)
    return next((name for name, one in tables.items() if _equals(one, own)), "default")


def _equals(table: Weights, other: Weights) -> bool:
    return all(torch.allclose(a, b) for a, b in zip(table, other, strict=True))


def to_markdown(figures: dict[str, Any]) -> str:
    """A table for each number of steps, the best first."""
    lines = []
    for n, one in figures.items():
        lines += [f"{one['model']}, {n} steps, {one['edits']} edits: `{one['command']}`", ""]
        lines += [
            "| table | right and all else kept | right | all else kept |",
            "|---|---|---|---|",
        ]
        tables = one["tables"]
        for name in sorted(tables, key=lambda key: -tables[key]["both"][0]):
            cells = [f"{m:.2f} ({low:.2f} to {high:.2f})" for m, low, high in tables[name].values()]
            label = f"{name} (the default)" if name == one["default"] else name
            lines.append(f"| {label} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def run_edits(args: argparse.Namespace) -> None:
    """Measure each number of steps, print its table, and add it to the file."""
    options = {"sampler": args.sampler, "timestep_spacing": "trailing"}
    editor = Editor.from_pretrained("tiny", device="cpu", **options)
    command = format_command("few_steps", sys.argv[1:])
    for n in args.steps:
        figures = {
            "command": command, "model": f"the bundled model by {args.sampler}",
            "edits": args.count * len(KINDS), "default": find_default(n, list_tables(n)),
            "tables": measure_edits(editor, n, args.split, args.count),
        }  # fmt: skip
        print(to_markdown({str(n): figures}), flush=True)
        if args.out:
            old = json.loads(args.out.read_text("utf-8")) if args.out.exists() else {}
            new = dict(sorted((old | {str(n): figures}).items(), key=lambda pair: int(pair[0])))
            args.out.write_text(json.dumps(new, indent=1) + "\n", "utf-8")
            args.out.with_suffix(".md").write_text(to_markdown(new), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("distances", "edits"), nargs="?", default="distances")
    parser.add_argument("--sampler", default="euler-ancestral", choices=SAMPLERS)
    parser.add_argument("--count", type=int, default=8, help="edits of each of the ten kinds")
    parser.add_argument("--steps", type=int, nargs="*", default=COUNTS)
    parser.add_argument("--split", default="tune", choices=list(SPLITS))
    parser.add_argument("--out", type=Path, help="a JSON file; a Markdown one lies beside it")
    args = parser.parse_args()
    if args.what == "edits":
        run_edits(args)
    else:
        print_distances()


if __name__ == "__main__":
    main()

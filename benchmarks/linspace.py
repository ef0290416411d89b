"""Linspace grids: where a step ends, as diffusers has it, and chained.

diffusers' DDIM goes from timestep t to t - T // N, which with linspace spacing is not the next
timestep of the grid. A chained grid goes to the next one: b_i = a_{i+1}. `python -m
benchmarks.linspace` prints the PSNR of both to 250 chained steps (sampling), and of round trips by
DDIM inversion, with the model tiny.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from statistics import mean

import torch
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.eval import world
from mdp_lite.method.inversion import invert
from mdp_lite.method.mdp import Guidance
from mdp_lite.method.sample import sample
from mdp_lite.method.schedule import Grid, ddim_grid
from mdp_lite.pictures import images
from mdp_lite.pipeline.runner import ModelRunner

STEPS, LONG = (5, 10, 20, 50), 250
FIRST = 20_000_000  # scenes that tiny was not trained on
PROMPTS = (
    "a red house on the grass",
    "a blue boat on the water",
    "a green tree on the snow, night",
    "an orange house on the right, snow",
)


def build_grid(runner: ModelRunner, n: int, chained: bool) -> Grid:
    """A linspace grid of n steps, as diffusers has it, or with b_i = a_{i+1}."""
    grid = ddim_grid(replace(runner.models.scheduler, timestep_spacing="linspace"), n)
    return grid._replace(b=torch.cat([grid.a[1:], grid.b[-1:]])) if chained else grid


def draw(runner: ModelRunner, grid: Grid, x: Tensor, guidance: Guidance) -> Tensor:
    """The picture at the end of a path."""
    *_, last = sample(runner.unet, grid, x, guidance, runner.v_prediction)
    return runner.decode(last.x)


def compare_samples(runner: ModelRunner, scale: float) -> dict[int, list[float]]:
    """For each N the mean PSNR to LONG steps, of diffusers' grid and of the chained one."""
    noises = [runner.noise(seed, 64, 64) for seed in range(len(PROMPTS))]
    guidances = [runner.guidance(prompt, "", scale) for prompt in PROMPTS]
    pairs = list(zip(noises, guidances, strict=True))
    far = build_grid(runner, LONG, chained=True)
    targets = [draw(runner, far, x, guidance) for x, guidance in pairs]

    def score(grid: Grid) -> float:
        drawn = [draw(runner, grid, x, guidance) for x, guidance in pairs]
        return mean(images.psnr(a, b) for a, b in zip(drawn, targets, strict=True))

    return compare(runner, score)


def compare_round_trips(runner: ModelRunner, count: int) -> dict[int, list[float]]:
    """For each N the mean PSNR of DDIM inversion and back, unguided, on synthetic pictures."""
    scenes = [world.sample(FIRST + i) for i in range(count)]
    latents = [runner.encode(world.draw(scene)) for scene in scenes]
    conditions = [runner.condition(world.caption(scene)) for scene in scenes]

    def go_there_and_back(grid: Grid, z: Tensor, c: Tensor) -> float:
        guidance = Guidance(c, None, torch.ones(()))
        *_, last = invert(runner.unet, grid, z, guidance, runner.v_prediction)
        return images.psnr(draw(runner, grid, last.x, guidance), runner.decode(z))

    def score(grid: Grid) -> float:
        pairs = zip(latents, conditions, strict=True)
        return mean(go_there_and_back(grid, z, c) for z, c in pairs)

    return compare(runner, score)


def compare(runner: ModelRunner, score: Callable[[Grid], float]) -> dict[int, list[float]]:
    return {n: [score(build_grid(runner, n, chained)) for chained in (False, True)] for n in STEPS}


def show(name: str, scores: dict[int, list[float]]) -> None:
    cells = (f"N={n}: {a:.2f} / {b:.2f} ({b - a:+.2f})" for n, (a, b) in scores.items())
    print(f"{name}: {', '.join(cells)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=6, help="pictures that are inverted")
    args = parser.parse_args()
    torch.set_num_threads(1)
    runner = Editor.from_pretrained("tiny", device="cpu", dtype="float32").runner
    print("PSNR in dB: diffusers' grid / chained grid (gain)")
    with torch.no_grad():
        show("sampling, guidance 4", compare_samples(runner, 4.0))
        show("sampling, no guidance", compare_samples(runner, 1.0))
        show("inversion round trip", compare_round_trips(runner, args.pictures))


if __name__ == "__main__":
    main()

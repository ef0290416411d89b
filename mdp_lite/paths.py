"""Making source paths: sampled from a prompt and a seed, or found by inverting a picture."""

from collections.abc import Callable, Iterable

import torch
from PIL import Image
from torch import Tensor

from mdp_lite import check, images
from mdp_lite.codec import Codec
from mdp_lite.frames import frame
from mdp_lite.invert import METHODS, invert, replay
from mdp_lite.mdp import Step
from mdp_lite.results import Cost, Source
from mdp_lite.sample import Conditions, Path, record, walk
from mdp_lite.schedule import Grid

OnStep = Callable[[int, int, Tensor], None]  # steps done, steps in all, latent (b, 4, y, x)


def generated(
    codec: Codec, prompt: str, seed: int, num_inference_steps: int | None,
    guidance_scale: float | None, negative_prompt: str, width: int | None, height: int | None,
    on_step: OnStep | None = None,
) -> Source:  # fmt: skip
    """Path A from a prompt and a seed; see Editor.generate."""
    check.text("prompt", prompt)
    grid, (width, height) = codec.grid(num_inference_steps), codec.sides(width, height)
    g = codec.guidance(guidance_scale)
    to = codec.conditions(prompt, negative_prompt, g)
    x = codec.noise(check.seed(seed), width, height)
    path = _sample(codec, grid, x, to, on_step)
    n, image = len(grid.t), codec.picture(path.x[-1])
    cost, cut = Cost(n * to.rows, n), codec.truncated(prompt)
    return Source(
        path, grid, prompt, negative_prompt, g, image, image,
        frame("own", image.size, image.size), seed, "generate", cut, cost, codec.models.origin,
    )  # fmt: skip


def inverted(
    codec: Codec, image: Image.Image, prompt: str, method: str, num_inference_steps: int | None,
    guidance_scale: float | None, negative_prompt: str, width: int | None, height: int | None,
    fit: str, on_step: OnStep | None = None,
) -> Source:  # fmt: skip
    """Path A by inverting a picture; see Editor.invert."""
    check.text("prompt", prompt)
    check.one_of("method", method, METHODS)
    grid, picture = codec.grid(num_inference_steps), images.rgb(check.picture(image))
    framed = codec.frame(picture, fit, width, height)
    again = method == "ddim"
    g = codec.guidance(guidance_scale if again or guidance_scale is not None else 1.0)
    to = codec.conditions(prompt, negative_prompt, g)
    under = to if not again else Conditions(to.c, None, torch.ones_like(to.g))
    n, latent = len(grid.t), codec.latent(framed.fitted(picture))
    total = 2 * n if again else n
    steps = invert(codec.models.unet, grid, latent, under, codec.v)
    path = replay(latent, _watch(steps, total, 0, on_step), to.c)
    rows = n * under.rows
    if again:
        path = _sample(codec, grid, path.x[0], to, on_step, done=n)
        rows += n * to.rows
    return Source(
        path, grid, prompt, negative_prompt, g, codec.picture(path.x[-1]), picture, framed,
        None, method, codec.truncated(prompt), Cost(rows, total), codec.models.origin,
    )  # fmt: skip


def _sample(
    codec: Codec, grid: Grid, x: Tensor, to: Conditions, on_step: OnStep | None, done: int = 0
) -> Path:
    steps = walk(codec.models.unet, grid, x, to, v=codec.v)
    return record(x, _watch(steps, done + len(grid.t), done, on_step), to.c)


@torch.no_grad()
def _watch(steps: Iterable[Step], total: int, done: int, on_step: OnStep | None) -> list[Step]:
    """All steps of a path, telling on_step after each."""
    taken = []
    for i, one in enumerate(steps, done + 1):
        taken.append(one)
        if on_step:
            on_step(i, total, one.x)
    return taken

"""Making source paths: sampled from a prompt and a seed, or found by inverting pictures."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from mdp_lite.method.inversion import invert, noise_maps, noised, observed, replay
from mdp_lite.method.mdp import Step
from mdp_lite.method.null_text import MOST_STEPS, Tuned, null_text
from mdp_lite.method.sample import Conditions, Path, record, walk
from mdp_lite.method.schedule import Grid, alphas_cumprod
from mdp_lite.pictures.fit import Frame, frame
from mdp_lite.pipeline import check
from mdp_lite.pipeline.finite import finite
from mdp_lite.pipeline.inversion_methods import METHODS, Inversion, settled
from mdp_lite.pipeline.result import Cost, Source, Tuning
from mdp_lite.pipeline.runner import Codec

OnStep = Callable[[int, int, Tensor], None]  # steps done, steps in all, latent (b, 4, y, x)
OnTuned = Callable[[int, Tuned], None]  # a step of null-text inversion, and what was found


class Job(NamedTuple):
    """Pictures to invert: their latents x (b, 4, y, x), the conditions, and who is told of steps.

    under is what the inversion goes by where the path is then sampled: the prompt without guidance.
    """

    codec: Codec
    grid: Grid
    x: Tensor
    to: Conditions
    how: Inversion
    on_step: OnStep | None
    on_tuned: OnTuned | None

    @property
    def under(self) -> Conditions:
        """The prompt without guidance."""
        return Conditions(self.to.c, None, torch.ones_like(self.to.g))


class Found(NamedTuple):
    """What inverting pictures gave: one path for all, what each cost, and how it was tuned."""

    path: Path
    cost: Cost
    tuned: tuple[Tuned, ...] = ()


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
    steps = walk(codec.unet, grid, x, to, v=codec.v)
    n, path = len(grid.t), record(x, _watched(steps, len(grid.t), on_step), to.c)
    image, cost, cut = codec.picture(path.x[-1]), Cost(n * to.rows, n), codec.truncated(prompt)
    return Source(
        path, grid, prompt, negative_prompt, g, image, image,
        frame("own", image.size, image.size), seed, None, cut, cost, codec.models.origin,
    )  # fmt: skip


def inverted(
    codec: Codec, pictures: Sequence[Image.Image], prompts: Sequence[str],
    method: str | Inversion, num_inference_steps: int | None, guidance_scale: float | None,
    negative_prompt: str, width: int | None, height: int | None, fit: str,
    on_step: OnStep | None = None, on_tuned: OnTuned | None = None,
) -> list[Source]:  # fmt: skip
    """Paths by inverting upright RGB pictures that are fitted to one size; see Editor.inverts."""
    for prompt in prompts:
        check.text("prompt", prompt)
    grid = codec.grid(num_inference_steps)
    how = settled(method, len(grid.t))
    _check(how, grid, negative_prompt)
    framed = [codec.frame(picture, fit, width, height) for picture in pictures]
    own = METHODS[how.method].guidance if guidance_scale is None else guidance_scale
    g = codec.guidance(own)
    negatives = prompts if how.method == "negative-prompt" else [negative_prompt] * len(prompts)
    to = _conditions(codec, prompts, negatives, g)
    latents = [codec.latent(one.fitted(p)) for one, p in zip(framed, pictures, strict=True)]
    job = Job(codec, grid, torch.cat(latents), to, how, on_step, on_tuned)
    found = FINDERS[how.method](job)
    asked = zip(pictures, prompts, negatives, framed, strict=True)
    return [_source(job, found, k, g, *one) for k, one in enumerate(asked)]


def _check(how: Inversion, grid: Grid, negative_prompt: str) -> None:
    """What some methods can't do."""
    if how.method == "direct" and not grid.a[0] > 0:
        raise ValueError(
            "direct can't start from noise alone (zero terminal SNR): its noise says nothing of "
            "the picture there; take replay"
        )
    if how.method == "null-text" and len(grid.t) > MOST_STEPS:
        raise ValueError(
            f"null-text must have at most {MOST_STEPS} steps, where its learning rate "
            f"1e-2 (1 - i / 100) ends, got {len(grid.t)}"
        )
    if how.method == "negative-prompt" and negative_prompt:
        raise ValueError(
            "negative-prompt takes the source prompt for the negative one, "
            f"got negative_prompt {negative_prompt!r}"
        )


def _conditions(
    codec: Codec, prompts: Sequence[str], negatives: Sequence[str], g: float
) -> Conditions:
    """One row of c and of null for each picture; null is c where that is so for all."""
    made = [codec.conditions(*pair, g) for pair in zip(prompts, negatives, strict=True)]
    c = torch.cat([one.c for one in made])
    if all(one.null is one.c for one in made):
        return Conditions(c, c, made[0].g)
    nulls = [one.null for one in made if one.null is not None]
    return Conditions(c, torch.cat(nulls) if nulls else None, made[0].g)


def _source(
    job: Job, found: Found, k: int, g: float, picture: Image.Image, prompt: str, negative: str,
    framed: Frame,
) -> Source:  # fmt: skip
    """The source of picture k."""
    codec, path = job.codec, found.path
    if len(job.x) > 1:
        rows = {name: part for name, part in path._asdict().items() if part is not None}
        c = rows.pop("c")[k : k + 1].clone()
        path = Path(c=c, **{name: part[:, k : k + 1].clone() for name, part in rows.items()})
    tuning = tuple(Tuning(int(t.iterations[k]), float(t.loss[k])) for t in found.tuned)
    return Source(
        path, job.grid, prompt, negative, g, codec.picture(path.x[-1]), picture, framed, None,
        job.how, codec.truncated(prompt), found.cost, codec.models.origin, tuning,
    )  # fmt: skip


def _replay(job: Job) -> Found:
    """The inversion read backwards; with more iterations a step it is the fixed-point one's."""
    n, times = len(job.grid.t), job.how.iterations or 1
    unet, v = job.codec.unet, job.codec.v
    steps = _watched(invert(unet, job.grid, job.x, job.to, v, times), n, job.on_step)
    path = replay(job.x, steps, job.to.c)
    return Found(path, Cost(n * times * job.to.rows, n * times))


def _pivots(job: Job, total: int) -> Path:
    """The path of the inversion without guidance, which others start from."""
    steps = invert(job.codec.unet, job.grid, job.x, job.under, job.codec.v)
    return replay(job.x, _watched(steps, total, job.on_step), job.to.c)


def _resampled(job: Job) -> Found:
    """Sampled anew, with guidance, from the noise that an inversion without it found."""
    up, n = _upward(job), len(job.grid.t)
    m, unet, v = len(up.t), job.codec.unet, job.codec.v
    x = _watched(invert(unet, up, job.x, job.under, v), m + n, job.on_step)[-1].x
    steps = walk(unet, job.grid, x, job.to, v=v)
    path = record(x, _watched(steps, m + n, job.on_step, m), job.to.c)
    return Found(path, Cost(m + n * job.to.rows, m + n))


def _upward(job: Job) -> Grid:
    """The grid of the inversion: as many steps as asked for, evenly between sampling's ends."""
    grid, m = job.grid, job.how.inversion_steps
    if m is None:
        return grid
    t = torch.linspace(float(grid.t[0]), float(grid.t[-1]), m, dtype=torch.float64).round().long()
    a = alphas_cumprod(job.codec.models.scheduler)[t].to(grid.a)
    return Grid(t.to(grid.t), a, torch.cat([a[1:], grid.b[-1:]]))


def _null_text(job: Job) -> Found:
    """Sampled anew with null rows that keep the path on the inversion's."""
    if job.to.null is None:
        return _resampled(job)
    n, how = len(job.grid.t), job.how
    pivots = _pivots(job, 2 * n)
    rows = range(n) if how.rows is None else how.rows
    assert how.inner_steps is not None and how.early_stop is not None  # settled
    tuned = []
    steps = null_text(
        job.codec.models.unet, job.grid, pivots, job.to, job.codec.v, how.inner_steps,
        how.early_stop, rows, finite,
    )  # fmt: skip
    for i, one in enumerate(steps):
        tuned.append(one)
        if job.on_step:
            job.on_step(n + i + 1, 2 * n, one.x)
        if job.on_tuned:
            job.on_tuned(i, one)
    path = record(pivots.x[0], [Step(one.x, one.eps) for one in tuned], job.to.c)
    forward, backward = sum(one.forward for one in tuned), sum(one.backward for one in tuned)
    path = path._replace(null=torch.stack([one.null for one in tuned]))
    return Found(path, Cost(n + forward, n + forward, backward), tuple(tuned))


def _direct(job: Job) -> Found:
    """The inversion's own path, with the noise that guidance predicts along it."""
    n = len(job.grid.t)
    pivots = _pivots(job, 2 * n)
    steps = observed(job.codec.unet, job.grid, pivots.x, job.to, job.codec.v)
    path = record(pivots.x[0], _watched(steps, 2 * n, job.on_step, n), job.to.c)
    return Found(path, Cost(n + n * job.to.alone.rows, 2 * n))


def _edit_friendly(job: Job) -> Found:
    """The picture under noise of its own at every step, and what joins these by DDPM."""
    n, seed = len(job.grid.t), job.how.seed or 0
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn((n, 1, *job.x.shape[1:]), generator=generator).to(job.x)
    pivots = noised(job.grid, job.x, z.expand(-1, len(job.x), -1, -1, -1))
    maps = []

    def steps() -> Iterable[Step]:
        for step, noise in noise_maps(job.codec.unet, job.grid, pivots, job.to, job.codec.v):
            maps.append(noise)
            yield step

    path = record(pivots[0], _watched(steps(), n, job.on_step), job.to.c)
    return Found(path._replace(noise=torch.stack(maps)), Cost(n * job.to.alone.rows, n))


FINDERS: dict[str, Callable[[Job], Found]] = {
    "replay": _replay,
    "ddim": _resampled,
    "fixed-point": _replay,
    "negative-prompt": _resampled,
    "null-text": _null_text,
    "direct": _direct,
    "edit-friendly": _edit_friendly,
}


@torch.no_grad()
def _watched(
    steps: Iterable[Step], total: int, on_step: OnStep | None, done: int = 0
) -> list[Step]:
    """All steps of a path, telling on_step after each."""
    taken = []
    for i, one in enumerate(steps, done + 1):
        taken.append(one)
        if on_step:
            on_step(i, total, one.x)
    return taken

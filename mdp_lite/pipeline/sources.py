"""Making source paths by inverting pictures."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from mdp_lite.method.inversion import add_noise, invert, noise_maps, predict_along, replay
from mdp_lite.method.mdp import Guidance, Step
from mdp_lite.method.null_text import TunedStep, null_text
from mdp_lite.method.sample import Trajectory, record, sample
from mdp_lite.method.schedule import Grid, alphas_cumprod
from mdp_lite.names import DeadlineExceeded
from mdp_lite.pictures.fit import Fit
from mdp_lite.pipeline import check
from mdp_lite.pipeline.finite import run_finite
from mdp_lite.pipeline.inpainting import find_channels
from mdp_lite.pipeline.inversion_methods import Inversion, resolve_inversion
from mdp_lite.pipeline.masks import Mask
from mdp_lite.pipeline.method_checks import check_method, check_model, default_guidance
from mdp_lite.pipeline.result import Cost, Source, Tuning
from mdp_lite.pipeline.runner import ModelRunner
from mdp_lite.pipeline.xl import PLAIN, XLCondition

OnStep = Callable[[int, int, Tensor], None]  # steps done, steps in all, latent (b, 4, y, x)
OnTuned = Callable[[int, TunedStep], None]  # a step of null-text inversion, and what was found


class SourceMonitor(NamedTuple):
    """What is called after each step of a source, and its deadline on the monotonic clock.

    done are the steps that came before the first one that is reported.
    """

    on_step: OnStep | None = None
    on_tuned: OnTuned | None = None
    end: float = math.inf
    done: int = 0

    def continue_after(self, done: int) -> "SourceMonitor":
        """The same for the steps of a second pass, after as many of the first."""
        return self._replace(done=self.done + done)

    def report(self, done: int, total: int, x: Tensor) -> None:
        """Report one step. Raises DeadlineExceeded if time is up before the last one."""
        done, total = done + self.done, total + self.done
        if self.on_step:
            self.on_step(done, total, x)
        if done < total and time.monotonic() >= self.end:
            raise DeadlineExceeded(f"the deadline passed after {done} of {total} steps")


def start_monitor(
    on_step: OnStep | None, on_tuned: OnTuned | None, deadline: float | None
) -> SourceMonitor:
    """A monitor whose deadline is in seconds from now, or None."""
    end = math.inf if deadline is None else time.monotonic() + check.deadline(deadline)
    return SourceMonitor(
        check.callback("on_step", on_step), check.callback("on_tuned", on_tuned), end
    )


class InversionJob(NamedTuple):
    """Pictures to invert: their latents x (b, 4, y, x), what steers them, and the method.

    directed: record the directions of steps that ask both rows; see records_direction.
    """

    runner: ModelRunner
    grid: Grid
    x: Tensor
    guidance: Guidance
    inversion: Inversion
    monitor: SourceMonitor
    directed: bool = False

    @property
    def records_direction(self) -> bool:
        """Whether directions are to be recorded and there are any, as guidance is above 1."""
        return self.directed and self.guidance.null is not None

    @property
    def without_guidance(self) -> Guidance:
        """The prompt without guidance, for inversions whose path is sampled again with it."""
        return self.guidance._replace(null=None, g=torch.ones_like(self.guidance.g))


class InversionResult(NamedTuple):
    """One path for all pictures, what each picture cost, and how each step was tuned."""

    path: Trajectory
    cost: Cost
    tuned: tuple[TunedStep, ...] = ()


def invert_pictures(
    runner: ModelRunner, pictures: Sequence[Image.Image], prompts: Sequence[str],
    method: str | Inversion, num_inference_steps: int | None, guidance_scale: float | None,
    negative_prompt: str, width: int | None, height: int | None, fit: str,
    xl: XLCondition = PLAIN, monitor: SourceMonitor = SourceMonitor(),  # noqa: B008
    masks: Sequence[Mask | None] = (), record_direction: bool = False,
) -> list[Source]:  # fmt: skip
    """Paths of upright RGB pictures that are fitted to one size; see Editor.inverts."""
    for prompt in prompts:
        check.text("prompt", prompt)
    grid = runner.grid(num_inference_steps)
    inversion = resolve_inversion(method, len(grid.t))
    check_method(inversion.method, grid, negative_prompt, xl.negative_prompt_2 or "")
    check_model(inversion.method, runner)
    fits = [runner.fit(picture, fit, width, height) for picture in pictures]
    own = default_guidance(runner, inversion.method) if guidance_scale is None else guidance_scale
    g, same = runner.guidance_scale(own), inversion.method == "negative-prompt"
    xl = replace(xl, negative_prompt_2=xl.prompt_2) if same else xl
    negatives = prompts if same else [negative_prompt] * len(prompts)
    latents = [runner.encode(one.apply(p)) for one, p in zip(fits, pictures, strict=True)]
    given = list(masks) or [None] * len(pictures)
    several = zip(pictures, fits, given, strict=True)
    channels = [m and find_channels(runner, picture, one, m) for picture, one, m in several]
    size = runner.latent_size(latents[0])
    guidance = _stack_guidance(runner, prompts, negatives, g, size, xl, channels)
    directed = check.flag("record_direction", record_direction)
    job = InversionJob(runner, grid, torch.cat(latents), guidance, inversion, monitor, directed)
    result = INVERSIONS[inversion.method](job)
    parts = zip(pictures, prompts, negatives, fits, given, strict=True)
    return [_build_source(job, result, k, g, *part, xl) for k, part in enumerate(parts)]


def _stack_guidance(
    runner: ModelRunner, prompts: Sequence[str], negatives: Sequence[str], g: float,
    size: tuple[int, int], xl: XLCondition, channels: Sequence[Tensor | None],
) -> Guidance:  # fmt: skip
    """One row of c and of null for each picture; null is c itself if that is so for all."""
    several = zip(prompts, negatives, channels, strict=True)
    parts = [runner.guidance(prompt, no, g, size, xl, own) for prompt, no, own in several]
    c, extra = torch.cat([one.c for one in parts]), _join([one.channels for one in parts])
    if all(one.null is one.c for one in parts):
        return Guidance(c, c, parts[0].g, channels=extra)
    return Guidance(c, _join([one.null for one in parts]), parts[0].g, channels=extra)


def _join(rows: Sequence[Tensor | None]) -> Tensor | None:
    """The rows of all pictures, or None if there are none."""
    some = [one for one in rows if one is not None]
    return torch.cat(some) if some else None


def _build_source(
    job: InversionJob, result: InversionResult, k: int, g: float, picture: Image.Image,
    prompt: str, negative: str, fit: Fit, mask: Mask | None, xl: XLCondition,
) -> Source:  # fmt: skip
    """The source of picture k."""
    runner, path = job.runner, result.path._replace(channels=job.guidance.channels)
    if len(job.x) > 1:
        path = _select_picture(path, k)
    tuning = tuple(Tuning(int(t.iterations[k]), float(t.loss[k])) for t in result.tuned)
    return Source(
        path, job.grid, prompt, negative, g, runner.decode(path.x[-1]), picture, fit, None,
        job.inversion, runner.is_truncated(prompt, xl.prompt_2), result.cost,
        runner.models.origin, tuning, mask and mask.pixels, xl,
    )  # fmt: skip


def _select_picture(path: Trajectory, k: int) -> Trajectory:
    """The path of picture k alone."""
    parts = {name: part for name, part in path._asdict().items() if part is not None}
    rows = {name: parts.pop(name)[k : k + 1].clone() for name in ("c", "channels") if name in parts}
    return Trajectory(**rows, **{name: part[:, k : k + 1].clone() for name, part in parts.items()})


def _replay(job: InversionJob) -> InversionResult:
    """The inversion read backwards; with more iterations a step it is the fixed-point inversion."""
    n, times, runner = len(job.grid.t), job.inversion.iterations or 1, job.runner
    steps = invert(runner.unet, job.grid, job.x, job.guidance, runner.v_prediction, times)
    path = replay(job.x, collect_steps(steps, n, job.monitor), job.guidance.c)
    return InversionResult(path, Cost(n * times * len(job.guidance.reads), n * times))


def _find_pivots(job: InversionJob, total: int) -> Trajectory:
    """The path of the inversion without guidance, from which other methods start."""
    runner = job.runner
    steps = invert(runner.unet, job.grid, job.x, job.without_guidance, runner.v_prediction)
    return replay(job.x, collect_steps(steps, total, job.monitor), job.guidance.c)


def _resample(job: InversionJob) -> InversionResult:
    """Sampled again, with guidance, from the noise that an inversion without it found."""
    up, n, runner = _upward_grid(job), len(job.grid.t), job.runner
    m, unet, v_prediction = len(up.t), runner.unet, runner.v_prediction
    steps = invert(unet, up, job.x, job.without_guidance, v_prediction)
    x = collect_steps(steps, m + n, job.monitor)[-1].x
    steps = sample(unet, job.grid, x, job.guidance, v_prediction)
    directed = job.records_direction
    some = collect_steps(steps, m + n, job.monitor, m, directed)
    path = record(x, some, job.guidance.c, directed=directed)
    return InversionResult(path, Cost(m + n * len(job.guidance.reads), m + n))


def _upward_grid(job: InversionJob) -> Grid:
    """The grid of the inversion: inversion_steps steps, evenly between the ends of sampling's."""
    grid, m = job.grid, job.inversion.inversion_steps
    if m is None:
        return grid
    t = torch.linspace(float(grid.t[0]), float(grid.t[-1]), m, dtype=torch.float64).round().long()
    a = alphas_cumprod(job.runner.models.scheduler)[t].to(grid.a)
    return Grid(t.to(grid.t), a, torch.cat([a[1:], grid.b[-1:]]))


def _null_text(job: InversionJob) -> InversionResult:
    """Sampled again with null rows that keep the path on the inversion's."""
    if job.guidance.null is None:
        return _resample(job)
    n, how, runner = len(job.grid.t), job.inversion, job.runner
    pivots = _find_pivots(job, 2 * n)
    tuned_steps = range(n) if how.tuned_steps is None else how.tuned_steps
    assert how.inner_steps is not None and how.early_stop is not None  # resolve_inversion set them
    tuned = []
    steps = null_text(
        runner.models.unet, job.grid, pivots, job.guidance, runner.v_prediction, how.inner_steps,
        how.early_stop, tuned_steps, run_finite,
    )  # fmt: skip
    for i, one in enumerate(steps):
        tuned.append(one)
        if job.monitor.on_tuned:
            job.monitor.on_tuned(i, one)
        job.monitor.report(n + i + 1, 2 * n, one.x)
    path = record(pivots.x[0], [Step(one.x, one.eps) for one in tuned], job.guidance.c)
    forward, backward = sum(one.forward for one in tuned), sum(one.backward for one in tuned)
    path = path._replace(null=torch.stack([one.null for one in tuned]))
    return InversionResult(path, Cost(n + forward, n + forward, backward), tuple(tuned))


def _direct(job: InversionJob) -> InversionResult:
    """The inversion's own path, with the noise that guidance predicts along it."""
    n, runner, directed = len(job.grid.t), job.runner, job.records_direction
    pivots = _find_pivots(job, 2 * n)
    steps = predict_along(runner.unet, job.grid, pivots.x, job.guidance, runner.v_prediction)
    some = collect_steps(steps, 2 * n, job.monitor, n, directed)
    path = record(pivots.x[0], some, job.guidance.c, directed=directed)
    return InversionResult(path, Cost(n + n * len(job.guidance.reads), 2 * n))


def _edit_friendly(job: InversionJob) -> InversionResult:
    """The picture under independent noise at every step, joined by DDPM's noise maps."""
    n, seed, runner = len(job.grid.t), job.inversion.seed or 0, job.runner
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn((n, 1, *job.x.shape[1:]), generator=generator).to(job.x)
    pivots = add_noise(job.grid, job.x, z.expand(-1, len(job.x), -1, -1, -1))
    steps, maps = [], []
    with torch.no_grad():
        for step, noise in noise_maps(
            runner.unet, job.grid, pivots, job.guidance, runner.v_prediction
        ):
            steps.append(step if job.records_direction else step._replace(d=None))
            maps.append(noise)
            job.monitor.report(len(steps), n, step.x)
    path = record(pivots[0], steps, job.guidance.c, torch.stack(maps), job.records_direction)
    return InversionResult(path, Cost(n * len(job.guidance.reads), n))


INVERSIONS: dict[str, Callable[[InversionJob], InversionResult]] = {
    "replay": _replay,
    "ddim": _resample,
    "fixed-point": _replay,
    "negative-prompt": _resample,
    "null-text": _null_text,
    "direct": _direct,
    "edit-friendly": _edit_friendly,
}


def collect_steps(
    steps: Iterable[Step], total: int, monitor: SourceMonitor, done: int = 0,
    directed: bool = False,
) -> list[Step]:  # fmt: skip
    """All steps of a path, reporting each; done counts steps that came before.

    directed: with their directions, which would otherwise only take memory.
    """
    collected = []
    with torch.no_grad():
        for i, step in enumerate(steps, done + 1):
            collected.append(step if directed else step._replace(d=None))
            monitor.report(i, total, step.x)
    return collected

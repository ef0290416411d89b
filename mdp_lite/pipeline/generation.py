"""Making source paths from a prompt and a seed."""

from dataclasses import replace

from mdp_lite.method.sample import record, sample
from mdp_lite.pictures.fit import plan_fit
from mdp_lite.pipeline import check
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD, resolve_inversion
from mdp_lite.pipeline.method_checks import check_model, default_guidance
from mdp_lite.pipeline.result import Cost, Source, add_costs
from mdp_lite.pipeline.runner import ModelRunner
from mdp_lite.pipeline.sources import INVERSIONS, InversionJob, SourceMonitor, collect_steps
from mdp_lite.pipeline.xl import PLAIN, XLCondition


def generate_source(
    runner: ModelRunner, prompt: str, seed: int, num_inference_steps: int | None,
    guidance_scale: float | None, negative_prompt: str, width: int | None, height: int | None,
    xl: XLCondition = PLAIN, record_noise: bool = False, record_direction: bool = False,
    monitor: SourceMonitor = SourceMonitor(),  # noqa: B008
) -> Source:  # fmt: skip
    """Path A from a prompt and a seed; see Editor.generate."""
    check.text("prompt", prompt)
    grid, size = runner.grid(num_inference_steps), runner.image_size(width, height)
    g, n = runner.guidance_scale(guidance_scale), len(grid.t)
    guidance = runner.guidance(prompt, negative_prompt, g, size, xl)
    x, noise = runner.draw(check.seed(seed), *size, grid)
    again = check.flag("record_noise", record_noise) and noise is None
    directed = check.flag("record_direction", record_direction)
    kept = directed and not again and guidance.null is not None
    steps = sample(runner.unet, grid, x, guidance, runner.v_prediction, noise=noise)
    some = collect_steps(steps, (1 + again) * n, monitor, directed=kept)
    path = record(x, some, guidance.c, noise, kept)
    path = path._replace(channels=guidance.channels)
    image, cost = runner.decode(path.x[-1]), Cost(n * len(guidance.reads), n)
    source = Source(
        path, grid, prompt, negative_prompt, g, image, image,
        plan_fit("own", image.size, image.size), seed, None,
        runner.is_truncated(prompt, xl.prompt_2), cost, runner.models.origin, xl=xl,
    )  # fmt: skip
    return _record_noise(runner, source, monitor, directed) if again else source


def _record_noise(
    runner: ModelRunner, source: Source, monitor: SourceMonitor, directed: bool
) -> Source:
    """The generated source on a path with recorded noise, at that inversion's own guidance."""
    how, n = resolve_inversion(DEFAULT_METHOD, len(source.grid.t)), len(source.grid.t)
    check_model(how.method, runner)
    g = runner.guidance_scale(default_guidance(runner, how.method))
    guidance = runner.guidance(
        source.prompt, source.negative_prompt, g, source.image.size, source.xl
    )
    job = InversionJob(
        runner, source.grid, source.path.x[-1], guidance, how, monitor.continue_after(n), directed
    )
    result = INVERSIONS[how.method](job)
    path = result.path._replace(channels=guidance.channels)
    cost = add_costs(source.cost, result.cost)
    return replace(
        source, path=path, guidance_scale=g, sampling_guidance=source.guidance_scale,
        inversion=how, cost=cost,
    )  # fmt: skip

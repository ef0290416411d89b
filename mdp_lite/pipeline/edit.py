"""From requests to edits: what is computed, step by step, and what comes out."""

import math
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from PIL import Image
from torch import Tensor

from mdp_lite.method.execute import EditTask
from mdp_lite.method.mdp import Guidance
from mdp_lite.method.plan import Plan, plan
from mdp_lite.pipeline import check
from mdp_lite.pipeline.directions import check_guidance_every, warn_unrecorded
from mdp_lite.pipeline.inpainting import channels_of, locate_channels
from mdp_lite.pipeline.layers import LayersUse, choose_denoiser
from mdp_lite.pipeline.progress import EditState, EditSteps, Progress, run_edits
from mdp_lite.pipeline.request import (
    Request,
    cost_of,
    find_facts,
    format_prompt,
    guidance_of,
    locate,
    mask_of,
    negative_of,
    nulls_of,
    picture_of,
    variant_of,
    weights_of,
    xl_of,
)
from mdp_lite.pipeline.result import Edit
from mdp_lite.pipeline.runner import ModelRunner


def locate_all(runner: ModelRunner, requests: Iterable[Request]) -> list[Request]:
    """Requests whose sources are checked and whose masks are read or found."""
    found, channels = [], dict[tuple[int, bytes], Tensor | None]()
    for request in check.requests(requests):
        check.source(request.source, runner.models)
        size = runner.latent_size(request.source.path.x)
        condition = partial(runner.condition, size=size, xl=xl_of(request))
        located = locate(request, runner.unet, condition, runner.factor)
        found.append(locate_channels(runner, located, channels))
    return found


def build_tasks(runner: ModelRunner, requests: Sequence[Request]) -> list[EditTask]:
    """Tables, guidance and plans of located requests (see locate); equal guidance is made once."""
    known: dict[tuple[Any, ...], Guidance] = {}
    tasks = []
    for one in requests:
        source, weights = one.source, weights_of(one, runner.models.defaults)
        g, negative = runner.guidance_scale(guidance_of(one)), negative_of(one)
        nulls, q = nulls_of(one), one.proximal
        q = None if q is None else check.quantile("proximal", q)
        size, xl, own = runner.latent_size(source.path.x), xl_of(one), channels_of(one)
        key = (tuple(check.blend(one.prompt)), negative, g, id(nulls), q, size, xl, id(own))
        to = known.get(key)
        to = to or runner.edit_guidance(one.prompt, negative, g, nulls, q, size, xl, own)
        known[key] = to
        facts = find_facts(source, runner.models.origin, to, g, negative, xl)
        every = check_guidance_every(one.guidance_every)
        warn_unrecorded(source, every)
        steps = plan(weights, source.grid, facts, every)
        table = weights.change(lambda w: w.to(runner.device, runner.wide))  # once, not in each step
        tasks.append(EditTask(source.grid, to, source.path, table, steps))
    return tasks


def start_edits(
    runner: ModelRunner, requests: Iterable[Request], max_rows: int, deadline: float | None
) -> EditSteps:
    """The loop over the steps of these edits; it ends early enough to decode by the deadline."""
    end = time.monotonic() + (math.inf if deadline is None else check.deadline(deadline))
    check.max_rows(max_rows)
    located = locate_all(runner, requests)

    def stop(progress: Progress) -> bool:
        decoding = sum(runner.decode_seconds.get(one.x.shape, 0.0) for one in progress.states)
        return time.monotonic() + decoding >= end

    tasks = build_tasks(runner, located)
    pairs = zip(located, tasks, strict=True)
    uses = [LayersUse(request.layers, mask_of(request), task) for request, task in pairs]
    build, origin = runner.engine.windowed, runner.models.origin
    unet = choose_denoiser(runner.unet, build, uses, origin, max_rows)
    return run_edits(
        unet, located, tasks, runner.v_prediction, max_rows, runner.engine.single_step, stop
    )


def finish_edit(runner: ModelRunner, state: EditState, image: Image.Image | None = None) -> Edit:
    """The edit in this state; if it is not finished, the picture that it heads for.

    image is the decoded x0 of the state, if the caller has it.
    """
    request, task, latent = state.request, state.task, state.x0.clone()
    done = tuple(one for one in task.plan.segments if one.stop <= state.step)
    image, mask = image or runner.decode(state.x0), mask_of(request)
    weights = weights_of(request, runner.models.defaults)  # not in the dtype of the device
    return Edit(
        image, picture_of(request, image), mask and mask.pixels, latent,
        format_prompt(request.prompt), variant_of(request), weights,
        runner.guidance_scale(guidance_of(request)),
        runner.is_truncated(request.prompt, xl_of(request).prompt_2),
        cost_of(request, Plan(state.step, done)), task.plan, state.finished, xl_of(request),
        request.layers and request.layers.plan,
    )  # fmt: skip

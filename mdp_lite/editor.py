"""The public face: load a model, make or invert a source, edit it as often as you like."""

import math
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mdp_lite import check, images
from mdp_lite.codec import Codec
from mdp_lite.invert import METHODS, invert, replay
from mdp_lite.load import AddOns, Choices, Hub, Models, Place, load
from mdp_lite.mdp import Step
from mdp_lite.plan import Plan, plan
from mdp_lite.preview import fit_preview, preview
from mdp_lite.requests import (
    Prompt,
    Request,
    guidance_of,
    known,
    named,
    negative_of,
    weights_of,
)
from mdp_lite.results import Cost, Edit, Source
from mdp_lite.run import Task
from mdp_lite.sample import Conditions, Path, record, walk
from mdp_lite.schedule import Grid, Weights
from mdp_lite.steps import Standing, Steps, until, walked

OnStep = Callable[[int, int, Tensor], None]  # steps done, steps in all, latent (b, 4, y, x)


class Editor:
    """A loaded model; it never changes, so that any number of threads may edit at once."""

    def __init__(self, models: Models, device: torch.device) -> None:
        self.models, self.device = models, device
        self.codec = Codec(models, device)
        self.v = models.scheduler.prediction_type == "v_prediction"

    @classmethod
    def from_pretrained(
        cls,
        name: Place = "tiny",
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "auto",
        variant: str | None = None,
        prediction_type: str | None = None,
        ema: bool = False,
        tokenizer: Place | None = None,
        vae: Place | None = None,
        loras: Iterable[Place | tuple[Place, float]] = (),
        embeddings: Iterable[Place | tuple[Place, str]] = (),
        revision: str | None = None,
        token: str | None = None,
        local_files_only: bool = False,
    ) -> "Editor":
        """Load the bundled "tiny", a folder, a .safetensors file or a hub id.

        It goes on a GPU if there is one, in the checkpoint's own dtype if the device is good at it.
        variant, prediction_type, ema and tokenizer are load.Choices; vae, loras (each alone or with
        its strength) and embeddings (with its word) are put on top; the last three are for the hub.
        """
        check.load_choices(variant, prediction_type, revision, token)
        choices = Choices(
            variant, ema, prediction_type, tokenizer, Hub(revision, token, local_files_only)
        )
        addons = AddOns(vae, check.loras(loras), check.embeddings(embeddings))
        where = check.device(device)
        return cls(load(name, where, check.dtype(dtype), choices, addons), where)

    def generate(
        self,
        prompt: str,
        seed: int = 0,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
        width: int | None = None,
        height: int | None = None,
        on_step: OnStep | None = None,
    ) -> Source:
        """The synthetic case: path A sampled from a prompt and a seed."""
        check.text("prompt", prompt)
        grid, (width, height) = (
            self.codec.grid(num_inference_steps),
            self.codec.sides(width, height),
        )
        g = self.codec.guidance(guidance_scale)
        to = self.codec.conditions(prompt, negative_prompt, g)
        x = self.codec.noise(check.seed(seed), width, height)
        path = self._sample(grid, x, to, on_step)
        n, image = len(grid.t), self.codec.picture(path.x[-1])
        cost = Cost(n * to.rows, n)
        cut = self.codec.truncated(prompt)
        return Source(
            path, grid, prompt, negative_prompt, g, image, None, seed, "generate", cut, cost
        )

    def invert(
        self,
        image: Image.Image,
        prompt: str = "",
        method: str = "replay",
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
        width: int | None = None,
        height: int | None = None,
        on_step: OnStep | None = None,
    ) -> Source:
        """The real case: path A found by inverting a picture described by a prompt.

        "replay" keeps the inversion's own noise: path A ends at the picture's latent exactly, at
        one UNet row a step. "ddim" samples anew from the noise that was found, with guidance: it
        costs three rows a step and drifts from the picture.
        """
        check.text("prompt", prompt)
        check.one_of("method", method, METHODS)
        grid, (width, height) = (
            self.codec.grid(num_inference_steps),
            self.codec.sides(width, height),
        )
        fitted = images.fit(check.picture(image), width, height)
        again = method == "ddim"
        g = self.codec.guidance(guidance_scale if again or guidance_scale is not None else 1.0)
        to = self.codec.conditions(prompt, negative_prompt, g)
        under = to if not again else Conditions(to.c, None, torch.ones_like(to.g))
        n, latent = len(grid.t), self.codec.latent(fitted)
        total = 2 * n if again else n
        steps = _watch(invert(self.models.unet, grid, latent, under, self.v), total, 0, on_step)
        path = replay(latent, steps, to.c)
        rows = n * under.rows
        if again:
            path = self._sample(grid, path.x[0], to, on_step, done=n)
            rows += n * to.rows
        return Source(
            path, grid, prompt, negative_prompt, g, self.codec.picture(path.x[-1]), fitted, None,
            method, self.codec.truncated(prompt), Cost(rows, total),
        )  # fmt: skip

    def edit(
        self,
        source: Source,
        prompt: Prompt,
        variant: str | None = None,
        t_max: float | None = None,
        t_m: float | None = None,
        schedule: str | None = None,
        strength: float | None = None,
        weights: Weights | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        mask: Tensor | None = None,
        on_step: OnStep | None = None,
        deadline: float | None = None,
    ) -> Edit:
        """Steer the source towards a prompt, or towards a blend of prompts with their shares.

        The source's share is w on the rows [N - t_max, N - t_max + t_m) of the variant's quantity
        ("epsilon", the default, "c", "x" or "beta"); strength in 0..1 goes from the source to the
        prompt alone; or weights gives the whole table of N rows. mask (y, x) confines the edit.
        deadline is in seconds: when they are over, the picture is the best so far.
        """
        request = Request(
            source, prompt, variant, t_max, t_m, schedule, strength, weights, guidance_scale,
            negative_prompt, mask,
        )  # fmt: skip
        return self.edits([request], on_step=on_step, deadline=deadline)[0]

    def edits(
        self,
        requests: Iterable[Request],
        most: int = 0,
        on_step: OnStep | None = None,
        deadline: float | None = None,
    ) -> list[Edit]:
        """Several edits at once, of one source or of many; what they have in common is done once.

        most is how many UNet rows may go into one call: on a GPU that is faster. With 0 every step
        is a call of its own, and an edit has the bits that it has alone.
        """
        at: tuple[Standing, ...] = ()
        for done, total, moved, at in self.steps(requests, most, deadline):
            if on_step:
                on_step(done, total, at[moved[-1]].x)
        return [self.result(one) for one in at]

    def steps(
        self, requests: Iterable[Request], most: int = 0, deadline: float | None = None
    ) -> Steps:
        """The same edits as a loop that yields where they are after every step.

        result and preview show any of them. Leaving the loop cancels; what it held is freed. It
        ends by itself at the deadline, in seconds from now, by the last step begun before it; the
        time to decode all pictures is kept back once this editor has decoded one of their size.
        """
        end = time.monotonic() + (math.inf if deadline is None else check.deadline(deadline))
        asked = list(requests)
        steps = walked(self.models.unet, asked, self.tasks(asked), self.v, most)
        return until(end, steps, lambda one: sum(self.codec.seconds(at.x) for at in one.at))

    def preview(self, at: Standing) -> Image.Image:
        """A cheap look at what an edit heads for: blurred, without a call of a model.

        The first preview calls the VAE once, to fit a map from latents to colours.
        """
        return preview(self._colours, at.x0, self.codec.factor)

    def plan(self, request: Request) -> Plan:
        """What an edit will compute, before it does."""
        return self.tasks([request])[0].plan

    def tasks(self, requests: Iterable[Request]) -> list[Task]:
        """What edits come down to: tables, conditions and plans; equal conditions are made once."""
        made: dict[tuple[Any, ...], Conditions] = {}
        tasks = []
        for one in requests:
            source = check.source(one.source, self.models)
            weights = weights_of(one, self.models.defaults)
            g, negative = self.codec.guidance(guidance_of(one)), negative_of(one)
            key = (tuple(check.blend(one.prompt)), negative, g)
            to = made[key] = made.get(key) or self.codec.conditions(one.prompt, negative, g)
            steps = plan(weights, source.grid, known(source, to, g, negative))
            tasks.append(Task(source.grid, to, source.path, weights, steps))
        return tasks

    def _sample(
        self, grid: Grid, x: Tensor, to: Conditions, on_step: OnStep | None, done: int = 0
    ) -> Path:
        steps = walk(self.models.unet, grid, x, to, v=self.v)
        return record(x, _watch(steps, done + len(grid.t), done, on_step), to.c)

    def result(self, at: Standing) -> Edit:
        """The edit as it stands, decoded: done, or else what it heads for and what that cost."""
        asked, task = at.asked, at.task
        taken = [leg for leg in task.plan.legs if leg.stop <= at.row]
        so_far = Plan(at.row, tuple(taken))
        cost = Cost(so_far.unet_rows, so_far.unet_calls)
        variant = "table" if asked.weights is not None else asked.variant or "epsilon"
        latent = at.x0
        return Edit(
            self.codec.picture(latent), latent, named(asked.prompt), variant, task.weights,
            self.codec.guidance(guidance_of(asked)), self.codec.truncated(asked.prompt), cost,
            task.plan, at.finished,
        )  # fmt: skip

    @cached_property
    def _colours(self) -> Tensor:
        return fit_preview(self.models.vae)


@torch.no_grad()
def _watch(steps: Iterable[Step], total: int, done: int, on_step: OnStep | None) -> list[Step]:
    """All steps of a path, telling on_step after each."""
    taken = []
    for i, one in enumerate(steps, done + 1):
        taken.append(one)
        if on_step:
            on_step(i, total, one.x)
    return taken

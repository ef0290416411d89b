"""The public face: load a model, make or invert a source, edit it as often as you like."""

import math
import time
from collections.abc import Iterable
from pathlib import Path as FilePath
from typing import Any

import torch
from PIL import Image

from mdp_lite.checkpoint.load import AddOns, Choices, Hub, Models, Place, load
from mdp_lite.engine.engine import chosen
from mdp_lite.method.execute import Task
from mdp_lite.method.plan import Plan, plan
from mdp_lite.method.sample import Conditions
from mdp_lite.method.schedule import Weights
from mdp_lite.pictures import images
from mdp_lite.pipeline import check
from mdp_lite.pipeline.inversion_methods import METHOD, Inversion
from mdp_lite.pipeline.masks import Where
from mdp_lite.pipeline.preview import preview
from mdp_lite.pipeline.progress import Standing, Steps, until, walked
from mdp_lite.pipeline.request import (
    Prompt,
    Request,
    cost_of,
    guidance_of,
    known,
    located,
    mask_of,
    named,
    negative_of,
    nulls_of,
    picture_of,
    variant_of,
    weights_of,
)
from mdp_lite.pipeline.result import Edit, Source
from mdp_lite.pipeline.runner import Codec
from mdp_lite.pipeline.sources import OnStep, OnTuned, generated, inverted
from mdp_lite.pipeline.sweep import Sweep, Window, cells, sweep
from mdp_lite.store import source_file as sources
from mdp_lite.store.cache import Cache, kept, open_cache


class Editor:
    """A loaded model; it never changes, so that any number of threads may edit at once."""

    def __init__(
        self, models: Models, device: torch.device, cache: Cache | None = None,
        engine: str = "auto", packages: FilePath | None = None,
    ) -> None:  # fmt: skip
        self.models, self.device, self.cache = models, device, cache
        self.codec = Codec(models, device, engine, packages)

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
        cache: str | FilePath | Cache | None = None,
        engine: str = "auto",
        packages: str | FilePath | None = None,
    ) -> "Editor":
        """Load the bundled "tiny", a folder, a .safetensors file or a hub id.

        It goes on a GPU if there is one, in the checkpoint's own dtype if the device is good at it.
        variant, prediction_type, ema and tokenizer are load.Choices; vae, loras (each alone or with
        its strength) and embeddings (with its word) are put on top; the next three are for the hub.
        cache is a folder that keeps sources. engine is how the UNet is run: "eager", "compile"
        (minutes once, then faster), "graph" (CUDA), or "aot" by packages of mdp-lite compile.
        """
        check.load_choices(variant, prediction_type, revision, token)
        choices = Choices(
            variant, ema, prediction_type, tokenizer, Hub(revision, token, local_files_only)
        )
        addons = AddOns(vae, check.loras(loras), check.embeddings(embeddings))
        where, shelf = check.device(device), open_cache(cache)
        ahead = None if packages is None else FilePath(packages)
        mode = chosen(engine, where, ahead is not None)
        models = load(name, where, check.dtype(dtype), choices, addons)
        return cls(models, where, shelf, mode, ahead)

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
        asked = (prompt, seed, num_inference_steps, guidance_scale, negative_prompt, width, height)
        make = lambda _: [generated(self.codec, *asked, on_step)]  # noqa: E731
        return kept(self.cache, self.codec, [asked], [None], make)[0]

    def invert(
        self,
        image: Image.Image,
        prompt: str = "",
        method: str | Inversion = METHOD,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
        width: int | None = None,
        height: int | None = None,
        fit: str = "crop",
        on_step: OnStep | None = None,
        on_tuned: OnTuned | None = None,
    ) -> Source:
        """The real case: path A found by inverting a picture described by a prompt.

        "edit-friendly" puts the picture under a noise of its own at every step, joined by DDPM's
        noise maps; "replay" keeps the noise of a DDIM inversion, at one UNet row a step, as
        "fixed-point" does with a noise nearer to what sampling would predict: these three end at
        the picture's latent exactly. "ddim" samples anew from what was found, with guidance, and
        drifts; "negative-prompt" does with the prompt as the negative one; "null-text" tunes the
        null row of every step until it does not. "direct" takes the noise that guidance predicts
        along the inversion. Inversion holds a method's settings.
        fit brings the picture to width and height: "crop", "pad" or "resize"; "own" keeps its own
        size, padded to whole latent cells.
        """
        settings = (num_inference_steps, guidance_scale, negative_prompt, width, height, fit)
        return self.inverts([image], [prompt], method, *settings, on_step, on_tuned)[0]

    def inverts(
        self,
        images_: Iterable[Image.Image],
        prompts: Iterable[str],
        method: str | Inversion = METHOD,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
        width: int | None = None,
        height: int | None = None,
        fit: str = "crop",
        on_step: OnStep | None = None,
        on_tuned: OnTuned | None = None,
    ) -> list[Source]:
        """Several pictures at once, each with its prompt, fitted to one size: see invert."""
        pictures = [images.rgb(check.picture(one)) for one in check.several("images", images_)]
        listed = check.as_many("prompts", prompts, len(pictures))
        settings = (num_inference_steps, guidance_scale, negative_prompt, width, height, fit)
        asked = [(prompt, method, *settings) for prompt in listed]

        def make(left: list[int]) -> list[Source]:
            some, texts = [pictures[i] for i in left], [listed[i] for i in left]
            return inverted(self.codec, some, texts, method, *settings, on_step, on_tuned)

        return kept(self.cache, self.codec, asked, pictures, make)

    def save_source(self, source: Source, path: str | FilePath) -> None:
        """Write a source as one .safetensors file, which an editor of the same model reads."""
        sources.save(source, path)

    def load_source(self, path: str | FilePath) -> Source:
        """A saved source, bit for bit; of another model, grid or precision it is a ValueError."""
        return sources.load(path, self.codec)

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
        mask: Where | None = None,
        paste: bool = True,
        feather: int = 0,
        proximal: float | None = None,
        on_step: OnStep | None = None,
        deadline: float | None = None,
    ) -> Edit:
        """Steer the source towards a prompt, or towards a blend of prompts with their shares.

        The source's share is w on the rows [N - t_max, N - t_max + t_m) of the variant's quantity
        ("epsilon", "c", "x" or "beta"); strength in 0..1 goes from the source to the
        prompt alone; or weights gives the whole table of N rows. mask confines the edit to where a
        picture is white, to a box, to latent cells, or to what "auto" finds; with paste all pixels
        outside stay those of the source's picture. Request has the details.
        deadline is in seconds: when they are over, the picture is the best so far.
        """
        request = Request(
            source, prompt, variant, t_max, t_m, schedule, strength, weights, guidance_scale,
            negative_prompt, mask, paste, feather, proximal,
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
        codec, asked = self.codec, list(map(self._located, requests))
        steps = walked(codec.unet, asked, self.tasks(asked), codec.v, most, codec.engine.alone)
        return until(end, steps, lambda one: sum(codec.seconds(at.x) for at in one.at))

    def sweep(
        self,
        sources: Source | Iterable[Source],
        prompts: str | Iterable[Prompt],
        variants: str | Iterable[str | None] | None = None,
        windows: Iterable[Window] = ((None, None),),
        schedules: str | Iterable[str | None] | None = None,
        guidance_scales: float | Iterable[float | None] | None = None,
        most: int | None = None,
        on_step: OnStep | None = None,
    ) -> Sweep:
        """All combinations as edits, what they have in common done once and the rest in batches.

        windows are (t_max, t_m); most is as in edits, by default what 2 GiB hold.
        """
        asked = cells(sources, prompts, variants, windows, schedules, guidance_scales)
        return sweep(self.codec, asked, self.tasks(asked), self.result, most, on_step)

    def preview(self, at: Standing) -> Image.Image:
        """A cheap look at what an edit heads for: blurred, without a call of a model.

        The first preview calls the VAE once, to fit a map from latents to colours.
        """
        return preview(self.codec.colours, at.x0, self.codec.factor)

    def plan(self, request: Request) -> Plan:
        """What an edit will compute, before it does."""
        return self.tasks([request])[0].plan

    def tasks(self, requests: Iterable[Request]) -> list[Task]:
        """What edits come down to: tables, conditions and plans; equal conditions are made once."""
        made: dict[tuple[Any, ...], Conditions] = {}
        tasks = []
        for one in map(self._located, requests):
            source, weights = one.source, weights_of(one, self.models.defaults)
            g, negative = self.codec.guidance(guidance_of(one)), negative_of(one)
            nulls, q = nulls_of(one), one.proximal
            q = None if q is None else check.quantile("proximal", q)
            key = (tuple(check.blend(one.prompt)), negative, g, id(nulls), q)
            to = made[key] = made.get(key) or self.codec.steered(one.prompt, negative, g, nulls, q)
            facts = known(source, self.models.origin, to, g, negative)
            steps = plan(weights, source.grid, facts)
            tasks.append(Task(source.grid, to, source.path, weights, steps))
        return tasks

    def _located(self, request: Request) -> Request:
        check.source(request.source, self.models)
        return located(request, self.codec.unet, self.codec.condition, self.codec.factor)

    def result(self, at: Standing, image: Image.Image | None = None) -> Edit:
        """The edit as it stands: done, or else what it heads for; image is its x0 if decoded."""
        asked, task = at.asked, at.task
        taken = [leg for leg in task.plan.legs if leg.stop <= at.row]
        so_far = Plan(at.row, tuple(taken))
        cost, where = cost_of(asked, so_far), mask_of(asked)
        latent, image = at.x0.clone(), image or self.codec.picture(at.x0)
        return Edit(
            image, picture_of(asked, image), where and where.pixels, latent, named(asked.prompt),
            variant_of(asked, self.models.defaults), task.weights,
            self.codec.guidance(guidance_of(asked)), self.codec.truncated(asked.prompt), cost,
            task.plan, at.finished,
        )  # fmt: skip

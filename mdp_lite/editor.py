"""The public class: load a model, make or invert a source, edit it as often as you like."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from mdp_lite.checkpoint.load import Models, Place
from mdp_lite.engine.gpu import DEFAULT, GpuSettings
from mdp_lite.method.execute import EditTask
from mdp_lite.method.plan import Plan
from mdp_lite.method.schedule import Weights
from mdp_lite.names import DEFAULT_MODEL
from mdp_lite.pictures import images
from mdp_lite.pictures.images import Picture
from mdp_lite.pipeline import check
from mdp_lite.pipeline.choices import build_choices, load_parts
from mdp_lite.pipeline.directions import add_directions
from mdp_lite.pipeline.edit import build_tasks, finish_edit, locate_all, start_edits
from mdp_lite.pipeline.generation import generate_source
from mdp_lite.pipeline.inpainting import key_of_mask, read_masks
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD, Inversion
from mdp_lite.pipeline.layers import RecordedLayers
from mdp_lite.pipeline.masks import MaskSpec
from mdp_lite.pipeline.preview import preview
from mdp_lite.pipeline.progress import EditState, EditSteps
from mdp_lite.pipeline.request import Prompt, Request
from mdp_lite.pipeline.result import Edit, Source
from mdp_lite.pipeline.runner import ModelRunner
from mdp_lite.pipeline.sources import (
    OnStep,
    OnTuned,
    invert_pictures,
    start_monitor,
)
from mdp_lite.pipeline.sweep import Sweep, Window, build_cells, check_run, run_sweep
from mdp_lite.pipeline.xl import XLCondition, read_xl
from mdp_lite.store import source_file
from mdp_lite.store.cache import Cache, get_or_create, open_cache


class Editor:
    """A loaded model that makes sources and edits them.

    Any number of threads may use one Editor at once, and each gets the results that it gets alone.
    On a CPU let one thread call the models, and let the thread that loaded them end or be that one,
    because torch keeps worker threads for every thread that has computed, and more of them than
    cores slow all down. run_batcher starts such a thread, which computes for all others.

    Errors are an MdpError; bad input is a ValueError too.

    >>> from mdp_lite import Editor
    >>> editor = Editor.from_pretrained("tiny", device="cpu")
    >>> source = editor.generate("a red house on the grass", seed=4, num_inference_steps=4)
    >>> edit = editor.edit(source, "a blue house on the grass")
    >>> edit.image.size, edit.variant
    ((64, 64), 'epsilon')
    """

    def __init__(
        self, models: Models, device: torch.device | None = None,
        cache: str | Path | Cache | None = None, engine: str = "auto",
        packages: Path | None = None, gpu: GpuSettings = DEFAULT,
    ) -> None:  # fmt: skip
        self.device, self.cache = check.device(device), open_cache(cache)
        self.runner = ModelRunner(
            check.models(models), self.device, engine, packages, check.gpu(gpu)
        )
        self.models = self.runner.models

    @classmethod
    def from_pretrained(
        cls, name: Place = DEFAULT_MODEL, device: str | torch.device | None = None,
        dtype: str | torch.dtype = "auto", variant: str | None = None,
        prediction_type: str | None = None, ema: bool = False, tokenizer: Place | None = None,
        vae: Place | None = None, loras: Iterable[Place | tuple[Place, float]] = (),
        embeddings: Iterable[Place | tuple[Place, str]] = (), revision: str | None = None,
        token: str | None = None, local_files_only: bool = False,
        cache: str | Path | Cache | None = None, engine: str = "auto",
        packages: str | Path | None = None, clip_skip: int = 0, sampler: str | None = None,
        timestep_spacing: str | None = None, gpu: GpuSettings = DEFAULT,
    ) -> "Editor":  # fmt: skip
        """Load a bundled model such as "tiny", a folder, a .safetensors file or a hub id.

        device: cpu, cuda, mps; by default a GPU if there is one. dtype: by default the checkpoint's
        if a CPU or mps computes in it, and 16 bits on cuda. variant: a folder's weight files, such
        as "fp16". prediction_type, sampler, timestep_spacing: by default what the files say. ema: a
        single file's mean UNet. tokenizer: for a single file, which holds none. vae replaces the
        checkpoint's. loras are merged, each alone or with its strength; embeddings add words.
        revision, token, local_files_only: for the hub. cache: a folder where sources are stored.
        engine: "eager", "compile", "graph" (CUDA), or "aot" with the packages of mdp-lite compile.
        clip_skip: more of the text's last layers left out. gpu: how a GPU computes, and how much of
        its memory edits may take. Raises BadCheckpoint, BadInput at once.
        """
        known = (variant, ema, prediction_type, tokenizer, clip_skip, sampler, timestep_spacing)
        choices = build_choices((revision, token, local_files_only), *known)
        addons, opened = (vae, loras, embeddings), open_cache(cache)
        parts = load_parts(name, device, dtype, choices, addons, engine, packages, gpu)
        return cls(parts.models, parts.device, opened, parts.mode, parts.packages, parts.gpu)

    def generate(
        self, prompt: str, seed: int = 0, num_inference_steps: int | None = None,
        guidance_scale: float | None = None, negative_prompt: str = "",
        width: int | None = None, height: int | None = None, on_step: OnStep | None = None,
        deadline: float | None = None, xl: XLCondition | None = None, record_noise: bool = False,
        record_direction: bool = False,
    ) -> Source:  # fmt: skip
        """A source from a prompt and a seed: path A is sampled.

        on_step(done, total, latent) is called after every step; an exception that it raises cancels
        the work. deadline is in seconds; DeadlineExceeded is raised if it passes before the end.
        xl: other prompts for a second text encoder, and sizes, which SDXL reads.
        record_noise: the same picture on a path with recorded noise, found by edit-friendly
        inversion as for a photo. It takes twice the steps, and edits of it are better. They repeat
        the picture's guidance.
        record_direction: also record e - e_null of each step, which edits with guidance_every use.
        It takes no UNet row, and half as much memory again as the path.
        """
        how = (num_inference_steps, guidance_scale, negative_prompt, width, height, read_xl(xl))
        settings = (prompt, seed, *how, record_noise, record_direction)
        monitor = start_monitor(on_step, None, deadline)
        if self.cache is None:
            return generate_source(self.runner, *settings, monitor)
        self.runner.warn_of_words(prompt)  # a stored source encodes no prompt
        create = lambda _: [generate_source(self.runner, *settings, monitor)]  # noqa: E731
        return get_or_create(self.cache, self.runner, [settings], [None], create)[0]

    def invert(
        self,
        image: Picture,
        prompt: str = "",
        method: str | Inversion = DEFAULT_METHOD,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
        width: int | None = None,
        height: int | None = None,
        fit: str = "crop",
        on_step: OnStep | None = None,
        on_tuned: OnTuned | None = None,
        deadline: float | None = None,
        mask: MaskSpec | None = None,
        xl: XLCondition | None = None,
        record_direction: bool = False,
    ) -> Source:
        """A source from your picture, which the prompt describes: path A is found by inversion.

        image: a PIL image, a path, a file's bytes, or an array (h, w, 3) of uint8. method: a name
        or an Inversion, see docs/inversions.md. fit: how the picture is brought to width and
        height: "crop", "pad" or "resize"; "own" keeps its size, padded to whole latent cells.
        guidance_scale: by default 3.5 for edit-friendly, 1 for replay and fixed-point, the model's
        for the others. on_tuned(i, step) is called after every tuned step of null-text. on_step,
        deadline and xl: see generate. mask: where its edits happen unless they have another one (as
        in Request); an inpainting model records the path with it. record_direction: see generate.
        replay, fixed-point, null-text and guidance 1 record none: see Editor.record_direction.
        """
        settings = (num_inference_steps, guidance_scale, negative_prompt, width, height, fit)
        more = (on_step, on_tuned, deadline, [mask], xl, record_direction)
        return self.inverts([image], [prompt], method, *settings, *more)[0]

    def inverts(
        self, images_: Iterable[Picture], prompts: Iterable[str],
        method: str | Inversion = DEFAULT_METHOD, num_inference_steps: int | None = None,
        guidance_scale: float | None = None, negative_prompt: str = "",
        width: int | None = None, height: int | None = None, fit: str = "crop",
        on_step: OnStep | None = None, on_tuned: OnTuned | None = None,
        deadline: float | None = None, masks: Iterable[MaskSpec | None] | None = None,
        xl: XLCondition | None = None, record_direction: bool = False,
    ) -> list[Source]:  # fmt: skip
        """Several pictures at once, each with its prompt, fitted to one size: see invert."""
        pictures = [images.rgb(check.picture(one)) for one in check.several("images", images_)]
        texts = check.as_many("prompts", prompts, len(pictures))
        settings = (num_inference_steps, guidance_scale, negative_prompt, width, height, fit)
        how, directed = (method, *settings, read_xl(xl)), record_direction
        monitor = start_monitor(on_step, on_tuned, deadline)
        given = read_masks(self.runner, pictures, masks, fit, width, height)
        if self.cache is None:
            return invert_pictures(self.runner, pictures, texts, *how, monitor, given, directed)
        for text in texts:
            self.runner.warn_of_words(text)

        def create(indices: list[int]) -> list[Source]:
            some, said = [pictures[i] for i in indices], [texts[i] for i in indices]
            own = [given[i] for i in indices]
            return invert_pictures(self.runner, some, said, *how, monitor, own, directed)

        keys = [key_of_mask(one) for one in given]
        settings = [(text, *how, *key, directed) for text, key in zip(texts, keys, strict=True)]
        sources = get_or_create(self.cache, self.runner, settings, pictures, create)
        # A stored source has the pixels of its picture, but not what was changed in it.
        return [replace(one, picture=p) for one, p in zip(sources, pictures, strict=True)]

    def record_direction(self, source: Source) -> Source:
        """The source with its directions, found by N calls of two UNet rows; its cost has them.

        For a source that recorded none, such as one of null-text or of an older file.
        """
        return add_directions(self.runner, check.source(source, self.models))

    def save_source(self, source: Source, path: str | Path) -> None:
        """Write a source as one .safetensors file, which an Editor of the same model can load."""
        source_file.save(check.some_source(source), path)

    def load_source(self, path: str | Path) -> Source:
        """A saved source, bit for bit. Raises BadInput for another model, grid or precision."""
        return source_file.load(path, self.runner)

    def edit(
        self, source: Source, prompt: Prompt, variant: str | None = None,
        t_max: float | None = None, t_m: float | None = None, schedule: str | None = None,
        strength: float | None = None, weights: Weights | None = None,
        guidance_scale: float | None = None, negative_prompt: str | None = None,
        mask: MaskSpec | None = None, paste: bool = True, feather: int = 0,
        proximal: float | None = None, on_step: OnStep | None = None,
        deadline: float | None = None, xl: XLCondition | None = None, weight: float | None = None,
        guidance_every: int = 1, layers: RecordedLayers | None = None,
    ) -> Edit:  # fmt: skip
        """Steer the source towards a prompt, or towards a blend of prompts with their shares.

        The source has a weight, 1 by default, in the variant's quantity ("epsilon", "c", "x" or
        "beta") on the steps [N - t_max, N - t_max + t_m). strength in 0..1 stands for t_m: 0 is the
        source, 1 the prompt alone. Request documents every argument. on_step(done, total, latent)
        may raise to cancel. deadline is in seconds: when it passes, the result is the best picture
        so far, and its finished is False.
        """
        request = Request(
            source, prompt, variant, t_max, t_m, schedule, strength, weights, guidance_scale,
            negative_prompt, mask, paste, feather, proximal, xl, weight, guidance_every, layers,
        )  # fmt: skip
        return self.edits([request], on_step=on_step, deadline=deadline)[0]

    def edits(
        self, requests: Iterable[Request], max_rows: int = 0, on_step: OnStep | None = None,
        deadline: float | None = None,
    ) -> list[Edit]:  # fmt: skip
        """Several edits at once, of one source or of many; their common steps are computed once.

        max_rows is how many UNet rows one call may have: more is faster on a GPU; with 0 an edit
        has exactly the bits that it has alone.
        """
        check.callback("on_step", on_step)
        states: tuple[EditState, ...] = ()
        for done, total, moved, states in self.steps(requests, max_rows, deadline):
            if on_step:
                on_step(done, total, states[moved[-1]].x)
        return [self.result(one) for one in states]

    def steps(
        self, requests: Iterable[Request], max_rows: int = 0, deadline: float | None = None
    ) -> EditSteps:
        """The same edits as a loop that yields a Progress after every step.

        result and preview show any of its states. Leaving the loop cancels the edits and frees what
        they hold. With a deadline, in seconds from now, the loop ends early enough to decode the
        pictures, once this Editor has decoded one of their size.
        """
        return start_edits(self.runner, requests, max_rows, deadline)

    def sweep(
        self,
        sources: Source | Iterable[Source],
        prompts: str | Iterable[Prompt],
        variants: str | Iterable[str | None] | None = None,
        windows: Iterable[Window] = ((None, None),),
        schedules: str | Iterable[str | None] | None = None,
        guidance_scales: float | Iterable[float | None] | None = None,
        max_rows: int | None = None,
        on_step: OnStep | None = None,
        xl: XLCondition | None = None,
        guidance_every: int = 1,
    ) -> Sweep:
        """All combinations of settings as edits, with equal work done once and the rest batched.

        windows are pairs (t_max, t_m). max_rows is as in edits, by default what fits in 2 GiB.
        guidance_every is that of every edit.
        """
        check_run(max_rows, on_step)
        axes = (variants, windows, schedules, guidance_scales)
        cells = build_cells(sources, prompts, *axes, xl, guidance_every)
        cells = locate_all(self.runner, cells)
        tasks = build_tasks(self.runner, cells)
        return run_sweep(self.runner, cells, tasks, self.result, max_rows, on_step)

    def preview(self, state: EditState) -> Image.Image:
        """A blurred picture of what an edit heads for; only an Editor's first one calls the VAE."""
        return preview(self.runner.preview_map, state.x0, self.runner.factor)

    def plan(self, request: Request) -> Plan:
        """What an edit will compute, before it does."""
        return self.tasks([request])[0].plan

    def tasks(self, requests: Iterable[Request]) -> list[EditTask]:
        """The tables, guidance and plans of edits; equal guidance is computed once."""
        return build_tasks(self.runner, locate_all(self.runner, requests))

    def result(self, state: EditState, image: Image.Image | None = None) -> Edit:
        """The edit in this state; image is the decoded x0 of the state, if you have it."""
        return finish_edit(self.runner, state, image)

"""Running a loaded model: prompts to conditions, seeds to noise, pictures to latents and back."""

import time
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from mdp_lite.checkpoint.identity import model_hash
from mdp_lite.checkpoint.models import Models
from mdp_lite.checkpoint.vocabulary import describe_unknown, find_unknown
from mdp_lite.engine import aot, fusing
from mdp_lite.engine.devices import wide_dtype
from mdp_lite.engine.engine import build_engine
from mdp_lite.engine.gpu import DEFAULT, GpuSettings
from mdp_lite.method.mdp import Denoiser, Guidance
from mdp_lite.method.samplers import build_grid
from mdp_lite.method.schedule import Grid
from mdp_lite.models.condition import add_guidance, pack, unpack
from mdp_lite.models.transformer import Attend
from mdp_lite.names import FITS, BadInput, NotFinite
from mdp_lite.pictures import images
from mdp_lite.pictures.fit import Fit, plan_fit
from mdp_lite.pipeline import check
from mdp_lite.pipeline.blank import Blanks
from mdp_lite.pipeline.finite import FiniteUNet, dtype_of, is_finite, run_finite
from mdp_lite.pipeline.gpu_models import prepare_models
from mdp_lite.pipeline.noise import draw, draw_unit
from mdp_lite.pipeline.preview import fit_preview
from mdp_lite.pipeline.request import Prompt
from mdp_lite.pipeline.vae_calls import VAECaller
from mdp_lite.pipeline.warn import describe_cut, warn_reach, warn_words
from mdp_lite.pipeline.xl import PLAIN, XLCondition, check_reads, has_one_row

NO_NULL = "a model that reads the guidance scale (LCM) has no negative prompt"


class ModelRunner:
    """Runs the parts of a loaded model. Its results depend on nothing that changes.

    It does remember how long decoding took, which deadlines need. Any number of threads may use it.
    """

    def __init__(
        self, models: Models, device: torch.device, mode: str = "auto",
        packages: Path | None = None, gpu: GpuSettings = DEFAULT,
    ) -> None:  # fmt: skip
        self.models = models = prepare_models(models, device, gpu)
        self.device, self.gpu = device, gpu
        self.wide = wide_dtype(device)  # of latents, noise and grids, from here on
        open_packages = packages and partial(self._open_packages, packages)
        self.engine = build_engine(models.unet, mode, device, open_packages, gpu.fused)
        self.unet: Denoiser = FiniteUNet(self.engine.denoise, models.unet)
        self.vae = VAECaller(models, self.engine, device, gpu)
        self.v_prediction = models.scheduler.prediction_type == "v_prediction"
        self.factor = models.vae.config.factor
        y, x = models.unet.config.latent_size
        self.size = (x * self.factor, y * self.factor)
        self.decode_seconds: dict[torch.Size, float] = {}  # of the last latent of each shape
        self.blanks = Blanks(device)

    def _open_packages(self, packages: Path, attend: Attend) -> Denoiser:
        """The UNet as the packages of this model have it compiled."""
        origin = model_hash(self.models.origin, packages)
        return aot.open_packages(packages, self.models.unet, self.device, attend, origin)

    def grid(self, num_inference_steps: int | None) -> Grid:
        """The sampler's grid of so many steps (by default the model's), on this device."""
        n = num_inference_steps
        n = self.models.defaults.num_inference_steps if n is None else n
        grid = build_grid(self.models.scheduler, n)
        warn_reach(self.models.scheduler, n)
        return grid.to(self.device, self.wide)

    def draw(self, seed: int, width: int, height: int, grid: Grid) -> tuple[Tensor, Tensor | None]:
        """Where a path over the grid starts (1, 4, y, x), and what its steps add, or None."""
        return draw(self.models.scheduler, grid, seed, self._latent_shape(width, height))

    def noise(self, seed: int, width: int, height: int) -> Tensor:
        """Unit noise (1, 4, y, x) of a seed, drawn on the CPU in float32: equal on every device."""
        unit = draw_unit(torch.Generator().manual_seed(seed), self._latent_shape(width, height))
        return unit.to(self.device, self.wide)

    def _latent_shape(self, width: int, height: int) -> tuple[int, ...]:
        channels = self.models.vae.config.latent_channels
        return 1, channels, height // self.factor, width // self.factor

    @torch.no_grad()
    def condition(
        self, prompt: Prompt, size: tuple[int, int] | None = None, xl: XLCondition = PLAIN,
        g: float | None = None,
    ) -> Tensor:  # fmt: skip
        """c (1, l, d) of a prompt, or the weighted mean of a blend; tokens beyond l are cut.

        size is the picture's width and height in pixels (by default the model's); SDXL reads it,
        and the prompt_2 and the sizes of xl. LCMs read the guidance scale g (by default the
        model's).
        """
        c = self._encode_prompt(prompt, xl.prompt_2 or "")
        c = self._add_sizes(c, xl.list_sizes(size or self.size))
        if not self.embeds_guidance:
            return c
        return add_guidance(c, self.models.unet.config.pooled_dim, self.guidance_scale(g))

    def _encode_prompt(self, prompt: Prompt, second: str) -> Tensor:
        """c (1, l, d) without sizes; second is for the second text encoder, if it is not empty."""
        parts = check.blend(prompt)
        self.warn_of_words(prompt)
        ids = [self.models.tokenizer.ids(text, second)[0] for text, _ in parts]
        c = self._encode_text(torch.tensor(ids, device=self.device))
        if len(parts) > 1:
            shares = torch.tensor([share for _, share in parts], device=self.device).to(c)
            c = torch.einsum("b,bld->ld", shares / shares.sum(), c)[None]
        return c

    @property
    def embeds_guidance(self) -> bool:
        """Whether the UNet reads the guidance scale, as LCMs do: then there is no null row."""
        return self.models.unet.config.time_cond_proj_dim is not None

    def _add_sizes(self, c: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """c with the six sizes, if the UNet reads them."""
        dim = self.models.unet.config.pooled_dim
        if not dim:
            return c
        states, pooled, _ = unpack(c, dim)
        return pack(states, pooled, torch.tensor([sizes], device=c.device).expand(len(c), -1))

    def null_condition(
        self, negative_prompt: str, size: tuple[int, int] | None = None, xl: XLCondition = PLAIN
    ) -> Tensor:
        """c of a negative prompt; an empty one is all zeros in models that were trained so."""
        second = xl.negative_prompt_2 or ""
        c = self._encode_prompt(check.text("negative_prompt", negative_prompt), second)
        c = torch.zeros_like(c) if self._is_zero(negative_prompt, second) else c
        return self._add_sizes(c, xl.list_null_sizes(size or self.size))

    def _is_zero(self, *negatives: str | None) -> bool:
        return self.models.zero_empty and not any(negatives)

    def _encode_text(self, ids: Tensor) -> Tensor:
        """The text encoder's c (b, l, d) in its own dtype, computed in float32 if need be.

        What overflows in float16 lies inside the encoder: its last norm makes the numbers small.
        """
        encoder, skip = self.models.text_encoder, self.models.clip_skip
        what = "the prompt's condition"
        c = run_finite(lambda encode: encode(ids, skip), encoder, what)
        narrow = c.to(dtype_of(encoder))
        if not is_finite(narrow):
            raise NotFinite(f"{what} has values that {narrow.dtype} can't hold: want dtype float32")
        return narrow

    def is_truncated(self, prompt: Prompt, second: str | None = None) -> bool:
        """Whether a prompt, or that for the second encoder, is longer than the model can read."""
        texts = [*(text for text, _ in check.blend(prompt)), second or ""]
        return any(self.models.tokenizer.ids(text)[1] for text in texts)

    def describe_cuts(self, prompt: Prompt) -> list[str]:
        """For each text of a prompt that is too long, a sentence on where it is cut."""
        parts = [(text, self.models.tokenizer.read_part(text)) for text, _ in check.blend(prompt)]
        room = self.models.tokenizer.length - 2  # without start and end
        return [describe_cut(part, room) for text, part in parts if part != text]

    def find_unknown_words(self, prompt: Prompt) -> tuple[str, ...]:
        """Words that the model was not trained on; () if its checkpoint does not list its words."""
        vocabulary, learned = self.models.knowledge.words, self.models.tokenizer.added
        texts = [text for text, _ in check.blend(prompt)]
        return tuple(dict.fromkeys(w for t in texts for w in find_unknown(t, vocabulary, learned)))

    def describe_unknown_words(self, prompt: Prompt) -> list[str]:
        """A sentence that names them and says what to do, or none."""
        words, count = self.find_unknown_words(prompt), len(self.models.knowledge.words)
        return [describe_unknown(words, count)] if words else []

    def warn_of_words(self, prompt: Prompt) -> None:
        """Log that sentence, once in a process."""
        for sentence in self.describe_unknown_words(prompt):
            warn_words(sentence)

    def guidance(
        self, prompt: Prompt, negative_prompt: str, g: float, size: tuple[int, int] | None = None,
        xl: XLCondition = PLAIN, channels: Tensor | None = None,
    ) -> Guidance:  # fmt: skip
        """What steers a path: no null row for guidance 1, c itself for two equal prompts.

        A model that reads g has no null row either. Raises BadInput for a negative prompt there.
        """
        check.text("negative_prompt", negative_prompt)
        if self.embeds_guidance and negative_prompt:
            want = f"{NO_NULL}: negative_prompt must be empty"
            raise BadInput(f"{want}, got {negative_prompt!r}", "negative_prompt")
        if not self.models.unet.config.pooled_dim:
            check_reads(xl, prompt, negative_prompt)
        c, texts = self.condition(prompt, size, xl, g), (negative_prompt, xl.negative_prompt_2)
        same = has_one_row(xl, prompt, negative_prompt) and not self._is_zero(*texts)
        plain = g == 1 or self.embeds_guidance
        null = None if plain else c if same else self.null_condition(negative_prompt, size, xl)
        channels = self.blank_channels(size) if channels is None else channels
        return Guidance(c, null, torch.tensor(g, device=self.device), channels=channels)

    def blank_channels(self, size: tuple[int, int] | None = None) -> Tensor | None:
        """What an inpainting UNet reads to repaint a whole picture; None for another UNet."""
        return self.blanks.get(size or self.size, self.to_latent) if self.models.inpaints else None

    def edit_guidance(
        self, prompt: Prompt, negative_prompt: str, g: float, nulls: Tensor | None, q: float | None,
        size: tuple[int, int] | None = None, xl: XLCondition = PLAIN,
        channels: Tensor | None = None,
    ) -> Guidance:  # fmt: skip
        """The same for an edit, with its source's null rows (N, 1, l, d) and proximal guidance."""
        guidance = self.guidance(prompt, negative_prompt, g, size, xl, channels)
        if q is not None:
            quantile = torch.tensor(check.quantile("proximal", q), device=self.device)
            guidance = guidance._replace(q=quantile)
        if nulls is None or guidance.null is None:
            return guidance
        return guidance._replace(null=nulls.to(guidance.c.dtype))

    def latent_size(self, latent: Tensor) -> tuple[int, int]:
        """Width and height in pixels of the picture of a latent (..., y, x)."""
        height, width = (side * self.factor for side in latent.shape[-2:])
        return width, height

    @torch.no_grad()
    def encode(self, image: Image.Image) -> Tensor:
        """A picture, its sides multiples of the factor -> wide scaled latent (1, 4, y, x)."""
        self.image_size(*check.picture(image).size)
        return self.to_latent(images.to_tensor(image), "the picture's latent")

    def to_latent(self, pixels: Tensor, what: str) -> Tensor:
        """Pixels (1, 3, f y, f x) in [-1, 1] on any device -> wide scaled latent (1, 4, y, x)."""
        return self.run_vae("encode", pixels.to(self.device), what).to(self.wide)

    def decode(self, latent: Tensor) -> Image.Image:
        """Scaled latent (1, 4, y, x) -> picture. Raises NotFinite if that has NaN or infinity."""
        started = time.monotonic()
        image = self.decode_batch(latent)[0]
        self.decode_seconds[latent.shape] = time.monotonic() - started
        return image

    @torch.no_grad()
    def decode_batch(self, latents: Tensor) -> list[Image.Image]:
        """Scaled latents (b, 4, y, x) -> pictures, decoded in one call."""
        pictures = self.run_vae("decode", latents, "the decoded picture")
        if self.engine.fused and self.engine.fused.pixels:
            return images.from_bytes(fusing.to_bytes(pictures))
        return [images.to_image(picture) for picture in pictures.float().split(1)]

    def run_vae(self, name: str, x: Tensor, what: str) -> Tensor:
        """The VAE's encode or decode, as the device can hold them."""
        return self.vae.run(name, x, what)

    @cached_property
    def preview_map(self) -> Tensor:
        """The linear map from latents to colours that previews use."""
        return fit_preview(self.vae.on_device())

    def guidance_scale(self, guidance_scale: float | None) -> float:
        """The guidance scale that is asked for, or the model's."""
        default = self.models.defaults.guidance_scale
        return check.guidance(default if guidance_scale is None else guidance_scale)

    def fit(self, image: Image.Image, mode: str, width: int | None, height: int | None) -> Fit:
        """How a picture is fitted to the size asked for; "own" keeps its size, in whole cells."""
        check.one_of("fit", mode, FITS)
        if mode == "own":
            if (width, height) != (None, None):
                want = "fit own is the picture's own size: give no width or height"
                raise BadInput(want, "fit", "width", "height")
            width, height = (-(-side // self.factor) * self.factor for side in image.size)
        return plan_fit(mode, image.size, self.image_size(width, height))

    def image_size(self, width: int | None, height: int | None) -> tuple[int, int]:
        """Width and height that are asked for, or the model's, in pixels."""
        width = self.size[0] if width is None else width
        height = self.size[1] if height is None else height
        return check.side("width", width, self.factor), check.side("height", height, self.factor)


class HasRunner(Protocol):
    """An Editor, or anything else that holds a ModelRunner."""

    @property
    def runner(self) -> ModelRunner: ...


def runner_of(model: ModelRunner | HasRunner) -> ModelRunner:
    """The runner itself, or the one that an Editor holds; BadInput for anything else."""
    runner = model if isinstance(model, ModelRunner) else getattr(model, "runner", None)
    if not isinstance(runner, ModelRunner):
        raise BadInput(f"the model must be an Editor (Editor.from_pretrained), got {model!r:.80}")
    return runner

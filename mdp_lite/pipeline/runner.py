"""Running a loaded model: prompts to conditions, seeds to noise, pictures to latents and back."""

import logging
import time
from functools import cache, cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from mdp_lite.checkpoint.identity import model_hash
from mdp_lite.checkpoint.models import Models
from mdp_lite.checkpoint.vocabulary import find_unknown
from mdp_lite.engine import aot
from mdp_lite.engine.engine import build_engine
from mdp_lite.engine.memory import return_freed_memory
from mdp_lite.method.mdp import Denoiser, Guidance
from mdp_lite.method.schedule import Grid, check_reach, ddim_grid
from mdp_lite.models.condition import pack, unpack
from mdp_lite.models.config import SchedulerConfig
from mdp_lite.models.transformer import Attend
from mdp_lite.names import FITS, BadInput, NotFinite
from mdp_lite.pictures import images
from mdp_lite.pictures.fit import Fit, plan_fit
from mdp_lite.pipeline import check
from mdp_lite.pipeline.finite import FiniteUNet, dtype_of, is_finite, run_finite
from mdp_lite.pipeline.preview import fit_preview
from mdp_lite.pipeline.request import Prompt

VAE_METHODS = ("encode", "decode")
LARGE_PICTURE = 256 * 256  # pixels from which a call of the VAE takes seconds
LAST_WORDS = 5  # of a prompt that is cut, so that its reader finds the place
OTHER_MODEL = "for other words load a Stable Diffusion of your own (`mdp-lite info --list`)"
UNKNOWN_WORDS = 5  # of a prompt, that are named
log = logging.getLogger("mdp_lite")


@cache
def warn_reach(config: SchedulerConfig, n: int) -> None:
    """Log a warning, once, if a grid of n steps does not start near pure noise."""
    warning = check_reach(config, n)
    if warning:
        log.warning(warning)


@lru_cache(maxsize=256)
def warn_words(sentence: str) -> None:
    """Log a sentence on unknown words, once."""
    log.warning(sentence)


class ModelRunner:
    """Runs the parts of a loaded model. Its results depend on nothing that changes.

    It does remember how long decoding took, which deadlines need. Any number of threads may use it.
    """

    def __init__(
        self, models: Models, device: torch.device, mode: str = "auto", packages: Path | None = None
    ) -> None:
        self.models, self.device = models, device
        open_packages = packages and partial(self._open_packages, packages)
        self.engine = build_engine(models.unet, mode, device, open_packages)
        self.unet = FiniteUNet(self.engine.denoise, models.unet)
        self._vae = {name: self.engine.wrap(getattr(models.vae, name)) for name in VAE_METHODS}
        self.v_prediction = models.scheduler.prediction_type == "v_prediction"
        self.factor = models.vae.config.factor
        y, x = models.unet.config.latent_size
        self.size = (x * self.factor, y * self.factor)
        self.decode_seconds: dict[torch.Size, float] = {}  # of the last latent of each shape

    def _open_packages(self, packages: Path, attend: Attend) -> Denoiser:
        """The UNet as the packages of this model have it compiled."""
        origin = model_hash(self.models.origin, packages)
        return aot.open_packages(packages, self.models.unet, self.device, attend, origin)

    def grid(self, num_inference_steps: int | None) -> Grid:
        """The DDIM grid of so many steps (by default the model's), on this device."""
        n = num_inference_steps
        n = self.models.defaults.num_inference_steps if n is None else n
        grid = ddim_grid(self.models.scheduler, n)
        warn_reach(self.models.scheduler, n)
        return Grid(*(column.to(self.device) for column in grid))

    def noise(self, seed: int, width: int, height: int) -> Tensor:
        """The noise x_0 (1, 4, y, x) of a seed, drawn on the CPU in float32: equal on every device.

        Latents are float64 from here on. They are small, and the path from noise to a clean latent
        multiplies a rounding error by 1 / sqrt(abar_0), 13 times at 50 steps of SD 1.x.
        """
        channels = self.models.vae.config.latent_channels
        shape = (1, channels, height // self.factor, width // self.factor)
        x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        return x.to(self.device, torch.float64)

    @torch.no_grad()
    def condition(self, prompt: Prompt, size: tuple[int, int] | None = None) -> Tensor:
        """c (1, l, d) of a prompt, or the weighted mean of a blend; tokens beyond l are cut.

        size is the picture's width and height in pixels (by default the model's); SDXL reads it.
        """
        parts = check.blend(prompt)
        self.warn_of_words(prompt)
        ids = [self.models.tokenizer.ids(text)[0] for text, _ in parts]
        c = self._encode_text(torch.tensor(ids, device=self.device))
        if len(parts) > 1:
            shares = torch.tensor([share for _, share in parts], device=self.device).to(c)
            c = torch.einsum("b,bld->ld", shares / shares.sum(), c)[None]
        return self._add_sizes(c, size)

    def _add_sizes(self, c: Tensor, size: tuple[int, int] | None) -> Tensor:
        """c with the sizes of a picture neither resized nor cropped, if the UNet reads them."""
        dim, (width, height) = self.models.unet.config.pooled_dim, size or self.size
        if not dim:
            return c
        states, pooled, _ = unpack(c, dim)
        sizes = torch.tensor([[height, width, 0, 0, height, width]], device=c.device)
        return pack(states, pooled, sizes.expand(len(c), -1))

    def null_condition(self, negative_prompt: str, size: tuple[int, int] | None = None) -> Tensor:
        """c of a negative prompt; an empty one is all zeros in models that were trained so."""
        check.text("negative_prompt", negative_prompt)
        if not self._is_zero(negative_prompt):
            return self.condition(negative_prompt, size)
        return self._add_sizes(torch.zeros_like(self.condition("", size)), size)

    def _is_zero(self, negative_prompt: str) -> bool:
        return self.models.zero_empty and not negative_prompt

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

    def is_truncated(self, prompt: Prompt) -> bool:
        """Whether a prompt is longer than the model can read."""
        return any(self.models.tokenizer.ids(text)[1] for text, _ in check.blend(prompt))

    def describe_cuts(self, prompt: Prompt) -> list[str]:
        """For each text of a prompt that is too long, a sentence on where it is cut."""
        tokenizer, sentences = self.models.tokenizer, []
        for text, _ in check.blend(prompt):
            part = tokenizer.read_part(text)
            if part != text:
                words = " ".join(part.split()[-LAST_WORDS:])
                room = tokenizer.length - 2  # without start and end
                sentences.append(f'only {room} tokens of a prompt are read: it ends at "{words}"')
        return sentences

    def find_unknown_words(self, prompt: Prompt) -> tuple[str, ...]:
        """Words that the model was not trained on; () if its checkpoint does not list its words."""
        vocabulary, learned = self.models.vocabulary, self.models.tokenizer.added
        texts = [text for text, _ in check.blend(prompt)]
        return tuple(dict.fromkeys(w for t in texts for w in find_unknown(t, vocabulary, learned)))

    def describe_unknown_words(self, prompt: Prompt) -> list[str]:
        """A sentence that names them and says what to do, or none."""
        words = self.find_unknown_words(prompt)
        if not words:
            return []
        names = ", ".join(f'"{word:.40}"' for word in words[:UNKNOWN_WORDS])
        names += f" and {more} more" if (more := len(words) - UNKNOWN_WORDS) > 0 else ""
        count = len(self.models.vocabulary)
        sentence = f"the model was trained on {count} words, not on {names}: {OTHER_MODEL}"
        return [sentence]

    def warn_of_words(self, prompt: Prompt) -> None:
        """Log that sentence, once in a process."""
        for sentence in self.describe_unknown_words(prompt):
            warn_words(sentence)

    def guidance(
        self, prompt: Prompt, negative_prompt: str, g: float, size: tuple[int, int] | None = None
    ) -> Guidance:
        """What steers a path: no null row for guidance 1, c itself for two equal prompts."""
        check.text("negative_prompt", negative_prompt)
        c = self.condition(prompt, size)
        same = prompt == negative_prompt and not self._is_zero(negative_prompt)
        null = None if g == 1 else c if same else self.null_condition(negative_prompt, size)
        return Guidance(c, null, torch.tensor(g, device=self.device))

    def edit_guidance(
        self, prompt: Prompt, negative_prompt: str, g: float, nulls: Tensor | None, q: float | None,
        size: tuple[int, int] | None = None,
    ) -> Guidance:  # fmt: skip
        """The same for an edit, with its source's null rows (N, 1, l, d) and proximal guidance."""
        guidance = self.guidance(prompt, negative_prompt, g, size)
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
        """A picture, its sides multiples of the factor -> scaled latent (1, 4, y, x) in float64."""
        self.image_size(*check.picture(image).size)
        pixels = images.to_tensor(image).to(self.device)
        return self.run_vae("encode", pixels, "the picture's latent").double()

    def decode(self, latent: Tensor) -> Image.Image:
        """Scaled latent (1, 4, y, x) -> picture. Raises NotFinite if that has NaN or infinity."""
        started = time.monotonic()
        image = self.decode_batch(latent)[0]
        self.decode_seconds[latent.shape] = time.monotonic() - started
        return image

    @torch.no_grad()
    def decode_batch(self, latents: Tensor) -> list[Image.Image]:
        """Scaled latents (b, 4, y, x) -> pictures, decoded in one call."""
        pictures = self.run_vae("decode", latents, "the decoded picture").float()
        return [images.to_image(picture) for picture in pictures.split(1)]

    def run_vae(self, name: str, x: Tensor, what: str) -> Tensor:
        """The VAE's encode or decode; single pictures go through the engine, which knows shapes."""
        scale = self.factor**2 if name == "decode" else 1
        if x.device.type == "cpu" and x.shape[-2] * x.shape[-1] * scale >= LARGE_PICTURE:
            return_freed_memory()

        def run(vae: Any) -> Tensor:
            single = len(x) == 1 and vae is self.models.vae
            call = self._vae[name] if single else getattr(vae, name)
            return call(x.to(dtype_of(vae)))

        return run_finite(run, self.models.vae, what)

    @cached_property
    def preview_map(self) -> Tensor:
        """The linear map from latents to colours that previews use."""
        return fit_preview(self.models.vae)

    def expected_decode_seconds(self, latent: Tensor) -> float:
        """How long decoding a latent of this shape took the last time; 0 if none was decoded."""
        return self.decode_seconds.get(latent.shape, 0.0)

    def guidance_scale(self, guidance_scale: float | None) -> float:
        """The guidance scale that is asked for, or the model's."""
        default = self.models.defaults.guidance_scale
        return check.guidance(default if guidance_scale is None else guidance_scale)

    def fit(self, image: Image.Image, mode: str, width: int | None, height: int | None) -> Fit:
        """How a picture is fitted to the size asked for; "own" keeps its size, in whole cells."""
        check.one_of("fit", mode, FITS)
        if mode == "own":
            if (width, height) != (None, None):
                raise BadInput("fit own is the picture's own size: give no width or height")
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

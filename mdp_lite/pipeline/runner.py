"""Between people and the model: prompts to conditions, seeds to noise, pictures to latents."""

import time
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from mdp_lite.checkpoint.identity import model_hash
from mdp_lite.checkpoint.load import Models
from mdp_lite.engine import aot
from mdp_lite.engine.engine import engine
from mdp_lite.method.mdp import Denoiser
from mdp_lite.method.sample import Conditions
from mdp_lite.method.schedule import Grid, ddim_grid
from mdp_lite.models.transformer import Attend
from mdp_lite.pictures import images
from mdp_lite.pictures.fit import FITS, Frame, frame
from mdp_lite.pipeline import check
from mdp_lite.pipeline.finite import dtype_of, finite, guarded
from mdp_lite.pipeline.preview import fit_preview
from mdp_lite.pipeline.request import Prompt

VAE_CALLS = ("encode", "decode")


class Codec:
    """What a loaded model reads and writes; it never changes, but learns how long it decodes."""

    def __init__(
        self, models: Models, device: torch.device, mode: str = "auto", packages: Path | None = None
    ) -> None:
        self.models, self.device = models, device
        self.engine = engine(models.unet, mode, device, packages and partial(self._ahead, packages))
        self.unet = guarded(self.engine.denoise, models.unet)
        self._wrapped = {name: self.engine.wrap(getattr(models.vae, name)) for name in VAE_CALLS}
        self.v = models.scheduler.prediction_type == "v_prediction"
        self.factor = models.vae.config.factor
        side = (models.unet.config.sample_size or 64) * self.factor
        self.size = (side, side)
        self.took: dict[torch.Size, float] = {}  # seconds, to decode a latent of a shape

    def _ahead(self, packages: Path, attend: Attend) -> Denoiser:
        """The UNet as packages of this model have it compiled."""
        origin = model_hash(self.models.origin, packages)
        return aot.opened(packages, self.models.unet, self.device, attend, origin)

    def grid(self, num_inference_steps: int | None) -> Grid:
        """The DDIM grid of so many steps (by default the model's) on this device."""
        n = num_inference_steps
        n = self.models.defaults.num_inference_steps if n is None else n
        return Grid(*(column.to(self.device) for column in ddim_grid(self.models.scheduler, n)))

    def noise(self, seed: int, width: int, height: int) -> Tensor:
        """x_0 (1, 4, y, x) of a seed: drawn on the CPU in float32, so equal on every device.

        Latents are float64 from here on: they are small, and the way from noise to a clean latent
        magnifies a rounding error by 1 / sqrt(abar_0): 13 times at 50 steps of SD 1.x.
        """
        channels = self.models.vae.config.latent_channels
        shape = (1, channels, height // self.factor, width // self.factor)
        x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        return x.to(self.device, torch.float64)

    @torch.no_grad()
    def condition(self, prompt: Prompt) -> Tensor:
        """c (1, l, d) of a prompt, or the weighted mean of a blend's.

        Tokens past the model's longest prompt are left out.
        """
        parts = check.blend(prompt)
        ids = [self.models.tokenizer.ids(text)[0] for text, _ in parts]
        c = self.models.text_encoder(torch.tensor(ids, device=self.device))
        if len(parts) == 1:
            return c
        shares = torch.tensor([share for _, share in parts], device=self.device).to(c)
        return torch.einsum("b,bld->ld", shares / shares.sum(), c)[None]

    def truncated(self, prompt: Prompt) -> bool:
        """Whether a prompt is longer than the model can read."""
        return any(self.models.tokenizer.ids(text)[1] for text, _ in check.blend(prompt))

    def conditions(self, prompt: Prompt, negative_prompt: str, g: float) -> Conditions:
        """What a path is steered by; guidance 1 needs no null row, and one equal to c is c."""
        check.text("negative_prompt", negative_prompt)
        c, one = self.condition(prompt), prompt == negative_prompt
        null = None if g == 1 else c if one else self.condition(negative_prompt)
        return Conditions(c, null, torch.tensor(g, device=self.device))

    def steered(
        self, prompt: Prompt, negative_prompt: str, g: float, nulls: Tensor | None, q: float | None
    ) -> Conditions:
        """What an edit is steered by: null rows (N, 1, l, d) of its source, proximal guidance."""
        to = self.conditions(prompt, negative_prompt, g)
        if q is not None:
            to = to._replace(q=torch.tensor(check.quantile("proximal", q), device=self.device))
        return to if nulls is None or to.null is None else to._replace(null=nulls.to(to.c.dtype))

    @torch.no_grad()
    def latent(self, image: Image.Image) -> Tensor:
        """A picture, its sides multiples of the factor -> scaled latent (1, 4, y, x) float64."""
        self.sides(*check.picture(image).size)
        pixels = images.to_tensor(image).to(self.device)
        return self.by_vae("encode", pixels, "the picture's latent").double()

    def picture(self, latent: Tensor) -> Image.Image:
        """Scaled latent (1, 4, y, x) -> picture; a latent that is not finite is an error."""
        started = time.monotonic()
        image = self.pictures(latent)[0]
        self.took[latent.shape] = time.monotonic() - started
        return image

    @torch.no_grad()
    def pictures(self, latents: Tensor) -> list[Image.Image]:
        """Scaled latents (b, 4, y, x) -> pictures, decoded in one call."""
        decoded = self.by_vae("decode", latents, "the decoded picture").float()
        return [images.to_image(picture) for picture in decoded.split(1)]

    def by_vae(self, name: str, x: Tensor, what: str) -> Tensor:
        """The VAE's answer, one by one as the engine runs it: each shape is made once there."""

        def run(vae: Any) -> Tensor:
            one = len(x) == 1 and vae is self.models.vae
            call = self._wrapped[name] if one else getattr(vae, name)
            return call(x.to(dtype_of(vae)))

        return finite(run, self.models.vae, what)

    @cached_property
    def colours(self) -> Tensor:
        """The map from latents to colours that previews use."""
        return fit_preview(self.models.vae)

    def seconds(self, latent: Tensor) -> float:
        """How long a latent of this shape took to decode the last time; 0 if none was decoded."""
        return self.took.get(latent.shape, 0.0)

    def guidance(self, guidance_scale: float | None) -> float:
        """The guidance scale asked for, or the model's."""
        default = self.models.defaults.guidance_scale
        return check.guidance(default if guidance_scale is None else guidance_scale)

    def frame(self, image: Image.Image, fit: str, width: int | None, height: int | None) -> Frame:
        """How a picture is fitted to the size asked for; "own" is its own, in whole cells."""
        check.one_of("fit", fit, FITS)
        if fit == "own":
            if (width, height) != (None, None):
                raise ValueError("fit own is the picture's own size: give no width or height")
            width, height = (-(-side // self.factor) * self.factor for side in image.size)
        return frame(fit, image.size, self.sides(width, height))

    def sides(self, width: int | None, height: int | None) -> tuple[int, int]:
        """Width and height asked for, or the model's, in pixels."""
        width = self.size[0] if width is None else width
        height = self.size[1] if height is None else height
        return check.side("width", width, self.factor), check.side("height", height, self.factor)


class HasCodec(Protocol):
    """An Editor, or anything else that holds a codec."""

    @property
    def codec(self) -> Codec: ...


def codec_of(model: Codec | HasCodec) -> Codec:
    """The codec itself, or the one that an Editor holds."""
    return model if isinstance(model, Codec) else model.codec

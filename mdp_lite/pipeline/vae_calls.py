"""Calls of the VAE: whole, or in stripes where a GPU can't hold a whole one."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mdp_lite.checkpoint.models import Models
from mdp_lite.engine.edit_bytes import EditSize, count_edit_bytes
from mdp_lite.engine.engine import Engine
from mdp_lite.engine.gpu import GpuSettings, find_budget
from mdp_lite.engine.memory import return_freed_memory
from mdp_lite.engine.placement import DEVICE, STREAMED, WAITS, WHOLE, choose_vae_call, find_peak
from mdp_lite.engine.stripes import Stripes, stripe
from mdp_lite.engine.unet_calls import Function
from mdp_lite.engine.vae import is_lean, wrap_methods
from mdp_lite.engine.waiting import bring, is_on
from mdp_lite.models.taesd import TAESD
from mdp_lite.models.unet import UNet
from mdp_lite.models.vae import VAE
from mdp_lite.pipeline.finite import dtype_of, run_finite
from mdp_lite.pipeline.gpu_models import facts_of_models
from mdp_lite.pipeline.warn import warn_stripes

VAE_METHODS = ("encode", "decode")
LARGE_PICTURE = 256 * 256  # pixels from which a call of the VAE takes seconds
CPU = torch.device("cpu")


class VAECaller:
    """Runs a VAE on a device. On a GPU it can wait on the CPU, and compute in stripes.

    Which of them it does follows from the plan of engine/placement.py for the size of each call.
    """

    def __init__(
        self, models: Models, engine: Engine, device: torch.device, gpu: GpuSettings
    ) -> None:
        self.models, self.vae, self.device, self.gpu = models, models.vae, device, gpu
        ours = isinstance(models.vae, VAE | TAESD) and isinstance(models.unet, UNet)
        self.planned, self.records = device.type == "cuda" and ours, engine.mode != "eager"
        self.waits = self.planned and not is_on(models.vae, device)
        self._wrapped = {} if self.waits else wrap_methods(engine, models.vae, VAE_METHODS)
        self._wraps_several, self._engine = is_lean(models.vae), engine
        self.budget = self._find_budget() if self.planned else 0

    def run(self, name: str, x: Tensor, what: str) -> Tensor:
        """encode or decode of x (b, c, y, x), through the engine if whole.

        Several pictures at once go through it only where it compiles and records nothing.
        """
        factor = self.vae.config.factor if name == "decode" else 1
        if x.device.type == "cpu" and x.shape[-2] * x.shape[-1] * factor**2 >= LARGE_PICTURE:
            return_freed_memory()
        call, rows = self._choose(factor * x.shape[-2], factor * x.shape[-1], len(x))
        home = CPU if call == STREAMED else None

        def run(vae: Any) -> Tensor:
            wrapped = self._wrapped if vae is self.vae else self._wrap_wide(vae)
            suits = call == WHOLE and (len(x) == 1 or self._wraps_several)
            here = bring(vae, self.device) if self.waits else vae
            here = here if call == WHOLE else stripe(here, Stripes(home=home))
            function = wrapped[name] if suits and name in wrapped else getattr(here, name)
            some = x.to(dtype_of(vae)).split(rows)
            return torch.cat([function(one) for one in some]) if len(some) > 1 else function(*some)

        return run_finite(run, self.vae, what)

    def on_device(self) -> Any:
        """The VAE with its weights on the device, for a small call."""
        return bring(self.vae, self.device) if self.waits else self.vae

    def _wrap_wide(self, vae: Any) -> dict[str, Function]:
        """The methods of a float32 copy, as those of the VAE where nothing has to be compiled."""
        return wrap_methods(self._engine, vae, VAE_METHODS) if self._wraps_several else {}

    def _choose(self, height: int, width: int, count: int) -> tuple[str, int]:
        """How a picture of this size is computed, and how many pictures at a time."""
        if not self.planned:
            return WHOLE, count
        sizes = count_edit_bytes(self._facts, EditSize(height, width), self.gpu, self.records)
        places = self._text_place, WAITS if self.waits else DEVICE
        call = choose_vae_call(sizes, *places, self.budget)
        if call != WHOLE:
            warn_stripes(width, height, call)
        several = sizes._replace(vae_calls=tuple(count * one for one in sizes.vae_calls))
        fits = find_peak(several, *places, call) <= self.budget
        return call, count if fits else 1

    @cached_property
    def _facts(self) -> Any:
        return facts_of_models(self.models)

    @cached_property
    def _text_place(self) -> str:
        return DEVICE if is_on(self.models.text_encoder, self.device) else WAITS

    def _find_budget(self) -> int:
        parts = (self.models.unet, self.models.text_encoder, self.models.vae)
        weights = [one for part in parts for one in part.parameters()]
        loaded = sum(one.nbytes for one in weights if one.device.type == self.device.type)
        return find_budget(self.device, self.gpu, loaded)

"""The sides of a comparison: mdp_lite's engines and diffusers, as good as it can be made."""

import gc
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from mdp_lite import Editor
from mdp_lite.engine import flops as cost
from mdp_lite.models.config import UNetConfig, VAEConfig
from mdp_lite_weights import locate
from tests.support.full_size import lacking, write

Call = Callable[[], Tensor]


class Model(NamedTuple):
    """A folder in the diffusers layout, its short name, and where it is to run."""

    name: str
    folder: Path
    device: torch.device


class Inputs(NamedTuple):
    """One call of the UNet: x (b, 4, y, x), t (), c (b, l, d), float32."""

    x: Tensor
    t: Tensor
    c: Tensor

    def to(self, dtype: torch.dtype) -> "Inputs":
        return Inputs(self.x.to(dtype), self.t, self.c.to(dtype))


def model_of(size: str, where: Path, device: torch.device) -> Model:
    """The bundled model, random weights of SD 1.5's size (written once), or a folder."""
    if size == "tiny":
        return Model("tiny", locate("tiny"), device)
    if size != "sd15":
        return Model(Path(size).name, Path(size), device)
    folder = where / "sd15-bfloat16"
    if not folder.exists():
        where.mkdir(parents=True, exist_ok=True)
        assert not (reason := lacking(where)), reason
        write("sd15", folder, torch.bfloat16)
        gc.collect()
    return Model("sd15", folder, device)


def inputs(model: Model, rows: int) -> Inputs:
    """Random inputs of one UNet call, at the model's own size and longest prompt."""
    settings, tokens, _ = config(model)
    generator = torch.Generator().manual_seed(0)
    side = settings.sample_size or 64
    x = torch.randn(rows, settings.in_channels, side, side, generator=generator)
    c = torch.randn(rows, tokens, settings.cross_attention_dim, generator=generator)
    return Inputs(*(part.to(model.device) for part in (x, torch.tensor(501), c)))


def flops(model: Model, rows: int) -> int:
    """The FLOPs of one UNet call, counted on the meta device."""
    settings, tokens, _ = config(model)
    side = settings.sample_size or 64
    return cost.unet(settings, side, side, rows, tokens).flops


def config(model: Model) -> tuple[UNetConfig, int, VAEConfig]:
    """The UNet's settings, the tokens of the longest prompt, and the VAE's settings."""
    return _config(model.folder)


@cache
def _config(folder: Path) -> tuple[UNetConfig, int, VAEConfig]:
    models = Editor.from_pretrained(folder, device="cpu").models
    tokens = models.text_encoder.config.max_position_embeddings
    return models.unet.config, tokens, models.vae.config


def engines(device: torch.device, compiling: bool) -> tuple[str, ...]:
    """The engine modes that this machine supports, the fastest first."""
    modes = ("graph", "compile", "eager") if device.type == "cuda" else ("compile", "eager")
    return modes if compiling else modes[-1:]


def ours(
    model: Model, dtype: torch.dtype, modes: Collection[str] | None = None
) -> dict[str, Editor]:
    """Editors by the engine's mode; they share one set of weights."""
    models = Editor.from_pretrained(model.folder, device=model.device, dtype=dtype).models
    return {mode: Editor(models, model.device, engine=mode) for mode in modes or ("auto",)}


def our_steps(
    model: Model, dtype: torch.dtype, call: Inputs, modes: Collection[str]
) -> dict[str, Call]:
    """A call of the denoiser that edits use, for each engine mode."""
    at, editors = call.to(dtype), ours(model, dtype, modes)
    return {
        f"mdp_lite {mode}": (lambda one=editor: one.runner.unet(*at))
        for mode, editor in editors.items()
    }


def diffusers_unet(model: Model, dtype: torch.dtype, channels_last: bool) -> UNet2DConditionModel:
    unet = UNet2DConditionModel.from_pretrained(model.folder / "unet", torch_dtype=dtype)
    unet = unet.to(model.device).eval().requires_grad_(False)
    return unet.to(memory_format=torch.channels_last) if channels_last else unet


def their_step(model: Model, dtype: torch.dtype, call: Inputs, kind: str) -> Call:
    """diffusers' UNet: "eager", "eager channels_last", or "compiled" as well as it can be."""
    unet = diffusers_unet(model, dtype, kind != "eager")
    at = call.to(dtype)
    if kind != "eager":
        at = at._replace(x=at.x.to(memory_format=torch.channels_last))
    if kind != "compiled":
        return lambda: unet(*at, return_dict=False)[0]
    run = compile_unet(unet)
    return lambda: run(*at, return_dict=False)[0]


def compile_unet(unet: UNet2DConditionModel) -> Callable[..., tuple[Tensor, ...]]:
    """One graph, fused projections; on a CPU weights are frozen, on a GPU kernels are tuned.

    A CUDA graph is Inductor's own there; its output is copied, as each call overwrites it.
    """
    unet.fuse_qkv_projections()
    if unet.device.type == "cpu":
        import torch._inductor.config as inductor

        inductor.freezing = True  # of the process: tracing asks it too, an option is not enough
        return torch.compile(unet, fullgraph=True, dynamic=False)
    options = {
        "max_autotune": True,
        "conv_1x1_as_mm": True,
        "coordinate_descent_tuning": True,
        "epilogue_fusion": True,
        "triton.cudagraphs": True,
    }
    run = torch.compile(unet, fullgraph=True, dynamic=False, options=options)

    def replay(*parts: object, **more: object) -> tuple[Tensor, ...]:
        torch.compiler.cudagraph_mark_step_begin()
        return tuple(part.clone() for part in run(*parts, **more))

    return replay


def reference(model: Model, call: Inputs) -> Tensor:
    """The output of diffusers' UNet in float32."""
    out = their_step(model, torch.float32, call, "eager")()
    gc.collect()
    return out

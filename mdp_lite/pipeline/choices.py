"""Loading what a caller asks for: its choices are checked, then the models are loaded."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mdp_lite.checkpoint.assign import has_bfloat16
from mdp_lite.checkpoint.load import AddOns, Choices, Examined, Hub, Models, Place, load
from mdp_lite.engine.engine import choose_mode
from mdp_lite.engine.gpu import DEFAULT, GpuSettings
from mdp_lite.names import BadInput
from mdp_lite.pipeline import check
from mdp_lite.pipeline.gpu_models import find_waiting


class LoadedParts(NamedTuple):
    """What an Editor is made of, beside its cache."""

    models: Models
    device: torch.device
    mode: str
    packages: Path | None
    gpu: GpuSettings


def build_choices(
    hub: tuple[str | None, str | None, bool], variant: str | None = None, ema: bool = False,
    prediction_type: str | None = None, tokenizer: Place | None = None, clip_skip: int = 0,
    sampler: str | None = None, timestep_spacing: str | None = None,
) -> Choices:  # fmt: skip
    """The choices, checked; hub is revision, token and local_files_only."""
    revision, token, _ = hub
    check.load_choices(variant, prediction_type, revision, token, sampler, timestep_spacing)
    return Choices(
        variant, ema, prediction_type, tokenizer, Hub(*hub), clip_skip, sampler, timestep_spacing
    )


def load_parts(
    name: Place, device: Any, dtype: Any, choices: Choices, addons: tuple[Any, Any, Any],
    engine: str, packages: Any, gpu: Any = DEFAULT,
    check_fit: Callable[[Examined], None] = lambda examined: None,
) -> LoadedParts:  # fmt: skip
    """Check all of these, then load the models; addons are a VAE, LoRAs and embeddings.

    check_fit may refuse what does not fit the checkpoint, when no weight has been read yet.
    """
    vae, loras, words = addons
    added = AddOns(vae, check.loras(loras), check.embeddings(words))
    place = check.device(device)
    mode = choose_mode(engine, place, packages is not None)
    settings, wanted = check.gpu(gpu), check.dtype(dtype)
    if wanted == torch.bfloat16 and place.type == "mps" and not has_bfloat16(place):
        need = "dtype bfloat16 on mps needs macOS 14 or later: want float16 or float32"
        raise BadInput(need, "dtype")
    waiting = partial(find_waiting, place, settings, mode)
    models = load(name, place, wanted, choices, added, check_fit, waiting)
    return LoadedParts(models, place, mode, None if packages is None else Path(packages), settings)

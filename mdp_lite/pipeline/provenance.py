"""Provenance: the settings of a source or an edit, as the picture files carry them."""

from dataclasses import asdict
from typing import Any

import torch

from mdp_lite.pictures import images
from mdp_lite.pipeline.inversion_methods import Inversion
from mdp_lite.pipeline.result import Edit, Source
from mdp_lite.pipeline.xl import XLCondition
from mdp_lite.version import __version__

Settings = dict[str, Any]


def describe_source(model: str, source: Source) -> Settings:
    """The settings of a source made by the model of this name; never a path of this machine."""
    how, changes = source.inversion, images.describe_changes(source.picture)
    return {
        "prompt": source.prompt,
        "negative_prompt": source.negative_prompt,
        **({"xl": read} if (read := source.xl.describe()) else {}),
        "num_inference_steps": len(source.grid.t),
        "guidance_scale": _sampling_guidance(source),
        "seed": source.seed,
        "method": source.method,
        **({"record_noise": True} if source.generated and how else {}),
        **({} if source.path.direction is None else {"record_direction": True}),
        **({"inversion": inversion_settings(how)} if how else {}),
        "sampler": "DDIM",
        "size": "x".join(map(str, source.image.size)),
        "fit": source.fit.mode,
        **({"picture_changes": list(changes)} if changes else {}),
        "model": model,
        **({"clip_skip": skip} if (skip := source.origin.clip_skip) else {}),
        "version": f"mdp_lite {__version__}",
        "ai_generated": True,
    }


def _sampling_guidance(source: Source) -> float:
    """The guidance scale with which the source can be made again."""
    sampled = source.sampling_guidance
    return source.guidance_scale if sampled is None else sampled


def describe_reads(source: XLCondition, edit: XLCondition) -> Settings:
    """What SDXL read beside the prompts of a source and of its edit, if it is not the default."""
    own, read = source.describe(), edit.describe()
    return ({"source_xl": own} if own else {}) | ({"xl": read} if own or read else {})


def inversion_settings(inversion: Inversion) -> Settings:
    """The settings of an inversion without its name."""
    pairs = asdict(inversion).items()
    return {key: value for key, value in pairs if key != "method" and value is not None}


def describe_reuse(guidance_every: int) -> Settings:
    """guidance_every, if it is not 1."""
    return {} if guidance_every == 1 else {"guidance_every": guidance_every}


def describe_edit(model: str, source: Source, edit: Edit, window: Settings) -> Settings:
    """The settings of an edit; window holds those of its request, such as t_max and strength.

    weights are the columns of its table that are not all 0; of a table of maps, as a mask makes it,
    the smallest weight of each step, where the edit is strongest (of local the largest). layers is
    the window of recorded layers, if the edit read some.
    """
    columns = [(key, w) for key, w in edit.weights._asdict().items() if w is not None]
    ends = {key: torch.amax if key == "local" else torch.amin for key, _ in columns}
    least = {key: ends[key](w.flatten(1), 1) if w.ndim > 1 else w for key, w in columns}
    return {
        **describe_source(model, source),
        "prompt": edit.prompt,
        "source_prompt": source.prompt,
        **describe_reads(source.xl, edit.xl),
        "guidance_scale": edit.guidance_scale,
        "source_guidance_scale": _sampling_guidance(source),
        "variant": edit.variant,
        **{key: value for key, value in window.items() if value is not None},
        **({} if edit.finished else {"finished": False}),
        **({} if edit.layers is None else {"layers": edit.layers.window._asdict()}),
        "weights": {key: column.tolist() for key, column in least.items() if column.any()},
    }

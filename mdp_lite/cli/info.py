"""What `mdp-lite info` tells: what a checkpoint is, what it holds and what an edit by it costs.

Configs and headers are read, no weights; the content hash alone reads the files through.
"""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from mdp_lite.checkpoint.load import (
    CATALOGUE,
    Checkpoint,
    Choices,
    Examined,
    Place,
    content_hash,
    examine,
)
from mdp_lite.cli.units import FLOPS, SIZES, format_count
from mdp_lite.engine import flops as cost
from mdp_lite.method.plan import Known, plan
from mdp_lite.method.schedule import ddim_grid
from mdp_lite.models.config import UNetConfig
from mdp_lite.pipeline.request import described

Settings = dict[str, Any]

# Told apart by the width of the text that the UNet reads: that of CLIP ViT-L and OpenCLIP ViT-H.
FAMILIES = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x"}
STANDARD = (320, 640, 1280, 1280)  # channels of the levels of their UNets
SIDE = 512  # pixels of the edit whose cost is told, where the model's pictures are not smaller
BYTES = {"float32": 4, "float16": 2}


class Info(NamedTuple):
    """An object for machines and lines for people."""

    data: Settings
    lines: list[str]


def about(name: Place, choices: Choices, hashed: bool) -> Info:
    """Everything about one checkpoint; one that would not load is a ValueError."""
    seen = examine(name, choices)
    data = {
        **_kind(seen),
        **_contents(seen),
        "sha256": content_hash(seen.found.files) if hashed else None,
        "edit": edit_cost(seen),
        "scheduler": asdict(seen.scheduler),
        "defaults": asdict(seen.defaults),
        **{part: asdict(model.config) for part, model in seen.models.items()},
    }
    return Info(data, _lines(data))


def family(config: UNetConfig) -> str:
    """The family that a UNet belongs to by its shape."""
    known = config.block_out_channels == STANDARD and config.cross_attention_dim in FAMILIES
    return FAMILIES[config.cross_attention_dim] if known else "Stable Diffusion of its own shape"


def edit_cost(seen: Examined) -> Settings:
    """A source from a prompt and one edit of it, at the defaults, as Editor runs them.

    peak_bytes has by dtype what the weights and the most activations at one time take.
    """
    text, unet, vae = (seen.models[part].config for part in ("text_encoder", "unet", "vae"))
    n, rows = seen.defaults.num_inference_steps, 1 if seen.defaults.guidance_scale == 1 else 2
    known = Known(guided=rows == 2, own=True)
    edit = plan(described(n, seen.defaults), ddim_grid(seen.scheduler, n), known)
    side, tokens = min(_side(seen), SIDE), text.max_position_embeddings
    cells = side // vae.factor
    works = {
        "text_encoder": cost.text(text, tokens),
        "unet": cost.unet(unet, cells, cells, rows, tokens),
        "vae": cost.decode(vae, side, side),
    }
    calls = {"text_encoder": 2 * rows, "unet": n + edit.unet_calls, "vae": 2}
    flops = {part: calls[part] * work.flops for part, work in works.items()}
    peak, weights = max(work.peak_bytes for work in works.values()), sum(_counts(seen).values())
    return {
        "picture": f"{side}x{side}",
        "unet_rows": n * rows + edit.unet_rows,
        "unet_calls": n + edit.unet_calls,
        "flops": flops | {"all": sum(flops.values())},
        "peak_bytes": {dtype: (4 * weights + peak) * size // 4 for dtype, size in BYTES.items()},
    }


def listing() -> Info:
    """The catalogue of well-known checkpoints."""
    lines = []
    for known in CATALOGUE:
        size = f"{known.side}x{known.side}, {known.prediction_type}" if known.side else "add-on"
        lines += [
            known.id,
            f"  {known.family}, {size}; licence: {known.licence}",
            f"  {known.note}",
        ]
    return Info({"catalogue": [asdict(known) for known in CATALOGUE]}, lines)


def _kind(seen: Examined) -> Settings:
    found, side, tokenizer = seen.found, _side(seen), seen.tokenizer
    return {
        "model": found.name,
        "layout": found.layout,
        "revision": _revision(found),
        "family": family(seen.models["unet"].config),
        "picture": f"{side}x{side}",
        "prediction_type": seen.scheduler.prediction_type,
        "notes": list(found.notes),
        "tokens": len(tokenizer.clip) if tokenizer else None,
        "longest_prompt": tokenizer.length - 2 if tokenizer else None,  # start and end are tokens
    }


def _contents(seen: Examined) -> Settings:
    found, counts = seen.found, _counts(seen)
    every = sum(counts.values())
    sizes = {_name(path, found.folder): path.stat().st_size for path in found.files}
    return {
        "parameters": counts | {"all": every},
        "dtypes": {part: _dtypes(found, part) for part in counts},
        "weight_bytes": {dtype: every * size for dtype, size in BYTES.items()},
        "files": sizes,
        "bytes": sum(sizes.values()),
    }


def _lines(data: Settings) -> list[str]:
    """The same for people, in the order in which one asks."""
    revision, tokens, steps = data["revision"], data["tokens"], data["defaults"]
    edit, parameters = data["edit"], data["parameters"]
    prompt = f"{tokens} tokens, {data['longest_prompt']} in a prompt"
    return [
        *_rows("model", f"{data['model']} ({data['layout']})"),
        *_rows("revision", *([revision] if revision else [])),
        *_rows("family", data["family"]),
        *_rows("picture", data["picture"]),
        *_rows("prediction", data["prediction_type"]),
        *_rows("notes", *data["notes"]),
        *_rows("scheduler", _scheduler(data["scheduler"])),
        *_rows("tokenizer", prompt if tokens else "none here: give one, or the hub's is taken"),
        *(line for part, dtypes in data["dtypes"].items() for line in
          _rows(part, f"{parameters[part]:>13,} parameters in {', '.join(dtypes)}")),
        *_rows("all", f"{parameters['all']:>13,} parameters: {_both(data['weight_bytes'])}"),
        *_rows(
            "edit",
            f"{edit['picture']}, {steps['num_inference_steps']} steps, guidance "
            f"{steps['guidance_scale']:g}, with its source: {edit['unet_rows']} UNet rows",
            f"{format_count(edit['flops']['all'], FLOPS)}; memory: {_both(edit['peak_bytes'])}",
        ),
        *_rows("files", *(f"{format_count(n, SIZES):>8}  {name}" for name, n in data["files"].items())),
        *_rows("size", f"{format_count(data['bytes'], SIZES):>8}"),
        *_rows("sha256", *([data["sha256"]] if data["sha256"] else [])),
    ]  # fmt: skip


def _rows(name: str, *texts: str) -> list[str]:
    """Texts below each other, the name beside the first."""
    return [f"{'' if i else name:<14}{text}" for i, text in enumerate(texts)]


def _side(seen: Examined) -> int:
    """Pixels along a side of the model's own pictures, as Editor takes them."""
    return (seen.models["unet"].config.sample_size or 64) * seen.models["vae"].config.factor


def _counts(seen: Examined) -> dict[str, int]:
    return {part: sum(p.numel() for p in m.parameters()) for part, m in seen.models.items()}


def _revision(found: Checkpoint) -> str | None:
    """The commit of what lies in the hub's cache, where a folder is named by it."""
    parts = found.files[0].parts
    return next((part for part in parts if re.fullmatch("[0-9a-f]{40}", part)), None)


def _scheduler(config: Settings) -> str:
    flags = {
        "set_alpha_to_one": "ends at alpha 1",
        "rescale_betas_zero_snr": "zero terminal SNR",
    }
    words = [
        f"{config['beta_schedule']} {config['beta_start']:g} to {config['beta_end']:g}",
        f"{config['num_train_timesteps']} timesteps",
        f"{config['timestep_spacing']} spacing",
        f"offset {config['steps_offset']}",
        *(text for flag, text in flags.items() if config[flag]),
    ]
    return ", ".join(words)


def _dtypes(found: Checkpoint, part: str) -> list[str]:
    return sorted({str(t.dtype).removeprefix("torch.") for t in found.tensors[part].values()})


def _name(path: Path, folder: Path | None) -> str:
    return path.relative_to(folder).as_posix() if folder else path.name


def _both(sizes: dict[str, int]) -> str:
    return ", ".join(f"{format_count(size, SIZES)} in {dtype}" for dtype, size in sizes.items())

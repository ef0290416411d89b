"""What `mdp-lite info` tells: what a checkpoint is, what it holds and what an edit by it costs.

Configs and headers are read, no weights; the content hash alone reads the files through.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from mdp_lite import cost
from mdp_lite.config import UNetConfig
from mdp_lite.editor import edit_weights
from mdp_lite.load import CATALOGUE, Checkpoint, Choices, Examined, Place, content_hash, examine
from mdp_lite.sample import no_weights, unet_rows

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
    found, models, factor = seen.found, seen.models, seen.models["vae"].config.factor
    own = (models["unet"].config.sample_size or 64) * factor
    counts = {part: sum(p.numel() for p in model.parameters()) for part, model in models.items()}
    sizes = {_name(path, found.folder): path.stat().st_size for path in found.files}
    data = {
        "model": found.name,
        "family": family(models["unet"].config),
        "layout": found.layout,
        "picture": f"{own}x{own}",
        "prediction_type": seen.scheduler.prediction_type,
        "notes": list(found.notes),
        "parameters": counts | {"all": sum(counts.values())},
        "dtypes": {part: _dtypes(found, part) for part in counts},
        "tokens": len(seen.tokenizer.clip) if seen.tokenizer else None,
        "longest_prompt": seen.tokenizer.length - 2 if seen.tokenizer else None,  # start, end
        "edit": edit_cost(seen, min(own, SIDE)),
        "files": sizes,
        "bytes": sum(sizes.values()),
        "sha256": content_hash(found.files) if hashed else None,
        "scheduler": asdict(seen.scheduler),
        "defaults": asdict(seen.defaults),
        **{part: asdict(model.config) for part, model in models.items()},
    }
    return Info(data, _lines(data))


def family(config: UNetConfig) -> str:
    """The family that a UNet belongs to by its shape."""
    known = config.block_out_channels == STANDARD and config.cross_attention_dim in FAMILIES
    return FAMILIES[config.cross_attention_dim] if known else "Stable Diffusion of its own shape"


def edit_cost(seen: Examined, side: int) -> Settings:
    """A source from a prompt and one edit of it, at the defaults, as Editor runs them.

    peak_bytes has by dtype what the weights and the most activations at one time take.
    """
    configs = {part: model.config for part, model in seen.models.items()}
    n, guided = seen.defaults.num_inference_steps, seen.defaults.guidance_scale != 1
    rows = [unet_rows(w, guided) for w in (no_weights(n), edit_weights(n, seen.defaults))]
    cells, tokens = side // configs["vae"].factor, configs["text_encoder"].max_position_embeddings
    text = cost.text(configs["text_encoder"], tokens)
    unet = cost.unet(configs["unet"], cells, cells, 2 if guided else 1, tokens)
    decode = cost.decode(configs["vae"], side, side)
    flops = {
        "text_encoder": text.flops * 2 * (2 if guided else 1),
        "unet": unet.flops * 2 * n,
        "vae": decode.flops * 2,
    }
    most = max(work.peak_bytes for work in (text, unet, decode))
    weights = sum(p.numel() for model in seen.models.values() for p in model.parameters())
    return {
        "picture": f"{side}x{side}",
        "unet_rows": sum(rows),
        "unet_calls": 2 * n,
        "flops": flops | {"all": sum(flops.values())},
        "weight_bytes": {dtype: weights * size for dtype, size in BYTES.items()},
        "peak_bytes": {dtype: weights * size + most * size // 4 for dtype, size in BYTES.items()},
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


def _lines(data: Settings) -> list[str]:
    edit, defaults, tokens = data["edit"], data["defaults"], data["tokens"]
    weights, peak = edit["weight_bytes"], edit["peak_bytes"]
    rows = [
        ("model", f"{data['model']} ({data['layout']})"),
        ("family", data["family"]),
        ("picture", data["picture"]),
        ("prediction", data["prediction_type"]),
        *(("note", note) for note in data["notes"]),
        ("scheduler", _scheduler(data["scheduler"])),
        ("tokenizer", f"{tokens} tokens, {data['longest_prompt']} in a prompt" if tokens else
         "none in the checkpoint: openai/clip-vit-large-patch14 is taken from the hub"),
        *(
            (part, f"{data['parameters'][part]:>13,} parameters in {', '.join(dtypes)}")
            for part, dtypes in data["dtypes"].items()
        ),
        ("all", f"{data['parameters']['all']:>13,} parameters"),
        ("weights", _both(weights)),
        ("edit", f"{edit['picture']}, {defaults['num_inference_steps']} steps, guidance "
         f"{defaults['guidance_scale']:g}, with its source: {edit['unet_rows']} UNet rows"),
        ("", f"{_flops(edit['flops']['all'])}, memory {_both(peak)}"),
        *(("files" if i == 0 else "", f"{_size(size):>9}  {name}")
          for i, (name, size) in enumerate(data["files"].items())),
        ("size", _size(data["bytes"])),
        *((("sha256", data["sha256"]),) if data["sha256"] else ()),
    ]  # fmt: skip
    return [f"{name:<14}{text}" for name, text in rows]


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
    return ", ".join(f"{_size(size)} in {dtype}" for dtype, size in sizes.items())


def _size(count: int) -> str:
    """1719000000 -> 1.72 GB."""
    return _scaled(count, ("B", "kB", "MB", "GB", "TB"))


def _flops(count: int) -> str:
    """160600000000000 -> 161 TFLOP."""
    return _scaled(count, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"))


def _scaled(count: float, units: tuple[str, ...]) -> str:
    for unit in units[:-1]:
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} {units[-1]}"

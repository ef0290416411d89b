"""`mdp-lite info`: what a checkpoint is, what it holds, and what an edit by it costs.

It reads configs and headers, but no weights; only the content hash reads whole files.
"""

import re
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap

import torch

from mdp_lite.checkpoint.advice import list_advice
from mdp_lite.checkpoint.assign import auto_dtype
from mdp_lite.checkpoint.load import (
    CATALOGUE,
    Checkpoint,
    Choices,
    Examined,
    Place,
    content_hash,
    examine,
)
from mdp_lite.checkpoint.models import TEXT_PARTS
from mdp_lite.checkpoint.samplers import LABELS
from mdp_lite.cli.commands.info import InfoOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.gpu_plan import format_gpu, plan_gpu
from mdp_lite.cli.loading import read_choices, read_gpu
from mdp_lite.cli.model_options import GpuOptions
from mdp_lite.cli.reports import Report
from mdp_lite.cli.units import FLOPS, SIZES, format_count, pluralize
from mdp_lite.engine import flops
from mdp_lite.engine.engine import list_missing
from mdp_lite.engine.gpu import DEFAULT, GpuSettings
from mdp_lite.engine.memory import LIBRARY_BYTES, largest_call, path_bytes
from mdp_lite.method.plan import EditFacts, plan
from mdp_lite.method.samplers import build_grid
from mdp_lite.method.schedule import check_reach
from mdp_lite.pipeline import check
from mdp_lite.pipeline.abilities import examine_abilities
from mdp_lite.pipeline.gpu_models import count_tokens, default_size, facts_of_checkpoint
from mdp_lite.pipeline.noise import will_record_noise
from mdp_lite.pipeline.provenance import Settings
from mdp_lite.pipeline.request import build_weights

WIDTH, MAX_WORDS = 84, 200  # columns of a list of words, and how many of them lines name
SIDE = 512  # pixels of the edit whose cost is estimated, if the model's pictures are not smaller
BYTES = {"float32": 4, "float16": 2}
CPU_DTYPES = ("float32", "bfloat16")  # float16 becomes float32 there


def show_model(args: InfoOptions, console: Console) -> Report:
    """The catalogue with --list, else everything about one model."""
    if args.catalogue:
        data, lines = list_catalogue()
    else:
        data, lines = describe_model(
            args.name, read_choices(args.checkpoint), not args.no_hash, args.vae,
            read_gpu(GpuOptions(gpu_memory=args.gpu_memory)),
        )  # fmt: skip
    return Report({}, {"command": "info", **data}, lines)


def describe_model(
    name: Place, choices: Choices, with_hash: bool, vae: Place | None = None,
    gpu: GpuSettings = DEFAULT,
) -> tuple[Settings, list[str]]:  # fmt: skip
    """Everything about one checkpoint, or that with another VAE, as an object and as lines.

    gpu: of which memory a GPU is planned for. Raises BadInput if it would not load.
    """
    examined = examine(name, choices, vae)
    data = {
        **_describe_kind(examined),
        "clip_skip": choices.clip_skip,
        **_describe_contents(examined),
        "sha256": content_hash(examined.found.files + examined.vae) if with_hash else None,
        "edit": estimate_edit(examined),
        "gpu": _plan_gpu(examined, gpu),
        "scheduler": asdict(examined.scheduler),
        "defaults": asdict(examined.defaults),
        **{part: asdict(model.config) for part, model in examined.models.items()},
    }
    return data, _format_lines(data)


def estimate_edit(examined: Examined) -> Settings:
    """The cost of a generated source and one edit of it, with the model's defaults.

    peak_bytes has for each dtype the most memory of the whole process on a CPU.
    """
    unet, vae = (examined.models[part].config for part in ("unet", "vae"))
    texts = {part: one.config for part, one in examined.models.items() if part in TEXT_PARTS}
    defaults, n = examined.defaults, examined.defaults.num_inference_steps
    rows = 1 if defaults.guidance_scale == 1 or unet.time_cond_proj_dim else 2
    facts = EditFacts(guided=rows == 2, own_noise=True)
    noisy = will_record_noise(examined.scheduler, None)
    weights = build_weights(n, defaults, noisy=noisy)
    edit = plan(weights, build_grid(examined.scheduler, n), facts)
    height, width = (min(side, SIDE) for side in _find_size(examined))
    y, x, tokens = height // vae.factor, width // vae.factor, _tokens(examined)
    call_costs = {
        **{part: flops.text(one, one.max_position_embeddings) for part, one in texts.items()},
        "unet": flops.unet(unet, y, x, rows, tokens),
        "vae": flops.decode(vae, height, width),
    }
    calls = {**dict.fromkeys(texts, 2 * rows), "unet": n + edit.unet_calls, "vae": 2}
    totals = {part: calls[part] * cost.flops for part, cost in call_costs.items()}
    return {
        "picture": f"{width}x{height}",
        "unet_rows": n * rows + edit.unet_rows,
        "unet_calls": n + edit.unet_calls,
        "flops": totals | {"all": sum(totals.values())},
        "peak_bytes": _forecast_memory(examined, height, width, rows),
    }


def _tokens(examined: Examined) -> int:
    """The tokens of a condition."""
    return count_tokens(examined.models["text_encoder"].config, examined.models["unet"].config)


def _forecast_memory(examined: Examined, height: int, width: int, rows: int) -> dict[str, int]:
    """The peak of a process that edits on a CPU, for each dtype that is good there."""
    unet, vae = (examined.models[part].config for part in ("unet", "vae"))
    count, tokens = sum(_count_parameters(examined).values()), _tokens(examined)
    path = path_bytes(vae, height, width, examined.defaults.num_inference_steps)
    peaks = {}
    for dtype in CPU_DTYPES:
        call = largest_call(unet, vae, height, width, rows, tokens, getattr(torch, dtype))
        weights = count * getattr(torch, dtype).itemsize
        peaks[dtype] = LIBRARY_BYTES + weights + sum(call) + 2 * path  # twice while it is made
    return peaks


def list_catalogue() -> tuple[Settings, list[str]]:
    """The catalogue of well-known checkpoints, as an object and as lines for people."""
    lines = []
    for entry in CATALOGUE:
        size = f"{entry.side}x{entry.side}, {entry.prediction_type}" if entry.side else "add-on"
        lines += [
            entry.id,
            f"  {entry.family}, {size}; licence: {entry.licence}",
            f"  {entry.note}",
        ]
    return {"catalogue": [asdict(entry) for entry in CATALOGUE]}, lines


def _plan_gpu(examined: Examined, gpu: GpuSettings) -> Settings | None:
    device, steps = check.device(None), examined.defaults.num_inference_steps
    size = default_size(facts_of_checkpoint(examined, torch.float16), steps)
    return plan_gpu(examined, device, gpu, None, "auto", size)


def _describe_kind(examined: Examined) -> Settings:
    found, able, tokenizer = examined.found, examine_abilities(examined), examined.tokenizer
    reach = check_reach(examined.scheduler, examined.defaults.num_inference_steps)
    device = check.device(None)
    dtype = auto_dtype(device, found.tensors["unet"])
    advice = list_advice(found.tensors, examined.models, device, dtype)
    return {
        "model": found.name,
        "layout": found.layout,
        "revision": _find_revision(found),
        "family": able.family,
        "picture": f"{able.width}x{able.height}",
        "pictures": able.pictures,
        "words": list(able.words),
        "prediction_type": examined.scheduler.prediction_type,
        "notes": [*found.notes, *([reach] if reach else []), *advice],
        "machine": list_missing(device),
        "tokens": len(tokenizer.each[0].clip) if tokenizer else None,
        "longest_prompt": tokenizer.length - 2 if tokenizer else None,  # start and end are tokens
    }


def _describe_contents(examined: Examined) -> Settings:
    found, counts = examined.found, _count_parameters(examined)
    total = sum(counts.values())
    named = {_shorten(path, found.folder): path for path in found.files}
    named |= {f"vae {path.name}": path for path in examined.vae}  # one that replaces its own
    sizes = {name: path.stat().st_size for name, path in named.items()}
    return {
        "parameters": counts | {"all": total},
        "dtypes": {part: _list_dtypes(found, part) for part in counts},
        "weight_bytes": {dtype: total * size for dtype, size in BYTES.items()},
        "files": sizes,
        "bytes": sum(sizes.values()),
    }


def _format_lines(data: Settings) -> list[str]:
    """The same data as lines for people."""
    revision, tokens, steps = data["revision"], data["tokens"], data["defaults"]
    edit, parameters = data["edit"], data["parameters"]
    prompt = f"{tokens} tokens, {data['longest_prompt']} in a prompt"
    return [
        *_label("model", f"{data['model']} ({data['layout']})"),
        *_label("revision", *([revision] if revision else [])),
        *_label("family", data["family"]),
        *_label("picture", data["picture"]),
        *_label("pictures", *([data["pictures"]] if data["pictures"] else [])),
        *_label("words", *wrap_words(data["words"])),
        *_label("prediction", data["prediction_type"]),
        *_label("clip skip", *([str(data["clip_skip"])] if data["clip_skip"] else [])),
        *_label("notes", *data["notes"]),
        *_label("machine", *data["machine"]),
        *_label("sampler", LABELS[data["scheduler"]["sampler"]]),
        *_label("scheduler", _describe_scheduler(data["scheduler"])),
        *_label("tokenizer", prompt if tokens else "none here: by default the hub's is used"),
        *(line for part, dtypes in data["dtypes"].items() for line in
          _label(part, f"{parameters[part]:>13,} parameters in {', '.join(dtypes)}"
                 + ("; it is TAESD, a small VAE" if "num_decoder_blocks" in data[part] else ""))),
        *_label("all", f"{parameters['all']:>13,} parameters: {_by_dtype(data['weight_bytes'])}"),
        *_label(
            "edit",
            f"{edit['picture']}, {pluralize(steps['num_inference_steps'], 'step')}, guidance "
            f"{steps['guidance_scale']:g}, with its source: "
            f"{pluralize(edit['unet_rows'], 'UNet row')}",
            format_count(edit["flops"]["all"], FLOPS),
            f"memory on a CPU: {_by_dtype(edit['peak_bytes'])}",
        ),
        *_label("GPU", *(format_gpu(data["gpu"]) if data["gpu"] else [])),
        *_label("files", *(f"{_size(n)}  {name}" for name, n in data["files"].items())),
        *_label("size", _size(data["bytes"])),
        *_label("sha256", *([data["sha256"]] if data["sha256"] else [])),
    ]  # fmt: skip


def _label(name: str, *texts: str) -> list[str]:
    """Texts below each other, with the name left of the first."""
    return [f"{'' if i else name:<14}{text}" for i, text in enumerate(texts)]


def wrap_words(words: list[str]) -> list[str]:
    """The words that a model knows as lines for people; none if it does not say them."""
    some = ", ".join(words[:MAX_WORDS])
    more = f", and {len(words) - MAX_WORDS} more" if len(words) > MAX_WORDS else ""
    return wrap(f"it knows {len(words)}: {some}{more}", WIDTH) if words else []


def _size(count: int) -> str:
    return f"{format_count(count, SIZES):>8}"


def _by_dtype(sizes: dict[str, int]) -> str:
    return ", ".join(f"{format_count(size, SIZES)} in {dtype}" for dtype, size in sizes.items())


def _find_size(examined: Examined) -> tuple[int, int]:
    """The default height and width of the model's pictures in pixels."""
    factor = examined.models["vae"].config.factor
    y, x = examined.models["unet"].config.latent_size
    return y * factor, x * factor


def _count_parameters(examined: Examined) -> dict[str, int]:
    return {part: sum(p.numel() for p in m.parameters()) for part, m in examined.models.items()}


def _find_revision(found: Checkpoint) -> str | None:
    """The commit of a checkpoint in the hub's cache, where it is the name of a folder."""
    parts = found.files[0].parts
    return next((part for part in parts if re.fullmatch("[0-9a-f]{40}", part)), None)


def _describe_scheduler(config: Settings) -> str:
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


def _list_dtypes(found: Checkpoint, part: str) -> list[str]:
    return sorted({str(t.dtype).removeprefix("torch.") for t in found.tensors[part].values()})


def _shorten(path: Path, folder: Path | None) -> str:
    return path.relative_to(folder).as_posix() if folder else path.name

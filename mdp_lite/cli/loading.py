"""Loading the model that the command line asks for."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

from mdp_lite.checkpoint.load import Choices, Examined
from mdp_lite.cli.model_options import (
    CheckpointOptions,
    ClusterEngineOptions,
    EngineOptions,
    GpuOptions,
    ModelOptions,
)
from mdp_lite.cli.naming import CHOSEN, GPU, naming
from mdp_lite.editor import Editor
from mdp_lite.engine.gpu import GpuSettings
from mdp_lite.files.atomic import warn_once
from mdp_lite.pipeline import check
from mdp_lite.pipeline.choices import build_choices, load_parts
from mdp_lite.store.cache import open_cache


def open_editor(
    model: ModelOptions,
    engine: EngineOptions | ClusterEngineOptions,
    check_fit: Callable[[Examined], None] = lambda examined: None, plans: bool = False,
) -> Editor:  # fmt: skip
    """Load the model of the command line; check_fit is as in load_parts, plans in warn_idle."""
    settings = read_gpu(model.gpu)
    warn_idle(model.gpu, check.device(model.device), plans)
    addons, cache = (model.vae, model.lora, model.embedding), open_cache(model.cache)
    parts = load_parts(
        model.name, model.device, model.dtype, read_choices(model.checkpoint), addons,
        engine.mode, engine.packages, settings, check_fit,
    )  # fmt: skip
    return Editor(parts.models, parts.device, cache, parts.mode, parts.packages, parts.gpu)


def open_editor_in_thread(
    model: ModelOptions, engine: EngineOptions | ClusterEngineOptions
) -> Editor:
    """Load the model in a thread that ends, for commands whose models run in another thread.

    A thread that has computed keeps its OpenMP threads until it ends. If two such threads live,
    there are more OpenMP threads than cores, and they sleep after each layer: on two cores the
    service's edits took 1.4 times as long (benchmarks/results/serve.md).
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(open_editor, model, engine).result()


def read_choices(known: CheckpointOptions) -> Choices:
    """The options that say what a checkpoint does not say about itself."""
    with naming(CHOSEN):
        return build_choices(
            (known.revision, None, known.offline), known.model_variant, known.ema,
            known.prediction_type, known.tokenizer, known.clip_skip, known.sampler,
            known.timestep_spacing,
        )  # fmt: skip


def read_gpu(known: GpuOptions) -> GpuSettings:
    """How a GPU computes, and how much of its memory may be used."""
    with naming(GPU):
        return GpuSettings(
            known.tf32, not known.no_channels_last, known.cudnn_benchmark, known.gpu_memory
        )


def warn_idle(known: GpuOptions, device: torch.device, plans: bool) -> None:
    """Log a warning, once, if options for a GPU are given where nothing reads them.

    plans: the command plans for a GPU that need not be here, so that its memory is read.
    """
    given = {
        "--tf32": known.tf32, "--cudnn-benchmark": known.cudnn_benchmark,
        "--no-channels-last": known.no_channels_last,
        "--gpu-memory": known.gpu_memory is not None and not plans,
    }  # fmt: skip
    names = [name for name, is_given in given.items() if is_given]
    if names and device.type != "cuda":
        verb = "has" if len(names) == 1 else "have"
        warn_once(f"{', '.join(names)} {verb} no effect on {device.type}")

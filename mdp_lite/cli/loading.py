"""Loading the model that the command line asks for."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from mdp_lite.checkpoint.load import Choices, Hub
from mdp_lite.cli.model_options import (
    CheckpointOptions,
    ClusterEngineOptions,
    EngineOptions,
    ModelOptions,
)
from mdp_lite.editor import Editor
from mdp_lite.pipeline import check


def open_editor(model: ModelOptions, engine: EngineOptions | ClusterEngineOptions) -> Editor:
    """Load the model of the command line."""
    known = model.checkpoint
    return Editor.from_pretrained(
        model.name, model.device, model.dtype, known.model_variant, known.prediction_type,
        known.ema, known.tokenizer, model.vae, model.lora, cast(Any, model.embedding),
        known.revision, None, known.offline, model.cache, engine.mode, engine.packages,
        known.clip_skip,
    )  # fmt: skip


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
    check.load_choices(known.model_variant, known.prediction_type, known.revision, None)
    hub = Hub(known.revision, None, known.offline)
    return Choices(
        known.model_variant, known.ema, known.prediction_type, known.tokenizer, hub,
        known.clip_skip,
    )  # fmt: skip

"""Options that most commands share: what is printed, the model, and how it runs."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Protocol

import typer

from mdp_lite.cli.choices import (
    ClusterMode,
    Dtype,
    EngineMode,
    PredictionType,
    Sampler,
    Spacing,
)
from mdp_lite.cli.values import read_embedding, read_lora
from mdp_lite.names import DEFAULT_MODEL

MAX_SIDE = 4096  # pixels


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a command prints, and whether it only checks."""

    heading: ClassVar[str] = "output"
    json: Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")] = False
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress, no messages")] = False
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="check everything and print the cost, but write nothing"),
    ] = False


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(RunOptions):
    """The same for a command that writes no file."""

    dry_run: Annotated[bool, typer.Option("--dry-run", help="compute nothing")] = False


class CommandOptions(Protocol):
    """What the options of every command have."""

    command: ClassVar[str]

    @property
    def run(self) -> RunOptions:
        """What it prints."""
        ...


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
    """What a checkpoint does not say about itself, and how the hub is used."""

    heading: ClassVar[str] = "checkpoint"
    model_variant: Annotated[
        str | None,
        typer.Option(
            "--model-variant", metavar="NAME", help="which files of a folder, such as fp16"
        ),
    ] = None
    prediction_type: Annotated[
        PredictionType | None,
        typer.Option("--prediction-type", help="what the model predicts",
                     show_default="what the checkpoint says"),
    ] = None  # fmt: skip
    sampler: Annotated[
        Sampler | None,
        typer.Option("--sampler", help="how it is sampled",
                     show_default="ddim, but by name or config for models of few steps"),
    ] = None  # fmt: skip
    timestep_spacing: Annotated[
        Spacing | None,
        typer.Option("--timestep-spacing", help="of the sampler",
                     show_default="the checkpoint's, trailing for Turbo, Lightning, Hyper"),
    ] = None  # fmt: skip
    ema: Annotated[
        bool, typer.Option("--ema", help="the averaged UNet of a single file")
    ] = False  # fmt: skip
    tokenizer: Annotated[
        str | None,
        typer.Option("--tokenizer", metavar="PLACE", help="a folder or hub id, for a single file"),
    ] = None
    clip_skip: Annotated[
        int,
        typer.Option("--clip-skip", metavar="N", min=0,
                     help="so many more of the text encoders' last layers are left out"),
    ] = 0  # fmt: skip
    revision: Annotated[
        str | None,
        typer.Option("--revision", metavar="NAME", help="of a hub id: a branch, tag or commit"),
    ] = None
    offline: Annotated[
        bool, typer.Option("--offline", help="use only what the hub's cache holds")
    ] = False  # fmt: skip


GPU_MEMORY = typer.Option(
    "--gpu-memory", metavar="GB", min=0.1, help="how much of a GPU's memory to plan for",
    show_default="what is free",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GpuOptions:
    """How a GPU computes; not measured on one yet."""

    heading: ClassVar[str] = "GPU"
    gpu_memory: Annotated[float | None, GPU_MEMORY] = None
    tf32: Annotated[
        bool, typer.Option("--tf32", help="multiply float32 with 10 bits of mantissa, faster")
    ] = False  # fmt: skip
    no_channels_last: Annotated[
        bool,
        typer.Option("--no-channels-last", help="leave the layout of convolutions' weights"),
    ] = False
    cudnn_benchmark: Annotated[
        bool,
        typer.Option("--cudnn-benchmark", help="time cuDNN's algorithms for each shape"),
    ] = False


MODEL = typer.Option(
    "--model", metavar="MODEL", show_default=f"{DEFAULT_MODEL}, which is bundled",
    help="a folder, a .safetensors file or a hub id",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How a model is loaded, what is added to it, and where its sources are stored."""

    heading: ClassVar[str] = "model"
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1 or mps",
                     show_default="a GPU if there is one, else cpu"),
    ] = None  # fmt: skip
    dtype: Annotated[
        Dtype,
        typer.Option(
            "--dtype",
            help="auto is 16 bits on cuda, else the checkpoint's "
            "(on a CPU float16 becomes float32)",
        ),
    ] = "auto"
    vae: Annotated[
        str | None,
        typer.Option("--vae", metavar="PLACE", help="another VAE: a folder, file or hub id"),
    ] = None
    lora: Annotated[
        tuple[tuple[str, float], ...],
        typer.Option("--lora", metavar="FILE[:STRENGTH]", parser=read_lora,
                     show_default="strength 1",
                     help="a LoRA to merge; can be given several times"),
    ] = ()  # fmt: skip
    embedding: Annotated[
        tuple[tuple[str, str | None], ...],
        typer.Option("--embedding", metavar="FILE[=WORD]", parser=read_embedding,
                     help="a word learned by textual inversion; can be given several times"),
    ] = ()  # fmt: skip
    cache: Annotated[
        str | None,
        typer.Option("--cache", metavar="FOLDER", envvar="MDP_LITE_CACHE",
                     help="store sources there and reuse them"),
    ] = None  # fmt: skip
    checkpoint: CheckpointOptions = CheckpointOptions()
    gpu: GpuOptions = GpuOptions()


@dataclass(frozen=True, kw_only=True)
class ModelOptions(LoadOptions):
    """The model, and how it is loaded."""

    name: Annotated[str, MODEL] = DEFAULT_MODEL

    def for_driver(self, dry_run: bool) -> "ModelOptions":
        """The model of a cluster's driver, which makes no edits: on a CPU, no GPU's options."""
        return replace(self, device=self.device if dry_run else "cpu", gpu=GpuOptions())


_PACKAGES = typer.Option(
    "--packages", metavar="FOLDER", envvar="MDP_LITE_PACKAGES",
    help="what mdp-lite compile wrote, which is machine code: use a folder that you trust",
)  # fmt: skip
_AUTO = "auto is aot with --packages, else graph on cuda and eager on cpu and mps"


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How the UNet is run."""

    heading: ClassVar[str] = "engine"
    mode: Annotated[EngineMode, typer.Option("--engine", help=_AUTO)] = "auto"
    packages: Annotated[Path | None, _PACKAGES] = None


@dataclass(frozen=True, kw_only=True)
class ClusterEngineOptions:
    """How the UNet is run, also by many machines."""

    heading: ClassVar[str] = "engine"
    mode: Annotated[
        ClusterMode, typer.Option("--engine", help=f"{_AUTO}; ray is a cluster")
    ] = "auto"  # fmt: skip
    packages: Annotated[Path | None, _PACKAGES] = None

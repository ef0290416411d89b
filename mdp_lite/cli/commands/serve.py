"""The options of `mdp-lite serve`; mdp_lite/serve/settings.py checks them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from mdp_lite.cli.model_options import ClusterEngineOptions, ModelOptions, RunOptions
from mdp_lite.cli.values import read_gigabytes

LIMITED = "a limit that the operations guide lists; can be given several times"
MODEL_MEMORY = typer.Option(
    "--model-memory", metavar="GB", min=0.001, parser=read_gigabytes,
    show_default="the first model's and 70% of what is free",
    help="for the weights of all loaded models, as 12 or 12GB",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ReplicaOptions:
    """How many replicas there are, what each uses, and when another one is started."""

    heading: ClassVar[str] = "on a Ray cluster (--engine ray)"
    replicas: Annotated[
        int | None,
        typer.Option("--replicas", metavar="N", min=1, help="the fewest", show_default="1"),
    ] = None
    max_replicas: Annotated[
        int | None,
        typer.Option("--max-replicas", metavar="N", min=1, show_default="as --replicas",
                     help="the most, started as work waits"),
    ] = None  # fmt: skip
    replica_rows: Annotated[
        int | None,
        typer.Option("--replica-rows", metavar="N", min=1, show_default="2000 rows",
                     help="waiting UNet rows of each replica above which another one starts; rows "
                     "of larger pictures than the model's own count as more"),
    ] = None  # fmt: skip
    replica_cpus: Annotated[
        int | None,
        typer.Option("--replica-cpus", metavar="N", min=1, help="CPU cores of each",
                     show_default="1"),
    ] = None  # fmt: skip
    replica_gpus: Annotated[
        int | None,
        typer.Option("--replica-gpus", metavar="N", min=0, help="GPUs of each",
                     show_default="1 if this machine has one"),
    ] = None  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ServedModelsOptions:
    """Models beside the one of --model, and LoRAs that requests may name."""

    heading: ClassVar[str] = "several models"
    serve_model: Annotated[
        tuple[str, ...],
        typer.Option("--serve-model", metavar="ALIAS=MODEL",
                     help="another model, loaded when a request names it; can be given several "
                     "times"),
    ] = ()  # fmt: skip
    models_file: Annotated[
        Path | None,
        typer.Option("--models", metavar="FILE",
                     help="the same as TOML, with more of each model: see the operations guide; "
                     "or a folder of models"),
    ] = None  # fmt: skip
    lora_folder: Annotated[
        Path | None,
        typer.Option("--lora-folder", metavar="FOLDER",
                     help="the .safetensors files that a request may name as its lora"),
    ] = None  # fmt: skip
    model_memory: Annotated[float | None, MODEL_MEMORY] = None


@dataclass(frozen=True, kw_only=True)
class AccessOptions:
    """Who may use a service that listens."""

    heading: ClassVar[str] = "who may use it"
    key_file: Annotated[
        str | None,
        typer.Option("--key-file", metavar="FILE",
                     help="API keys, one a line (or the variable MDP_LITE_API_KEYS, separated by "
                     "commas)"),
    ] = None  # fmt: skip
    open: Annotated[
        bool, typer.Option("--open", help="accept everybody who reaches the host, without a key")
    ] = False


@dataclass(frozen=True, kw_only=True)
class WorkOptions:
    """What a service computes at most, and what it writes into pictures."""

    heading: ClassVar[str] = "limits and pictures"
    rows: Annotated[
        int | None,
        typer.Option("--rows", metavar="N", min=0,
                     show_default="0 on a CPU, as many as 2 GiB hold on a GPU",
                     help="the most UNet rows of a call; 0: every picture has its own calls"),
    ] = None  # fmt: skip
    limit: Annotated[
        tuple[str, ...], typer.Option("--limit", metavar="NAME=VALUE", help=LIMITED)
    ] = ()  # fmt: skip
    no_metadata: Annotated[
        bool, typer.Option("--no-metadata", help="do not write the settings into pictures")
    ] = False


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """A service with the OpenAI Images API."""

    command: ClassVar[str] = "serve"
    example: ClassVar[str] = "mdp-lite serve --port 8000 --limit steps=50 --dry-run"
    host: Annotated[
        str,
        typer.Option("--host", metavar="HOST", show_default="127.0.0.1, this machine only",
                     help="where the service listens"),
    ] = "127.0.0.1"  # fmt: skip
    port: Annotated[
        int,
        typer.Option("--port", metavar="N", min=0, max=65535, help="0 is any free port"),
    ] = 8000
    alias: Annotated[
        tuple[str, ...],
        typer.Option("--alias", metavar="NAME", show_default="mdp-lite",
                     help="the model's name for clients; can be given several times"),
    ] = ()  # fmt: skip
    no_openai_names: Annotated[
        bool,
        typer.Option("--no-openai-names", help="refuse requests that name a model of OpenAI's, as "
                     "gpt-image-1; else they get this model's pictures, and are told so"),
    ] = False  # fmt: skip
    origin: Annotated[
        tuple[str, ...],
        typer.Option("--origin", metavar="URL",
                     help="a page whose scripts browsers let call the service; can be given "
                     "several times"),
    ] = ()  # fmt: skip
    app: Annotated[
        bool,
        typer.Option("--app", help="serve the page of mdp-lite app too, under /app (needs the "
                     "extra [app])"),
    ] = False  # fmt: skip
    mcp: Annotated[
        bool,
        typer.Option("--mcp", help="serve the tools of mdp-lite mcp too, under /mcp (needs the "
                     "extra [mcp])"),
    ] = False  # fmt: skip
    mcp_folder: Annotated[
        tuple[str, ...],
        typer.Option("--mcp-folder", metavar="DIR",
                     help="a folder whose pictures clients of the tools may name, and in which "
                     "they may save new ones; can be given several times"),
    ] = ()  # fmt: skip
    drain: Annotated[
        float,
        typer.Option("--drain", metavar="SECONDS", min=0, show_default="30 s",
                     help="after SIGTERM, the time for requests that have begun"),
    ] = 30.0  # fmt: skip
    safety_hook: Annotated[
        str | None,
        typer.Option("--safety-hook", metavar="MODULE:FUNCTION",
                     help="a function that gets a list of pictures and returns which of them to "
                     "withhold"),
    ] = None  # fmt: skip
    trace: Annotated[
        bool,
        typer.Option("--trace", help="send OpenTelemetry's spans where the variables OTEL_* say "
                     "(needs the extra [trace])"),
    ] = False  # fmt: skip
    jobs: Annotated[
        str | None,
        typer.Option("--jobs", metavar="FOLDER", show_default="jobs/ in the folder of --cache",
                     help="where jobs are stored; without a folder they are lost at the end"),
    ] = None  # fmt: skip
    webhook_host: Annotated[
        tuple[str, ...],
        typer.Option("--webhook-host", metavar="HOST[:PORT]",
                     help="whom jobs may tell of their end by HTTPS, or http://HOST:PORT; can be "
                     "given several times"),
    ] = ()  # fmt: skip
    webhook_secret_file: Annotated[
        str | None,
        typer.Option("--webhook-secret-file", metavar="FILE",
                     help="the secret that signs webhooks (or the variable "
                     "MDP_LITE_WEBHOOK_SECRET)"),
    ] = None  # fmt: skip
    access: AccessOptions = AccessOptions()
    work: WorkOptions = WorkOptions()
    models: ServedModelsOptions = ServedModelsOptions()
    replica: ReplicaOptions = ReplicaOptions()
    model: ModelOptions = ModelOptions()
    engine: ClusterEngineOptions = ClusterEngineOptions()
    run: RunOptions = RunOptions()


OPTIONS = ServeOptions

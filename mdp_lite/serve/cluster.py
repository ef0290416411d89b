"""The service on a Ray cluster: replicas of the same application, more of them as work waits.

Ray Serve starts, routes, queues, scales, checks and drains. A replica has one engine, which batches
the steps of the requests that it gets. Replicas share nothing but the cache's folder.

    serve run mdp_lite.serve.cluster:application model=ORG/NAME max_replicas=4 cache=/shared/sources
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from typing import Any

import torch
from fastapi import FastAPI

from mdp_lite.cli.application import read_command_line
from mdp_lite.cli.commands.serve import ReplicaOptions, ServeOptions
from mdp_lite.cli.loading import open_editor_in_thread
from mdp_lite.names import BadInput, MissingExtra
from mdp_lite.serve import app
from mdp_lite.serve.gate import App, Message, Receive, Send
from mdp_lite.serve.logs import log_requests
from mdp_lite.serve.options import read_settings
from mdp_lite.serve.service import Service
from mdp_lite.serve.settings import ServiceSettings, check_settings

NAME = "mdp-lite"  # of the application and of its deployment
REPLICA_ROWS = 2000
# Seconds: load is averaged over WINDOW; more or fewer replicas must be wanted for UP or DOWN.
WINDOW, UP, DOWN = 15.0, 10.0, 300.0
CHECK, HUNG = 10.0, 60.0  # seconds between two checks of a replica, and until one has failed
RETRY = 5.0  # seconds after which a client that got a 429 may try again


class ReplicaPolicy:
    """How many replicas Ray should run: one for every `rows` UNet rows that wait."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __call__(self, load: Any) -> tuple[float, dict[str, Any]]:
        """The number of replicas, and an empty state, as Ray asks for it.

        A request that waits outside the replicas counts as many rows as the mean of those inside.
        """
        totals = load.aggregated_metrics or {}
        rows, requests = (sum(totals.get(name, {}).values()) for name in ("rows", "requests"))
        outside = load.total_queued_requests * rows / requests if requests else 0.0
        return (rows + outside) / self.rows, {}


class Replica:
    """One engine behind the application, in one process."""

    def __init__(self, folder: str, args: ServeOptions, settings: ServiceSettings) -> None:
        with suppress(OSError):  # on another machine all paths must be absolute
            os.chdir(folder)
        torch.set_num_threads(args.replica.replica_cpus or 1)
        log_requests(args.run.quiet)
        self.application = app.application(open_editor_in_thread(args.model, args.engine), settings)
        self.application.add_middleware(strip_request_id)  # pyright: ignore[reportArgumentType]
        self.service: Service = self.application.state.service

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The application; Ray calls this once."""
        return self.application

    def check_health(self) -> None:
        """Raise, or do not return, if the models don't answer. The first call waits for them."""
        self.service.pulse()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """The numbers that ReplicaPolicy reads."""
        return {"rows": self.service.rows, "requests": self.service.open_requests}


def strip_request_id(app: App) -> App:
    """The application without the header x-request-id in its answers: Ray's proxy adds it."""

    async def call(scope: Message, receive: Receive, send: Send) -> None:
        async def send_stripped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                message["headers"] = [one for one in headers if one[0] != b"x-request-id"]
            await send(message)

        await app(scope, receive, send_stripped)

    return call


def application(args: dict[str, Any]) -> Any:
    """The application that `serve run` deploys, from options of `mdp-lite serve` as NAME=VALUE.

    Unknown options raise BadInput. Ray's own options say where it listens; give host as well if
    that is not this machine alone.
    """
    words = [word for name, value in args.items() for word in _to_options(name, value)]
    options = read_command_line(["serve", *words])
    if not isinstance(options, ServeOptions):
        raise BadInput(f"want options of mdp-lite serve, got {' '.join(words)}")
    options = resolve_sizes(options)
    return build_deployment(options, check_settings(read_settings(options)))


def build_deployment(args: ServeOptions, settings: ServiceSettings) -> Any:
    """The application as Ray Serve takes it."""
    from ray import serve  # pyright: ignore[reportMissingImports]
    from ray.serve.config import (  # pyright: ignore[reportMissingImports]
        AutoscalingConfig,
        AutoscalingPolicy,
        BackpressureConfig,
    )

    limits, sizes = settings.limits, args.replica
    rows = {"rows": sizes.replica_rows}
    by_rows = AutoscalingPolicy(policy_function=ReplicaPolicy, policy_kwargs=rows)
    deployment = serve.deployment(
        name=NAME,
        max_ongoing_requests=2 * limits.tasks,
        max_queued_requests=limits.requests,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=RETRY),
        autoscaling_config=AutoscalingConfig(
            min_replicas=sizes.replicas, max_replicas=sizes.max_replicas, look_back_period_s=WINDOW,
            upscale_delay_s=UP, downscale_delay_s=DOWN, policy=by_rows,
        ),
        ray_actor_options={"num_cpus": sizes.replica_cpus, "num_gpus": sizes.replica_gpus},
        graceful_shutdown_timeout_s=settings.drain,
        health_check_period_s=CHECK,
        health_check_timeout_s=HUNG,
    )  # fmt: skip
    replica = deployment(serve.ingress()(Replica))
    return replica.bind(os.getcwd(), args, replace(settings, replicas=sizes.max_replicas or 1))


@contextmanager
def run_on_cluster(args: ServeOptions, settings: ServiceSettings, port: int) -> Iterator[None]:
    """Run the service on the cluster of RAY_ADDRESS, or on one of this machine.

    At the end, running requests finish first; Ray Serve is left running if others have joined it.
    Raises BadInput if Ray Serve runs already: it then listens elsewhere, and may have an
    application of this name.
    """
    import ray  # pyright: ignore[reportMissingImports]
    from ray import serve  # pyright: ignore[reportMissingImports]

    _join(args)
    try:
        if serve.status().proxies:
            how = "'serve run mdp_lite.serve.cluster:application' adds to what it has"
            raise BadInput(f"Ray Serve runs on this cluster already: {how}")
        logs = {"log_level": "WARNING", "enable_access_log": False}  # the service has its own
        serve.start(http_options={"host": settings.host, "port": port}, logging_config=logs)
        try:
            serve.run(build_deployment(args, settings), name=NAME, logging_config=logs)
            yield
        finally:
            _drain(settings.drain)
            if not serve.status().applications:
                serve.shutdown()
    finally:
        ray.shutdown()


def _drain(seconds: float) -> None:
    """Take no new requests and wait for the running ones; Ray waits a minute at a time."""
    from ray import serve  # pyright: ignore[reportMissingImports]

    for _ in range(1 + int(seconds // 60)):
        with suppress(TimeoutError):
            return serve.delete(NAME)


def check_ray() -> None:
    """Raise MissingExtra if Ray is not installed."""
    try:
        import ray.serve  # pyright: ignore[reportMissingImports]  # noqa: F401
    except ImportError as error:
        more = "pip install 'mdp-lite[serve,ray]'"
        raise MissingExtra(f"engine ray needs more: {more} ({error})") from None


def resolve_sizes(args: ServeOptions) -> ServeOptions:
    """The options with every size set; engine is that of a replica. Raises BadInput."""
    check_one_model(args)
    sizes = args.replica
    least = sizes.replicas or 1
    most = sizes.max_replicas or least
    if most < least:
        raise BadInput(f"--max-replicas must be {least} or more, as --replicas is, got {most}")
    gpus = sizes.replica_gpus
    if gpus is None:
        gpus = int(args.model.device != "cpu" and torch.cuda.is_available())
    replica = ReplicaOptions(
        replicas=least, max_replicas=most, replica_rows=sizes.replica_rows or REPLICA_ROWS,
        replica_cpus=sizes.replica_cpus or 1, replica_gpus=gpus,
    )  # fmt: skip
    mode = "auto" if args.engine.mode == "ray" else args.engine.mode
    return replace(args, replica=replica, engine=replace(args.engine, mode=mode))


def check_one_model(args: ServeOptions) -> None:
    """Raise BadInput for several models on a cluster, whose replicas are of one model."""
    for name, value in asdict(args.models).items():
        if value not in (None, ()):
            option = {"models_file": "models"}.get(name, name.replace("_", "-"))
            raise BadInput(f"--{option} is for one process, got it with --engine ray")


def _to_options(name: str, value: Any) -> list[str]:
    """NAME=VALUE as words of the command line; true and false are for options without a value."""
    option = "--" + name.replace("_", "-")
    if isinstance(value, list):
        return [word for one in value for word in _to_options(name, one)]
    if str(value).lower() in ("true", "false"):
        return [option] if str(value).lower() == "true" else []
    return [f"{option}={value}"]


def _join(args: ServeOptions) -> None:
    """Join the cluster of RAY_ADDRESS, or start one here that is large enough for all replicas."""
    import ray  # pyright: ignore[reportMissingImports]

    logs = {"log_to_driver": not args.run.quiet, "logging_level": "ERROR"}
    if "RAY_ADDRESS" in os.environ:
        ray.init(**logs)
    else:
        wanted = (args.replica.max_replicas or 1) * (args.replica.replica_cpus or 1)
        cores = max(os.cpu_count() or 1, wanted)
        ray.init(num_cpus=cores, include_dashboard=False, **logs)

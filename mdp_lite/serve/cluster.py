"""The service on a Ray cluster: replicas of the same application, more of them as work waits.

Ray Serve is all that starts, routes, queues, scales, checks and drains. A replica has one engine,
which puts steps of its own requests together. Replicas share nothing but the cache's folder.

    serve run mdp_lite.serve.cluster:application model=ORG/NAME max_replicas=4 cache=/shared/sources
"""

import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch
from fastapi import FastAPI

from mdp_lite.cli.arguments import build_parser
from mdp_lite.cli.loading import open_editor_in_thread
from mdp_lite.serve import app
from mdp_lite.serve.gate import App, Message, Receive, Send
from mdp_lite.serve.service import Service
from mdp_lite.serve.settings import Settings, checked
from mdp_lite.serve.words import log_requests, settings_of

NAME = "mdp-lite"  # of the application and its deployment
SIZES = {  # what is for a cluster alone: the default, and the least
    "replicas": (1, 1),
    "max_replicas": (None, 1),
    "replica_cpus": (1, 1),
    "replica_gpus": (None, 0),
    "replica_rows": (2000, 1),
}
WINDOW, UP, DOWN = 15.0, 10.0, 300.0  # seconds: load is averaged; more or less is wanted so long
CHECK, HUNG = 10.0, 60.0  # seconds between two checks of a replica, and until one has failed
RETRY = 5.0  # seconds after which a client that was turned away may ask again


class Load:
    """How many replicas the waiting work asks for: one for so many UNet rows."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __call__(self, seen: Any) -> tuple[float, dict[str, Any]]:
        """Replicas, and no state. What waits outside them is taken to cost what is inside does."""
        told = seen.aggregated_metrics or {}
        rows, requests = (sum(told.get(name, {}).values()) for name in ("rows", "requests"))
        outside = seen.total_queued_requests * rows / requests if requests else 0.0
        return (rows + outside) / self.rows, {}


class Replica:
    """One engine behind the application, in a process of its own."""

    def __init__(self, folder: str, args: Namespace, settings: Settings) -> None:
        with suppress(OSError):  # another machine: there all paths have to be whole ones
            os.chdir(folder)
        torch.set_num_threads(args.replica_cpus)
        log_requests(args.quiet)
        self.application = app.application(open_editor_in_thread(args), settings)
        self.application.add_middleware(unnamed)  # pyright: ignore[reportArgumentType]
        self.service: Service = self.application.state.service

    def __serve_build_asgi_app__(self) -> FastAPI:
        """What Ray asks for once."""
        return self.application

    def check_health(self) -> None:
        """Raises, or does not return, if the models don't answer; the first waits for them."""
        self.service.pulse()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What Load goes by."""
        return {"rows": self.service.rows, "requests": self.service.open}


def unnamed(app: App) -> App:
    """An application whose answers don't say the request's id: Ray's proxy does, and gave it."""

    async def called(scope: Message, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = message["headers"]
                message["headers"] = [one for one in told if one[0] != b"x-request-id"]
            await send(message)

        await app(scope, receive, sent)

    return called


def application(said: dict[str, Any]) -> Any:
    """What `serve run` deploys: options of `mdp-lite serve` as NAME=VALUE; others are refused.

    Ray's own options say where it listens; tell host as well if that is not this machine alone.
    """
    words = [word for name, value in said.items() for word in _words(name, value)]
    args = sized(build_parser().parse_args(["serve", *words]))
    return deployed(args, checked(settings_of(args)))


def deployed(args: Namespace, settings: Settings) -> Any:
    """The application as Ray Serve takes it."""
    from ray import serve  # pyright: ignore[reportMissingImports]
    from ray.serve.config import (  # pyright: ignore[reportMissingImports]
        AutoscalingConfig,
        AutoscalingPolicy,
        BackpressureConfig,
    )

    limits = settings.limits
    by_rows = AutoscalingPolicy(policy_function=Load, policy_kwargs={"rows": args.replica_rows})
    deployment = serve.deployment(
        name=NAME,
        max_ongoing_requests=2 * limits.jobs,
        max_queued_requests=limits.requests,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=RETRY),
        autoscaling_config=AutoscalingConfig(
            min_replicas=args.replicas, max_replicas=args.max_replicas, look_back_period_s=WINDOW,
            upscale_delay_s=UP, downscale_delay_s=DOWN, policy=by_rows,
        ),
        ray_actor_options={"num_cpus": args.replica_cpus, "num_gpus": args.replica_gpus},
        graceful_shutdown_timeout_s=settings.drain,
        health_check_period_s=CHECK,
        health_check_timeout_s=HUNG,
    )  # fmt: skip
    made = deployment(serve.ingress()(Replica))
    return made.bind(os.getcwd(), args, replace(settings, replicas=args.max_replicas))


@contextmanager
def running(args: Namespace, settings: Settings, port: int) -> Iterator[None]:
    """The service on the cluster of RAY_ADDRESS, or on one of this machine, until the end.

    It ends as what was begun is done; Ray Serve is left running if others have joined it.
    ValueError if it runs already: then it listens elsewhere, and may have a service of this name.
    """
    import ray  # pyright: ignore[reportMissingImports]
    from ray import serve  # pyright: ignore[reportMissingImports]

    _join(args)
    try:
        if serve.status().proxies:
            how = "'serve run mdp_lite.serve.cluster:application' adds to what it has"
            raise ValueError(f"Ray Serve runs on this cluster already: {how}")
        logs = {"log_level": "WARNING", "enable_access_log": False}  # the service has its own
        serve.start(http_options={"host": settings.host, "port": port}, logging_config=logs)
        try:
            serve.run(deployed(args, settings), name=NAME, logging_config=logs)
            yield
        finally:
            _drained(settings.drain)
            if not serve.status().applications:
                serve.shutdown()
    finally:
        ray.shutdown()


def _drained(seconds: float) -> None:
    """Take no new request, and wait for those that were begun; Ray waits a minute at a time."""
    from ray import serve  # pyright: ignore[reportMissingImports]

    for _ in range(1 + int(seconds // 60)):
        with suppress(TimeoutError):
            return serve.delete(NAME)


def check_ray() -> None:
    """That Ray is there, or a sentence on what is missing."""
    try:
        import ray.serve  # pyright: ignore[reportMissingImports]  # noqa: F401
    except ImportError as error:
        more = "pip install 'mdp-lite[serve,ray]'"
        raise ValueError(f"engine ray needs more: {more} ({error})") from None


def sized(args: Namespace) -> Namespace:
    """The same for a cluster: every size is told and can be, and the engine is a replica's."""
    said: dict[str, Any] = {}
    for name, (default, least) in SIZES.items():
        value = getattr(args, name)
        if value is not None and value < least:
            raise ValueError(f"{name.replace('_', '-')} must be {least} or more, got {value}")
        said[name] = default if value is None else value
    least = said["replicas"]
    said["max_replicas"] = most = said["max_replicas"] or least
    if most < least:
        raise ValueError(f"max-replicas must be {least} or more, as replicas is, got {most}")
    if said["replica_gpus"] is None:
        said["replica_gpus"] = int(args.device != "cpu" and torch.cuda.is_available())
    said["engine"] = "auto" if args.engine == "ray" else args.engine
    return Namespace(**vars(args) | said)


def _words(name: str, value: Any) -> list[str]:
    """An option of the command line; true and false are for those that take no value."""
    option = "--" + name.replace("_", "-")
    if isinstance(value, list):
        return [word for one in value for word in _words(name, one)]
    if str(value).lower() in ("true", "false"):
        return [option] if str(value).lower() == "true" else []
    return [f"{option}={value}"]


def _join(args: Namespace) -> None:
    """The cluster of RAY_ADDRESS, or one of this machine, large enough for all replicas."""
    import ray  # pyright: ignore[reportMissingImports]

    told = {"log_to_driver": not args.quiet, "logging_level": "ERROR"}
    if "RAY_ADDRESS" in os.environ:
        ray.init(**told)
    else:
        cores = max(os.cpu_count() or 1, args.max_replicas * args.replica_cpus)
        ray.init(num_cpus=cores, include_dashboard=False, **told)

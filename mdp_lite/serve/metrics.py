"""The metrics of a service, for Prometheus."""

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from mdp_lite.serve.work import PictureResult

# Kinds of pictures. Each picture is counted once: a sweep of four adds 4.
KINDS = ("edit", "source_edit", "generation", "generated_edit", "sweep")
REFUSALS = ("late_head", "gave_way", "too_many", "malformed")  # why a connection is closed
REASONS = ("work", "memory", "requests")  # there was too much of
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class ConnectionCounts:
    """What became of a server's connections. A replica has none: they are its proxy's."""

    def __init__(self) -> None:
        self.open = self.accepted = 0
        self.refused: dict[str, int] = dict.fromkeys(REFUSALS, 0)


class Metrics:
    """Counters of one service, in their own registry. Gauges are read when Prometheus asks."""

    def __init__(self, service: Any) -> None:
        self._service, self.registry = service, CollectorRegistry()
        counter = lambda name, text, labels=(): Counter(  # noqa: E731
            f"mdp_lite_{name}", text, labels, registry=self.registry
        )
        self.requests = counter("requests", "answered requests", ("route", "status"))
        self.request_seconds = Histogram(
            "mdp_lite_request_seconds", "seconds from a request's head to the end of its answer",
            ("route",), buckets=BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.cancelled = counter("cancelled", "requests whose client left before the answer")
        self.refused = counter(
            "refused", "requests refused as too much was waiting, by what", ("reason",)
        )
        self.pictures = counter(
            "pictures", "pictures that were made, by the kind of request", ("kind", "finished")
        )
        for reason in REASONS:
            self.refused.labels(reason)
        for kind in KINDS:
            self.pictures.labels(kind, "true")  # so that each kind is there from the start
        self.sources = counter("sources_made", "sources that were made")
        self.rebuilt = counter("sources_rebuilt", "sources that were made again from a recipe")
        self.seconds = Histogram(
            "mdp_lite_seconds", "seconds of a stage", ("stage",), buckets=BUCKETS,
            registry=self.registry,
        )  # fmt: skip
        self.registry.register(self)  # type: ignore[arg-type]

    def count_pictures(self, kind: str, results: Iterable[PictureResult]) -> None:
        """Count the pictures of a request of one of KINDS, each once."""
        for one in results:
            self.pictures.labels(kind, str(one.finished).lower()).inc()

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that is answered; route is the path of its handler, or none."""
        self.requests.labels(route, status).inc()
        self.request_seconds.labels(route).observe(seconds)

    def observe_seconds(self, seconds: dict[str, float]) -> None:
        """Add the seconds of the stages of one task."""
        for stage, value in seconds.items():
            self.seconds.labels(stage).observe(value)

    def collect(self) -> Iterator[Any]:
        """The gauges and counters that the service and its batcher hold now."""
        service, batcher = self._service, self._service.batcher
        connections: ConnectionCounts = service.connections
        for name, value, text in (
            ("ready", int(service.ready), "1 if new requests are taken, else 0"),
            ("open_requests", service.open_requests, "requests that are not answered yet"),
            ("open_connections", connections.open, "connections that are open"),
            ("waiting_work", service.work, "FLOPs that were let in and are not done"),
            ("waiting_rows", service.rows, "the same in UNet rows at the model's own size"),
            ("waiting_seconds", service.wait_seconds, "the same in seconds, by estimate"),
            ("waiting_bytes", service.memory.total, "bytes that open requests take, at most"),
            ("working_bytes", service.memory.working, "those of them that running tasks take"),
            ("tasks", service.tasks, "tasks that work now"),
            ("members", batcher.clients, "tasks that wait for the models or are between two steps"),
            ("sources", len(service.store), "sources that are kept"),
            ("source_bytes", service.store.size, "bytes that they take"),
        ):
            yield GaugeMetricFamily(f"mdp_lite_{name}", text, value)
        for name, value, text in (
            ("connections", connections.accepted, "connections that were accepted"),
            ("unet_calls", batcher.calls, "calls of the UNet"),
            ("unet_rows", batcher.rows, "rows of these calls"),
            ("unet_seconds", batcher.seconds, "seconds that they took"),
            ("halved", batcher.halved, "calls that were halved for want of memory"),
        ):
            yield CounterMetricFamily(f"mdp_lite_{name}", text, value)
        text = "connections that were closed without an answer to a request"
        refused = CounterMetricFamily("mdp_lite_connections_refused", text, labels=["reason"])
        for reason, number in connections.refused.items():
            refused.add_metric([reason], number)
        yield refused
        yield from _collect_models(service)

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)


def _collect_models(service: Any) -> Iterator[Any]:
    """What the pool of models did, and the bytes that each has now."""
    counts, aliases = service.pool.counts, service.loader.facts
    for name, values, text in (
        ("model_loads", counts.loads, "models that were loaded, also with LoRAs"),
        ("model_failures", counts.failures, "models that could not be loaded"),
        ("model_unloads", counts.unloads, "models that were unloaded"),
        ("model_load_seconds", counts.seconds, "seconds that loading took"),
    ):
        family = CounterMetricFamily(f"mdp_lite_{name}", text, labels=("model",))
        for alias in aliases:
            family.add_metric((alias,), values.get(alias, 0))
        yield family
    gauge = GaugeMetricFamily("mdp_lite_model_bytes", "bytes of loaded weights", labels=("model",))
    for alias in aliases:
        gauge.add_metric((alias,), service.pool.bytes.get(alias, 0))
    yield gauge

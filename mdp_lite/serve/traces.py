"""OpenTelemetry's traces of a service: a span for each request, with one for each of its stages.

OpenTelemetry is imported inside functions only, so that a service without --trace does not pay for
it. Spans never hold prompts, pictures, keys, addresses, or names and ids that a client chose, but
for the request's id, which is in the log too.
"""

import threading
import time
from typing import TYPE_CHECKING

from mdp_lite.names import MissingExtra
from mdp_lite.version import __version__

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

FLUSH = 5.0  # seconds that the end of a service waits for spans to be sent
PARENT = b"traceparent"  # the header of the W3C's Trace Context
SECOND = 10**9  # in nanoseconds, which OpenTelemetry counts


def check_tracing() -> bool:
    """True if OpenTelemetry is installed. Raises MissingExtra."""
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: F401
        import opentelemetry.sdk.trace  # noqa: F401
    except ImportError as error:
        message = f"--trace needs more: pip install 'mdp-lite[trace]' ({error})"
        raise MissingExtra(message) from None
    return True


class RequestSpan:
    """The span of one request. header is its traceparent, or None if nothing is traced."""

    def __init__(self, tracer: "Tracer", span: "Span", context: "Context", started: int) -> None:
        self._tracer, self._span, self._context = tracer, span, context
        self._started, self._is_read = started, False
        own = span.get_span_context()
        ids = f"{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}"
        self.header = f"00-{ids}".encode() if own.is_valid else None

    def add_stages(self, seconds: dict[str, float]) -> None:
        """Add spans of the stages of a job that ends now; the stages follow one another.

        seconds: of each stage, in order. Reading the request ("decode") is at its start, once.
        """
        rest = dict(seconds)
        read = rest.pop("decode", None)
        if read is not None and not self._is_read:
            self._is_read = True
            self._add("decode", self._started, round(read * SECOND))
        end = time.time_ns()
        for stage, value in reversed(rest.items()):
            length = round(value * SECOND)
            self._add(stage, end - length, length)
            end -= length

    def _add(self, stage: str, start: int, length: int) -> None:
        self._tracer.start_span(stage, self._context, start_time=start).end(start + length)

    def end(self, method: str, route: str, status: int, kind: str | None) -> None:
        """End the span, with what the log says of the request."""
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attributes({"http.route": route, "http.response.status_code": status})
        if kind is not None:
            self._span.set_attribute("mdp_lite.kind", kind)
        if status >= 500:
            self._span.set_attribute("error.type", str(status))
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.update_name(f"{method} {route}")
        self._span.end()


class Tracing:
    """Sends spans to a collector, in a separate thread: failures there disturb no request.

    The environment says where and how much (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER and
    the others of OpenTelemetry); a test may give its own exporter instead.
    """

    def __init__(self, exporter: "SpanExporter | None" = None) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        about = Resource.create({"service.name": "mdp-lite", "service.version": __version__})
        about = about.merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=about, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("mdp_lite.serve", __version__)

    def begin(self, method: str, headers: dict[bytes, bytes], name: str) -> RequestSpan:
        """The span of a request with this id; it is of the caller's trace if it names one."""
        from opentelemetry.trace import SpanKind, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = {"traceparent": headers[PARENT].decode("latin-1")} if PARENT in headers else {}
        started = time.time_ns()
        span = self._tracer.start_span(
            method, TraceContextTextMapPropagator().extract(parent), SpanKind.SERVER,
            {"http.request.method": method, "mdp_lite.request_id": name}, start_time=started,
        )  # fmt: skip
        return RequestSpan(self._tracer, span, set_span_in_context(span), started)

    def flush(self) -> None:
        """Send what is done, however long that takes."""
        self._provider.force_flush()

    def close(self) -> None:
        """Send what is left, within FLUSH seconds."""
        thread = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        thread.start()
        thread.join(FLUSH)

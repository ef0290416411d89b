"""OpenTelemetry's traces: a span for each request and stage, and a collector that disturbs none."""

import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from mdp_lite.editor import Editor
from mdp_lite.names import MissingExtra
from mdp_lite.serve import traces
from mdp_lite.serve.traces import RequestSpan, Tracing, check_tracing
from support.inverting import picture
from support.serving import KEY, WAIT, RunningService, file_of, open_client, run_service, wait_until

FILE = file_of(picture())
SOURCE = {"source_prompt": "a yak", "num_inference_steps": "2"}
DATA = {"prompt": "a zebra"} | SOURCE
BODY = {"prompt": "a zebra", "num_inference_steps": 2}
EDITS, GENERATIONS = "/v1/images/edits", "/v1/images/generations"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Traced:
    """A service whose spans are collected, and a client of it."""

    def __init__(self, at: RunningService) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracing = at.service.tracing = Tracing(self.exporter)
        self.client = open_client(at)
        self.client.headers["Authorization"] = f"Bearer {KEY}"

    def request(self, method: str, path: str, **more: Any) -> httpx2.Response:
        self.exporter.clear()
        return self.client.request(method, path, **more)

    def spans(self) -> Sequence[ReadableSpan]:
        """Of the last request, which ends a moment after its answer has come."""
        wait_until(self._has_ended)
        return self.exporter.get_finished_spans()

    def _has_ended(self) -> bool:
        self.tracing.flush()
        return any(one.kind is SpanKind.SERVER for one in self.exporter.get_finished_spans())


@pytest.fixture(scope="module")
def traced(editor: Editor) -> Iterator[Traced]:
    with run_service(editor, keys=(KEY,)) as at:
        one = Traced(at)
        yield one
        one.client.close()
        one.tracing.close()


def test_an_edit_has_a_span_for_each_stage(traced: Traced) -> None:
    answer = traced.request("POST", EDITS, data=DATA, files={"image": FILE})
    *stages, whole = sorted(traced.spans(), key=lambda span: span.kind is SpanKind.SERVER)
    assert answer.status_code == 200 and whole.parent is None
    assert whole.name == f"POST {EDITS}" and whole.status.status_code is StatusCode.UNSET
    assert whole.attributes == {
        "http.request.method": "POST", "http.route": EDITS, "http.response.status_code": 200,
        "mdp_lite.kind": "edit", "mdp_lite.request_id": answer.headers["x-request-id"],
    }  # fmt: skip
    stages.sort(key=lambda span: span.start_time or 0)
    assert [one.name for one in stages] == ["decode", "queue", "invert", "edit", "encode"]
    ends = [whole.start_time, *(time for one in stages for time in (one.start_time, one.end_time))]
    assert ends == sorted(ends, key=lambda time: time or 0)  # one stage after the other
    for one in stages:
        assert one.parent and one.parent.span_id == whole.context.span_id and not one.attributes
    seconds = answer.json()["timings"]
    for one in stages:
        length = ((one.end_time or 0) - (one.start_time or 0)) / 1e9
        assert length == pytest.approx(seconds[one.name], abs=1e-4)


@pytest.mark.parametrize(
    ("path", "body", "names"),
    [
        (GENERATIONS, {"json": BODY}, ["decode", "queue", "generate", "encode"]),
        (GENERATIONS, {"json": BODY | {"stream": True}}, ["decode", "queue", "generate", "encode"]),
        ("/v1/sources", {"data": SOURCE}, ["queue", "generate"]),
    ],
    ids=["generation", "stream", "source"],
)
def test_stages_of_other_requests(
    traced: Traced, path: str, body: dict[str, Any], names: list[str]
) -> None:
    assert traced.request("POST", path, **body).status_code == 200
    assert sorted(span.name for span in traced.spans()) == sorted([*names, f"POST {path}"])


def test_several_pictures_are_read_once(traced: Traced) -> None:
    assert traced.request("POST", GENERATIONS, json=BODY | {"n": 3}).status_code == 200
    names = [span.name for span in traced.spans()]
    assert {name: names.count(name) for name in ("decode", "queue", "generate", "encode")} == {
        "decode": 1, "queue": 3, "generate": 3, "encode": 3,
    }  # fmt: skip


def test_a_caller_s_trace_goes_on(traced: Traced) -> None:
    header = f"00-{TRACE}-{PARENT}-01"
    answer = traced.request("GET", "/v1/models", headers={"traceparent": header})
    (span,) = traced.spans()
    assert span.parent and f"{span.parent.span_id:016x}" == PARENT
    assert answer.headers["traceparent"] == f"00-{TRACE}-{span.context.span_id:016x}-01"


@pytest.mark.parametrize("header", ["", "nonsense", f"00-{'0' * 32}-{PARENT}-01", "00-é-b-01"])
def test_a_wrong_parent_is_none(traced: Traced, header: str) -> None:
    sent = {"traceparent": header.encode("latin-1")}
    answer = traced.request("GET", "/v1/models", headers=sent)  # type: ignore[arg-type]
    (span,) = traced.spans()
    assert answer.status_code == 200 and span.parent is None
    assert answer.headers["traceparent"].split("-")[1] == f"{span.context.trace_id:032x}"


def test_what_the_caller_does_not_sample_is_not_sent(traced: Traced) -> None:
    header = f"00-{TRACE}-{PARENT}-00"
    answer = traced.request("POST", GENERATIONS, json=BODY, headers={"traceparent": header})
    assert answer.status_code == 200 and answer.headers["traceparent"].endswith("-00")
    traced.client.get("/v1/models")
    assert [span.name for span in traced.spans()] == ["GET /v1/models"]


def test_refusals_and_failures(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    traced.request("GET", "/v1/models", headers={"Authorization": "Bearer wrong"})
    (span,) = traced.spans()
    assert span.name == "GET none" and span.status.status_code is StatusCode.UNSET
    monkeypatch.setattr("mdp_lite.serve.forms.check_limits", lambda *_: 1 / 0)
    assert traced.request("POST", GENERATIONS, json=BODY).status_code == 500
    (span,) = traced.spans()
    assert span.status.status_code is StatusCode.ERROR and not span.events
    assert span.attributes and span.attributes["error.type"] == "500"


def test_without_the_option_nothing_is_traced(editor: Editor) -> None:
    with run_service(editor) as at, open_client(at) as client:
        assert at.service.tracing is None
        header = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        assert "traceparent" not in client.get("/v1/models", headers=header).headers


def test_the_option_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_tracing()
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingExtra, match=r"pip install 'mdp-lite\[trace\]'"):
        check_tracing()


def test_the_sdk_may_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    tracing = Tracing(InMemorySpanExporter())
    span = tracing.begin("GET", {}, "id")
    assert isinstance(span, RequestSpan) and span.header is None
    span.add_stages({"decode": 0.1, "edit": 0.2})
    span.end("GET", "/", 500, None)
    tracing.close()


@contextmanager
def run_collector(status: int) -> Iterator[tuple[str, list[bytes], threading.Event]]:
    """A collector that answers so, or for 0 stalls until its event is set; what it got."""
    bodies: list[bytes] = []
    release = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            if not status:
                release.wait(WAIT)
            self.send_response(status or 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", bodies, release
        finally:
            release.set()
            server.shutdown()
            thread.join()


def test_spans_are_sent_at_the_end(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")  # never before the end
    monkeypatch.setenv("OTEL_SERVICE_NAME", "pictures")
    with run_collector(200) as (url, bodies, _):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        with run_service(editor, trace=True) as at, open_client(at) as client:
            assert client.get("/v1/models").status_code == 200 and not bodies
    (sent,) = bodies
    (resource,) = ExportTraceServiceRequest.FromString(sent).resource_spans
    about = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert about["service.name"] == "pictures" and about["service.version"]
    assert [one.name for one in resource.scope_spans[0].spans] == ["GET /v1/models"]


@pytest.mark.parametrize("status", [400, 503, 0], ids=["refuses", "fails", "stalls"])
def test_a_bad_collector_disturbs_no_request(
    editor: Editor, status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setattr(traces, "FLUSH", 0.1)
    caplog.set_level(logging.CRITICAL, "opentelemetry")
    with run_collector(status) as (url, bodies, _):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        with run_service(editor, trace=True) as at, open_client(at) as client:
            for _ in range(3):
                assert client.post(GENERATIONS, json=BODY).status_code == 200
        assert bodies  # the service has ended, though the collector has not answered


def test_no_collector_disturbs_no_request(
    editor: Editor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setattr(traces, "FLUSH", 0.1)
    caplog.set_level(logging.CRITICAL, "opentelemetry")
    with run_service(editor, trace=True) as at, open_client(at) as client:
        assert client.post(GENERATIONS, json=BODY).status_code == 200

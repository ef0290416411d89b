"""Nothing that a client sends reaches the log, the metrics, a trace, or another client."""

import io
import json
import logging
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mdp_lite.editor import Editor
from mdp_lite.pipeline.warn import WORDS
from mdp_lite.serve.logs import log_requests
from mdp_lite.serve.traces import Tracing
from support.secrets_in_requests import GENERATIONS, MARK, list_raw_requests, list_requests
from support.serving import KEY, OTHER, RunningService, open_client, run_service, wait_until

# The test's own client, which runs in this process, and the exporter's network.
OURS = ("httpcore2", "httpx2", "asyncio", "urllib3")
SEEN = re.compile(MARK, re.IGNORECASE)


@contextmanager
def written_log() -> Iterator[io.StringIO]:
    """What a service writes to its log, of every level that a logger may have."""
    root, own, text = logging.getLogger(), logging.getLogger("mdp_lite.serve"), io.StringIO()
    handlers, levels, stderr = list(root.handlers), (root.level, own.level), sys.stderr
    try:
        sys.stderr = text
        log_requests(quiet=False)
        root.handlers[-1].addFilter(lambda record: not record.name.startswith(OURS))
        root.setLevel(logging.DEBUG)
        own.setLevel(logging.DEBUG)
        yield text
    finally:
        sys.stderr, root.handlers[:] = stderr, handlers
        root.setLevel(levels[0])
        own.setLevel(levels[1])
        logging.captureWarnings(False)
        logging.getLogger(WORDS).setLevel(logging.NOTSET)


class Watched:
    """A service whose log, metrics and spans are collected."""

    def __init__(self, at: RunningService, text: io.StringIO) -> None:
        self.at, self.text, self.exporter = at, text, InMemorySpanExporter()
        at.service.tracing = Tracing(self.exporter)
        self.client, self.other = open_client(at), open_client(at)
        self.client.headers["Authorization"] = f"Bearer {KEY}"
        self.other.headers["Authorization"] = f"Bearer {OTHER}"

    def lines(self) -> list[dict[str, Any]]:
        """The lines of the log; each is one object of JSON."""
        wait_until(lambda: self.at.service.open_requests == 0)
        return [json.loads(line) for line in self.text.getvalue().splitlines()]

    def everything(self) -> str:
        """All that operators see."""
        assert self.lines() and self.at.service.tracing
        self.at.service.tracing.flush()
        spans = [span.to_json() for span in self.exporter.get_finished_spans()]
        return "\n".join([self.text.getvalue(), self.other.get("/metrics").text, *spans])


@pytest.fixture(scope="module")
def watched(editor: Editor) -> Iterator[Watched]:
    with written_log() as text, run_service(editor, keys=(KEY, OTHER)) as at:
        one = Watched(at, text)
        yield one
        for client in (one.client, one.other):
            client.close()


def find_leaks(text: str) -> list[str]:
    return [line[:2000] for line in text.splitlines() if SEEN.search(line)]


def test_requests_leave_no_trace_of_what_they_say(watched: Watched) -> None:
    statuses = [
        watched.client.request(method, path, **more).status_code
        for method, path, more in list_requests()
    ]
    assert set(statuses) == {200, 400, 401, 403, 404, 405, 415}
    port = int(watched.at.url.rpartition(":")[2])
    for data in list_raw_requests():
        with socket.create_connection(("127.0.0.1", port), 60) as line:
            line.sendall(data)
            line.shutdown(socket.SHUT_WR)
            line.recv(65536)
    assert find_leaks(watched.everything()) == []
    assert sum(one.get("status") == 200 for one in watched.lines()) >= statuses.count(200)


def test_ids_of_sources_and_keys_are_nowhere(watched: Watched) -> None:
    data = {"source_prompt": "a", "num_inference_steps": "1"}
    name = watched.client.post("/v1/sources", data=data).json()["id"]
    assert watched.client.get(f"/v1/sources/{name}").status_code == 200
    body = {"source": name, "prompts": ["a"]}
    assert watched.client.post("/v1/sweeps", json=body).status_code == 200
    assert watched.other.get(f"/v1/sources/{name}").status_code == 404
    text = watched.everything()
    assert not any(secret in text for secret in (name, KEY, OTHER))


@pytest.mark.parametrize("where", ["route", "job", "stream", "cause", "models"])
def test_failures_name_the_place_and_not_the_prompt(
    watched: Watched, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        if where == "cause":
            try:
                raise FileNotFoundError(2, "No such file", f"/{MARK}")
            except OSError as error:
                raise KeyError(MARK) from error
        raise KeyError(MARK)

    target = "mdp_lite.serve.jobs.generate_picture"
    if where == "route":
        target = "mdp_lite.serve.forms.check_limits"
    monkeypatch.setattr(target, fail)
    if where == "models":
        monkeypatch.undo()
        monkeypatch.setattr(watched.at.service.batcher, "_denoise", fail)
    before = len(watched.lines())
    body = {"prompt": MARK, "num_inference_steps": 1, "stream": where == "stream"}
    answer = watched.client.post(GENERATIONS, json=body)
    assert "the server failed" in answer.text and not SEEN.search(answer.text)
    lines = watched.lines()[before:]
    failures = [one for one in lines if one["level"] == "error" and "id" in one]
    (one,) = failures
    assert one["id"] == answer.headers["x-request-id"]
    assert one["errors"][0]["type"] == "KeyError" and "fail" in one["errors"][0]["frames"][-1]
    if where == "cause":
        assert one["errors"][1]["message"] == "No such file"
    assert find_leaks(watched.everything()) == []


def test_torch_s_own_messages_are_logged(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access")

    monkeypatch.setattr("mdp_lite.serve.forms.check_limits", fail)
    watched.client.post(GENERATIONS, json={"prompt": "a"})
    assert "illegal memory access" in watched.everything()


def test_other_clients_see_none_of_it(watched: Watched) -> None:
    asked: list[httpx2.Response] = [
        watched.other.request(method, path, **more)
        for method, path, more in (
            ("GET", "/v1/sources/none", {}), ("GET", "/v1/models/none", {}), ("GET", "/none", {}),
            ("GET", "/v1/models", {}), ("GET", "/openapi.json", {}), ("GET", "/docs", {}),
            ("POST", GENERATIONS, {"json": {"prompt": ""}}), ("POST", GENERATIONS, {}),
            ("POST", "/v1/images/edits", {"data": {"prompt": "a"}}), ("GET", "/metrics", {}),
        )
    ]  # fmt: skip
    assert not any(SEEN.search(f"{one.headers} {one.text}") for one in asked)


def test_each_line_says_when_and_what(watched: Watched) -> None:
    answer = watched.client.post(GENERATIONS, json={"prompt": "a", "num_inference_steps": 1})
    watched.client.get("/v1/models")
    lines = watched.lines()
    for one in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]{12}\+00:00", one["time"])
        assert one["level"] in ("info", "warning", "error")
    (line,) = (one for one in lines if one.get("id") == answer.headers["x-request-id"])
    assert {name: line[name] for name in ("level", "method", "route", "kind", "status")} == {
        "level": "info", "method": "POST", "route": GENERATIONS, "kind": "generation",
        "status": 200,
    }  # fmt: skip
    assert line["seconds"] > 0 and line["rows"] == 2
    assert lines[-1]["kind"] is None


def test_a_leak_would_be_found() -> None:
    with written_log() as text:
        logging.getLogger("mdp_lite.serve").info("of %s", MARK)
        logging.getLogger("other").warning(MARK.upper())
        logging.getLogger("other").debug(MARK)
        assert len(find_leaks(text.getvalue())) == 2

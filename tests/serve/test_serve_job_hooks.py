"""Webhooks: whom they reach, how they are signed, and receivers that fail, stall and lie."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from standardwebhooks import Webhook

from mdp_lite.editor import Editor
from mdp_lite.names import BadInput
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.queue import claims, deliveries, webhooks
from mdp_lite.serve.queue.records import Delivery
from mdp_lite.serve.queue.webhooks import Failed, Webhooks, read_host
from mdp_lite.serve.settings import JobSettings
from support.jobs import error_of, submit, wait_for_end
from support.serving import run_service, wait_until

SECRET = "whsec_" + "c2VjcmV0" * 4
HUGE = str(10**12)
Answer = Callable[[BaseHTTPRequestHandler], None]


class Receiver(ThreadingHTTPServer):
    """A server of this machine that stores what it gets, and answers as it is told."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.received = list(answers), list[tuple[dict[str, str], bytes]]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?a=1"

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Gives the next of its server's answers, the last one for ever."""

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Receiver) and self.path == "/hook?a=1"
        data = self.rfile.read(int(self.headers["Content-Length"]))
        server.received.append(({k.lower(): v for k, v in self.headers.items()}, data))
        answers = server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def say(status: int, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in ({"Content_Length": "0"} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return answer


def stall(handler: BaseHTTPRequestHandler) -> None:
    """A byte of a head now and then, and never the end of it."""
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        for _ in range(100):
            handler.wfile.write(b"x")
            time.sleep(0.05)
    except OSError:
        pass


def flood(handler: BaseHTTPRequestHandler) -> None:
    """A head without end."""
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000)
    except OSError:
        pass


@contextmanager
def receiving(*answers: Answer) -> Iterator[Receiver]:
    with Receiver(*answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def deliver(hooks: Webhooks, url: str) -> str | None:
    """The reason why one attempt failed, or None."""
    try:
        asyncio.run(hooks.send(Delivery(1, "msg_1", url, '{"type":"job.succeeded"}', 1)))
    except Failed as error:
        return str(error) + (" (final)" if error.is_final else "")
    return None


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (say(204), None),
        (say(200, Content_Length=HUGE), None),  # what it promises to send is not read
        (say(500), "status 500"),
        (say(410), "status 410 (final)"),
        (say(302, Location="http://127.0.0.1:1/"), "status 302: redirects are not followed"),
        (say(307, Location="https://a.example/"), "status 307: redirects are not followed"),
        (flood, "RemoteProtocolError on the way"),
        (stall, "no answer within 0.3 seconds"),
        (lambda handler: handler.wfile.write(b"SSH-2.0\r\n\r\n"), "RemoteProtocolError on the way"),
        (lambda handler: handler.connection.shutdown(socket.SHUT_RDWR), "Remote"),
    ],
)
def test_what_an_answer_means(
    answer: Answer, why: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if answer is stall:
        monkeypatch.setattr(webhooks, "TIMEOUT", 0.3)
    with receiving(answer) as server:
        found = deliver(Webhooks([server.host], SECRET), server.url)
        assert found == why or (why == "Remote" and found and "on the way" in found)
        ((headers, data),) = server.received
    assert Webhook(SECRET).verify(data, headers) == {"type": "job.succeeded"}
    assert headers["webhook-id"] == "msg_1" and headers["host"] in server.host


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "0.0.0.0", "::1",
     "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1",
     "255.255.255.255"],
)  # fmt: skip
def test_a_name_may_not_lead_to_private_addresses(address: str) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["93.184.215.14", address]

    hooks = Webhooks(["a.example"], SECRET, resolve)
    assert "not public" in (deliver(hooks, "https://a.example/") or "")


def test_the_address_that_was_checked_is_used() -> None:
    """The name is looked up once, and private addresses only count if they are listed."""
    asked = list[str]()

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    with receiving(say(200)) as server:
        port = server.server_port
        name, url = f"http://a.example:{port}", f"http://a.example:{port}/hook?a=1"
        assert deliver(Webhooks([name, server.host], SECRET, resolve), url) is None
        assert asked == ["a.example"] and server.received[0][0]["host"] == f"a.example:{port}"
        assert "not public" in (deliver(Webhooks([name], SECRET, resolve), url) or "")
    assert deliver(Webhooks([name, server.host], SECRET, resolve), url)  # nobody listens


def test_plain_http_is_no_tls() -> None:
    with receiving(say(200)) as server:
        host = f"127.0.0.1:{server.server_port}"
        hooks = Webhooks([host], SECRET)
        assert "on the way" in (deliver(hooks, f"https://{host}/hook") or "")
        with pytest.raises(ApiError, match="none of the allowed hosts"):
            hooks.check_url(server.url)
        assert server.received == []


@pytest.mark.parametrize(
    "url",
    ["ftp://a.example/", "https://b.example/", "https://a.example:444/", "http://a.example/",
     "https://u:p@a.example/", "https://a.example@b.example/", "https://a.example/#x", "a.example",
     "https://a.example:99999/", "https://a.example.b.example/", "https://a.example/\n",
     "https://[::1", "https://a.example/" + "x" * 2000, "https:///a.example", "https://a.exämple/"],
)  # fmt: skip
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ApiError) as caught:
        Webhooks(["a.example"], SECRET).check_url(url)
    assert caught.value.status == 400 and caught.value.param == "webhook"


def test_hosts_and_secrets_of_the_operator() -> None:
    assert read_host("A.example") == ("https", "a.example", 443)
    assert read_host("a.example:8443") == ("https", "a.example", 8443)
    assert read_host("http://10.0.0.5:90") == ("http", "10.0.0.5", 90)
    assert read_host("[::1]") == ("https", "::1", 443)
    for bad in ("", "*.example", "ftp://a", "a/b", "a:b", "u@a", "http://", "[::1"):
        with pytest.raises(BadInput, match="webhook-host"):
            read_host(bad)
    for secret in (None, "whsec_?", "whsec_c2hvcnQ=", ""):
        with pytest.raises(BadInput, match="secret"):
            Webhooks(["a.example"], secret)
    assert Webhooks([], None).is_on is False


def test_the_end_of_a_job_is_told_until_it_is_heard(
    editor: Editor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a restart, with the same id and the same bytes."""
    monkeypatch.setattr(claims, "DELAYS", (0.01,) * 3)
    monkeypatch.setattr(deliveries, "POLL", 0.01)
    with receiving(say(500), say(302), say(200)) as server:
        jobs = JobSettings(str(tmp_path), {}, (server.host,), SECRET)
        with run_service(editor, jobs=jobs) as at, httpx2.Client(base_url=at.url) as client:
            job = submit(client, webhook=server.url)
            assert job["webhook"]["state"] == "waiting"
            wait_for_end(client, job)
            find = lambda: client.get(f"/v1/jobs/{job['id']}").json()["webhook"]  # noqa: E731
            wait_until(lambda: find()["state"] == "delivered")
            assert find()["attempts"] == 3 and find()["error"] is None
            assert 'mdp_lite_webhooks_total{state="delivered"} 1.0' in client.get("/metrics").text
    messages = [Webhook(SECRET).verify(data, headers) for headers, data in server.received]
    assert messages[0] == messages[2] and set(messages[0]) == {"type", "timestamp", "data"}
    assert messages[0]["type"] == "job.succeeded"
    assert messages[0]["data"] == {"id": job["id"], "state": "succeeded"}
    assert len({headers["webhook-id"] for headers, _ in server.received}) == 1


def test_a_message_that_nobody_hears_fails(
    editor: Editor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "DELAYS", (0.01,) * 2)
    monkeypatch.setattr(deliveries, "POLL", 0.01)
    with receiving(say(503)) as server:
        jobs = JobSettings(str(tmp_path), {}, (server.host,), SECRET)
        with run_service(editor, jobs=jobs) as at, httpx2.Client(base_url=at.url) as client:
            answer = client.post("/v1/jobs", json={
                "endpoint": "/v1/images/generations", "body": {"prompt": "a"},
                "webhook": "https://a.example/",
            })  # fmt: skip
            assert error_of(answer, 400)[0] == "webhook"
            job = submit(client, webhook=server.url)
            find = lambda: client.get(f"/v1/jobs/{job['id']}").json()["webhook"]  # noqa: E731
            wait_until(lambda: find()["state"] == "failed")
            assert find()["attempts"] == 3 and find()["error"] == "status 503"
    assert len(server.received) == 3
    assert json.loads(server.received[0][1])["data"]["id"] == job["id"]

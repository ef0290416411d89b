"""The gate alone, with a client inside the test: answers that are not read, ids, open requests."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from mdp_lite.editor import Editor
from mdp_lite.serve.gate import Gate, Message, Receive, Send
from mdp_lite.serve.service import Service
from mdp_lite.serve.settings import Limits, ServiceSettings

SCOPE = {"type": "http", "method": "GET", "path": "/x", "headers": [(b"host", b"localhost")]}
START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"x"}


@pytest.fixture
def service(editor: Editor) -> Iterator[Service]:
    one = Service(editor, ServiceSettings(limits=Limits(requests=1, write=0.05)))
    yield one
    one.close()


async def answer(scope: Message, receive: Receive, send: Send) -> None:
    await send(dict(START))
    await send(dict(BODY))


async def empty_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def test_a_client_that_does_not_read_is_disconnected(service: Service) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def run() -> None:
        async with asyncio.timeout(10):
            await Gate(answer, service)(dict(SCOPE), empty_body, send)

    asyncio.run(run())
    assert [one["type"] for one in sent] == ["http.response.start", "http.response.body"]
    assert service.open_requests == 0


def test_open_requests_are_bounded(service: Service) -> None:
    async def run() -> list[Any]:
        go, sent = asyncio.Event(), []

        async def slow(scope: Message, receive: Receive, send: Send) -> None:
            await go.wait()
            await answer(scope, receive, send)

        async def send(message: Message) -> None:
            sent.append(message)

        gate = Gate(slow, service)
        first = asyncio.ensure_future(gate(dict(SCOPE), empty_body, send))
        await asyncio.sleep(0)
        await gate(dict(SCOPE), empty_body, send)
        go.set()
        await first
        return sent

    sent = asyncio.run(run())
    assert [one["status"] for one in sent if "status" in one] == [429, 200]
    assert json.loads(sent[1]["body"])["error"]["code"] == "rate_limit_exceeded"
    assert dict(sent[0]["headers"])[b"retry-after"] == b"1" and service.open_requests == 0


@pytest.mark.parametrize("begun", [False, True])
def test_an_error_that_nobody_foresaw(
    service: Service, caplog: pytest.LogCaptureFixture, begun: bool
) -> None:
    sent: list[Message] = []

    async def failing(scope: Message, receive: Receive, send: Send) -> None:
        if begun:
            await send(dict(START))
        raise KeyError("of the application")

    async def send(message: Message) -> None:
        sent.append(message)

    run = lambda: asyncio.run(Gate(failing, service)(dict(SCOPE), empty_body, send))  # noqa: E731
    if begun:  # the server closes the connection, as half an answer can't be mended
        with pytest.raises(KeyError):
            run()
        return
    run()
    headers = dict(sent[0]["headers"])
    assert sent[0]["status"] == 500 and b"x-request-id" in headers
    assert json.loads(sent[1]["body"])["error"]["code"] == "internal_error"
    (record,) = (one for one in caplog.records if one.levelname == "ERROR")
    assert record.fields["id"].encode() == headers[b"x-request-id"]  # type: ignore[attr-defined]


def test_a_request_has_its_own_id_or_gets_one(service: Service) -> None:
    def id_of(header: bytes) -> str:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        scope = SCOPE | {"headers": [*SCOPE["headers"], (b"x-request-id", header)]}
        asyncio.run(Gate(answer, service)(scope, empty_body, send))
        (found,) = (value for name, value in sent[0]["headers"] if name == b"x-request-id")
        return found.decode()

    assert id_of(b"trace-7.a:b") == "trace-7.a:b"
    for header in (b"", b"two words", b"a" * 65, b'"quoted"', b"\xe4", b"a\n"):
        assert re.fullmatch("req_[0-9a-f]{24}", id_of(header))

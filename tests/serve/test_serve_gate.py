"""The gate alone, under a client of the test's own: bodies that do not end, answers not read."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from mdp_lite.editor import Editor
from mdp_lite.serve.gate import Gate, Message, Receive, Send
from mdp_lite.serve.service import Service
from mdp_lite.serve.settings import Limits, Settings

SCOPE = {"type": "http", "method": "GET", "path": "/x", "headers": [(b"host", b"localhost")]}
START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"x"}


@pytest.fixture
def service(editor: Editor) -> Iterator[Service]:
    one = Service(editor, Settings(limits=Limits(requests=1, write=0.05)))
    yield one
    one.close()


async def answering(scope: Message, receive: Receive, send: Send) -> None:
    await send(dict(START))
    await send(dict(BODY))


async def nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def test_a_client_that_does_not_read_is_let_go(service: Service) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def run() -> None:
        async with asyncio.timeout(10):
            await Gate(answering, service)(dict(SCOPE), nothing, send)

    asyncio.run(run())
    assert [one["type"] for one in sent] == ["http.response.start", "http.response.body"]
    assert service.open == 0


def test_so_many_requests_are_open_at_one_time(service: Service) -> None:
    async def run() -> list[Any]:
        go, told = asyncio.Event(), []

        async def slow(scope: Message, receive: Receive, send: Send) -> None:
            await go.wait()
            await answering(scope, receive, send)

        async def send(message: Message) -> None:
            told.append(message)

        gate = Gate(slow, service)
        first = asyncio.ensure_future(gate(dict(SCOPE), nothing, send))
        await asyncio.sleep(0)
        await gate(dict(SCOPE), nothing, send)
        go.set()
        await first
        return told

    told = asyncio.run(run())
    assert [one["status"] for one in told if "status" in one] == [429, 200]
    assert json.loads(told[1]["body"])["error"]["code"] == "rate_limit_exceeded"
    assert dict(told[0]["headers"])[b"retry-after"] == b"1" and service.open == 0


def test_an_error_before_the_answer_is_not_swallowed(service: Service) -> None:
    async def failing(scope: Message, receive: Receive, send: Send) -> None:
        raise TimeoutError("of the application")

    async def send(message: Message) -> None:
        raise AssertionError("nothing is sent")

    with pytest.raises(TimeoutError, match="of the application"):
        asyncio.run(Gate(failing, service)(dict(SCOPE), nothing, send))


def test_a_request_has_an_id_of_its_own_or_gets_one(service: Service) -> None:
    def id_of(given: bytes) -> str:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        scope = SCOPE | {"headers": [*SCOPE["headers"], (b"x-request-id", given)]}
        asyncio.run(Gate(answering, service)(scope, nothing, send))
        (found,) = (value for name, value in sent[0]["headers"] if name == b"x-request-id")
        return found.decode()

    assert id_of(b"trace-7.a:b") == "trace-7.a:b"
    for given in (b"", b"two words", b"a" * 65, b'"quoted"', b"\xe4", b"a\n"):
        assert re.fullmatch("req_[0-9a-f]{24}", id_of(given))

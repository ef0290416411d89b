"""Answers of tools are counted before the work, and over HTTP until the client has read them."""

import json
import socket
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from mdp_lite.editor import Editor
from mdp_lite.mcp_server.calls import open_call
from mdp_lite.mcp_server.http import mount_tools
from mdp_lite.serve import pictures
from mdp_lite.serve.holdings import PIECE, TOOL_COPIES, answer_bytes
from support.mcp_clients import open_tools
from support.serving import RunningService, is_idle, run_service, wait_until

ACCEPT = {"accept": "application/json, text/event-stream"}
HELLO = {
    "protocolVersion": "2025-06-18", "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}  # fmt: skip


def held_answers(at: RunningService) -> list[int]:
    """The bytes that each open request holds for its answer."""
    return [one._parts.get("answer", 0) for one in list(at.service.memory._leases)]


def count_answer(at: RunningService, editor: Editor) -> int:
    """The bytes of an answer with a picture of the model's size."""
    size = editor.runner.image_size(None, None)
    return TOOL_COPIES * answer_bytes([size], at.service.settings.limits)


def test_an_edit_of_a_source_counts_its_answer(editor: Editor) -> None:
    held = list[list[int]]()

    def look(images: Any) -> list[bool]:
        held.append(held_answers(at))
        return [False]

    with run_service(editor, tools=mount_tools(()), safety_hook=look) as at:
        with open_tools(f"{at.url}/mcp") as client:
            made = client.make("generate_picture", prompt="a", num_inference_steps=1)
            name = made.structured_content["source"]
            client.make("edit_picture", source=name, prompt="a cat")
        assert [max(one) for one in held] == [count_answer(at, editor)] * 2
        wait_until(lambda: is_idle(at.service))


def test_an_answer_that_is_not_read_is_counted(
    at: RunningService, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = bytes(30 * PIECE)  # more than the sockets of both sides hold
    monkeypatch.setattr(pictures, "encode", lambda *given: large)
    with ask(at, "generate_picture", prompt="a", num_inference_steps=1) as connection:
        wait_until(lambda: len(connection.recv(9999, socket.MSG_PEEK)) == 9999)  # it is being sent
        wait_until(lambda: at.service.tasks == 0 and at.service.work == 0)
        assert max(held_answers(at)) == count_answer(at, editor)
        assert at.service.memory.total >= count_answer(at, editor)
    wait_until(lambda: is_idle(at.service))


def ask(at: RunningService, tool: str, **arguments: Any) -> socket.socket:
    """A connection that has called a tool and does not read the answer."""
    url, first = f"{at.url}/mcp", {"jsonrpc": "2.0", "method": "initialize", "params": HELLO}
    name = httpx2.post(url, json=first | {"id": 1}, headers=ACCEPT).headers["mcp-session-id"]
    headers = ACCEPT | {"mcp-session-id": name}
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert httpx2.post(url, json=note, headers=headers).status_code == 202
    params = {"name": tool, "arguments": arguments}
    body = json.dumps({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params})
    host, port = at.url.removeprefix("http://").split(":")
    headers |= {"host": host, "content-type": "application/json", "content-length": str(len(body))}
    lines = ["POST /mcp HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items())]
    connection = socket.create_connection((host, int(port)))
    connection.sendall("\r\n".join([*lines, "", body]).encode())
    return connection


def test_a_call_whose_request_has_ended_holds_its_own_memory(at: RunningService) -> None:
    service, lease = at.service, at.service.memory.open()
    state = {"memory": lease, "owner": ""}
    scope = {"state": state, "client": None}
    request = SimpleNamespace(headers={}, scope=scope, app=SimpleNamespace(), client=None)
    context: Any = SimpleNamespace(request=request, session=None)
    with open_call(context, service, ()) as call:
        assert call.lease is lease
        call.lease.hold(answer=5)
    assert service.memory.total == 5
    lease.close()
    assert service.memory.total == 0
    with open_call(context, service, ()) as call:
        assert call.lease is not lease
        call.lease.hold(answer=5)
    assert is_idle(service)

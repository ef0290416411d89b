"""The tools over HTTP: progress, cancelling, clients beside each other, keys, hosts and limits."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from mcp.shared.exceptions import MCPError
from torch import Tensor, nn

from mdp_lite.editor import Editor
from mdp_lite.mcp_server.http import mount_tools
from mdp_lite.pipeline.request import Request
from mdp_lite.serve.logs import JsonLines
from mdp_lite.serve.settings import Limits
from support.inverting import picture
from support.mcp_clients import MODES, connect_with, open_tools, pictures_of, to_text
from support.serving import KEY, OTHER, WAIT, RunningService, is_idle, run_service, wait_until

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
HELLO = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}  # fmt: skip
ACCEPT = {"accept": "application/json, text/event-stream"}


class HeldUNet(nn.Module):
    """A UNet that waits in its hold-th call until the test goes on."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet, self.config = unet, unet.config
        self.calls, self.hold = 0, 0
        self.waits, self.go_on = threading.Event(), threading.Event()

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.hold:
            self.waits.set()
            assert self.go_on.wait(WAIT)
        return self.unet(x, t, c)

    def arm(self, hold: int) -> None:
        """Count from now on, and wait in a call."""
        self.calls, self.hold = 0, hold
        self.waits.clear()
        self.go_on.clear()


@pytest.fixture(scope="module")
def held(editor: Editor) -> Iterator[tuple[RunningService, HeldUNet]]:
    """A service with small limits, whose UNet a test can hold."""
    unet = HeldUNet(editor.models.unet)
    own = Editor(replace(editor.models, unet=unet), editor.device)  # type: ignore[arg-type]
    limits = Limits(rows=200, waiting_rows=60, sources=2, body_bytes=100_000)
    with run_service(own, tools=mount_tools(()), limits=limits) as at:
        yield at, unet


@pytest.mark.parametrize("mode", MODES)
def test_each_step_is_reported(at: RunningService, editor: Editor, mode: str) -> None:
    steps: list[Any] = []
    more = {"source_prompt": "a house", "prompt": "a boat", "num_inference_steps": 3}
    source = editor.invert(picture(), "a house", num_inference_steps=3)
    edited = [one.done for one in editor.steps([Request(source, "a boat")])]
    want = [(k, None, f"inverting: step {k} of 3") for k in (1, 2, 3)]
    want += [(3 + k, 6, f"editing: step {k} of 3") for k in edited]
    with open_tools(f"{at.url}/mcp", mode) as client:
        client.call("edit_picture", steps, image=to_text(picture()), **more)
        wait_until(lambda: len(steps) >= len(want))  # the client hands them over beside the answer
    assert steps == want


@pytest.mark.parametrize("mode", MODES)
def test_a_call_that_is_cancelled_ends_with_its_unet_call(
    held: tuple[RunningService, HeldUNet], mode: str
) -> None:
    (at, unet), steps = held, 20
    before = at.service.metrics.cancelled._value.get()
    with open_tools(f"{at.url}/mcp", mode) as client:
        unet.arm(3)
        call = client.start("generate_picture", prompt="a", num_inference_steps=steps)
        assert unet.waits.wait(WAIT)
        call.cancel()
        with pytest.raises(CancelledError):
            call.result(WAIT)
        clients = at.service.batcher._clients
        wait_until(lambda: all(one.stopped for one in clients))
        unet.go_on.set()
        wait_until(lambda: is_idle(at.service))
        assert unet.calls == 3
        assert at.service.metrics.cancelled._value.get() == before + 1
        client.make("generate_picture", prompt="a", num_inference_steps=1)


def test_clients_beside_each_other_get_their_own_pictures(
    at: RunningService, editor: Editor
) -> None:
    prompts = [(mode, f"a {word}") for mode in MODES for word in ("house", "boat")]
    with ExitStack() as stack:
        clients = [stack.enter_context(open_tools(f"{at.url}/mcp", mode)) for mode, _ in prompts]
        calls = [
            client.start("generate_picture", prompt=text, seed=seed, num_inference_steps=4)
            for seed, (client, (_, text)) in enumerate(zip(clients, prompts, strict=True))
        ]
        made = [call.result(WAIT) for call in calls]
        edits = [
            client.start("edit_picture", source=one.structured_content["source"], prompt="a cat")
            for client, one in zip(clients, made, strict=True)
        ]
        edited = [call.result(WAIT) for call in edits]
    for seed, (_, text) in enumerate(prompts):
        source = editor.generate(text, seed, 4)
        assert pictures_of(made[seed])[0].tobytes() == source.image.tobytes()
        want = editor.edit(source, "a cat").picture
        assert pictures_of(edited[seed])[0].tobytes() == want.tobytes()


def test_a_session_sees_its_own_sources_alone(at: RunningService) -> None:
    with open_tools(f"{at.url}/mcp", "legacy") as one, open_tools(f"{at.url}/mcp", "legacy") as two:
        made = one.make("generate_picture", prompt="a", seed=1, num_inference_steps=1)
        name = made.structured_content["source"]
        (there,) = one.make("list_sources").structured_content["sources"]
        assert there["source"] == name
        assert two.make("list_sources").structured_content["sources"] == []
        for tool, more in (("edit_picture", {"prompt": "a"}), ("drop_source", {})):
            assert two.refuse(tool, source=name, **more).startswith("no source 'src_")
        one.make("edit_picture", source=name, prompt="a")
    with open_tools(f"{at.url}/mcp") as other:  # has no session
        assert other.refuse("list_sources").startswith("this connection has no session")
        assert other.refuse("edit_picture", source=name, prompt="a").startswith("no source 'src_")


def test_stored_sources_are_bounded(held: tuple[RunningService, HeldUNet]) -> None:
    at, _ = held
    with open_tools(f"{at.url}/mcp", "legacy") as client:
        made = [
            client.make("generate_picture", prompt="a", seed=k, num_inference_steps=1)
            for k in range(3)
        ]
        names = [one.structured_content["source"] for one in made]
        assert len(at.service.store) == 2
        assert client.refuse("edit_picture", source=names[0], prompt="a").startswith("no source")
        client.make("edit_picture", source=names[2], prompt="a")


def test_too_much_work_is_refused(held: tuple[RunningService, HeldUNet]) -> None:
    at, unet = held
    with open_tools(f"{at.url}/mcp") as client:
        said = client.refuse("generate_picture", prompt="a", num_inference_steps=150)
        assert said.startswith("this takes the work of 3") and "at most 200 are allowed" in said
        unet.arm(1)
        busy = client.start("generate_picture", prompt="a", num_inference_steps=20)
        assert unet.waits.wait(WAIT)
        said = client.refuse("generate_picture", prompt="a", num_inference_steps=20)
        unet.go_on.set()
        assert said.startswith("too much is waiting: ") and "; try again in " in said
        assert not busy.result(WAIT).is_error


def test_at_its_deadline_an_edit_gives_its_best_picture(
    held: tuple[RunningService, HeldUNet],
) -> None:
    at, unet = held
    with open_tools(f"{at.url}/mcp") as client:
        made = client.make("generate_picture", prompt="a", seed=1, num_inference_steps=20)
        name = made.structured_content["source"]
        unet.arm(2)
        more = {"prompt": "a boat", "deadline": 2.0, "t_max": 20, "t_m": 0}
        call = client.start("edit_picture", source=name, **more)
        assert unet.waits.wait(WAIT)
        threading.Event().wait(2.0)  # the deadline passes
        unet.go_on.set()
        answer = call.result(WAIT)
        assert not answer.is_error and len(pictures_of(answer)) == 1
        assert answer.structured_content["finished"] is False
        said = client.refuse("generate_picture", prompt="a", deadline=1e-3)
        assert said.startswith("the deadline passed before ")


def test_keys_hosts_and_sizes_are_the_services(editor: Editor) -> None:
    keys = {"keys": (KEY, OTHER), "limits": Limits(body_bytes=100_000)}
    with run_service(editor, tools=mount_tools(()), **keys) as at:
        url, own = f"{at.url}/mcp", {"authorization": f"Bearer {KEY}"} | ACCEPT
        for headers in (ACCEPT, ACCEPT | {"authorization": f"Bearer {'w' * 20}"}):
            assert httpx2.post(url, json=HELLO, headers=headers).status_code == 401
        with pytest.raises((MCPError, ExceptionGroup)), open_tools(url):
            pass
        first = httpx2.post(url, json=HELLO, headers=own)
        session = {"mcp-session-id": first.headers["mcp-session-id"]}
        assert first.status_code == 200
        assert httpx2.post(url, json=PING, headers=own | session).status_code == 200
        stolen = ACCEPT | session | {"authorization": f"Bearer {OTHER}"}
        assert httpx2.post(url, json=PING, headers=stolen).status_code == 404
        assert httpx2.get(url, headers=own | session).status_code == 405
        large = HELLO | {"padding": "a" * 200_000}
        assert httpx2.post(url, json=large, headers=own).status_code == 413
        for data in (b"{", b"[]", b"1", b"\xff"):
            kind = {"content-type": "application/json"}
            assert httpx2.post(url, content=data, headers=own | kind).status_code == 400
        for mode in MODES:
            with open_tools(connect_with(at.url, KEY), mode) as client:
                made = client.make("generate_picture", prompt="a", num_inference_steps=1)
            with open_tools(connect_with(at.url, OTHER), mode) as client:
                name = made.structured_content["source"]
                said = client.refuse("edit_picture", source=name, prompt="a")
                assert said.startswith("no source")


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "http://evil.example"}])
def test_pages_of_others_are_refused(at: RunningService, headers: dict[str, str]) -> None:
    answer = httpx2.post(f"{at.url}/mcp", json=HELLO, headers=ACCEPT | headers)
    assert answer.status_code == 403


def test_the_safety_hook_withholds_a_picture(editor: Editor) -> None:
    hook = {"safety_hook": lambda images: [True for _ in images]}
    with run_service(editor, tools=mount_tools(()), **hook) as at:
        with open_tools(f"{at.url}/mcp") as client:
            said = client.refuse("generate_picture", prompt="a", num_inference_steps=1)
    assert said == "the picture was held back"


def test_prompts_and_paths_are_not_logged(
    at: RunningService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    secret = "elephants"
    with open_tools(f"{at.url}/mcp") as client:
        client.make("generate_picture", prompt=secret, num_inference_steps=1)
        client.refuse("edit_picture", prompt=secret, image=secret)
        client.refuse("edit_picture", prompt=secret, image_path=secret)
        with pytest.raises(MCPError):
            client.call(secret)
    write = JsonLines().format
    lines = [write(one) for one in caplog.records if one.name.startswith("mdp_lite")]
    assert any('"/mcp"' in line for line in lines)
    assert not any(secret in write(one) for one in caplog.records if "mcp.client" not in one.name)

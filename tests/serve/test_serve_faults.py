"""Faults one by one: each fails its own request alone, and the service goes on."""

import base64
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
import torch
from torch import Tensor, nn

from mdp_lite.editor import Editor
from mdp_lite.serve.settings import Limits
from support.inverting import picture
from support.serving import (
    KEY,
    WAIT,
    RunningService,
    file_of,
    is_idle,
    read_image,
    run_service,
    wait_until,
)

FILE, STEPS = file_of(picture()), 4
GOOD = {"prompt": "a boat", "seed": 1, "num_inference_steps": STEPS}


class BrokenUNet(nn.Module):
    """A UNet that fails on calls with very large latents, and with "rows" on calls of many rows."""

    def __init__(self, unet: nn.Module, how: str) -> None:
        super().__init__()
        self.unet, self.config, self.how = unet, unet.config, how

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        poisoned = x[:, 0, 0, 0].abs() > 50  # noise of a poisoned source
        if self.how == "rows" and len(x) > 4:
            raise torch.OutOfMemoryError("no room for these")
        if poisoned.any() and self.how == "memory":
            raise torch.OutOfMemoryError("no room at all")
        if poisoned.any() and self.how == "raises":
            raise RuntimeError("a bug with a secret in it")
        out = self.unet(x, t, c)
        return torch.where(poisoned[:, None, None, None], float("nan"), out)


def break_unet(editor: Editor, how: str) -> Editor:
    return Editor(replace(editor.models, unet=BrokenUNet(editor.models.unet, how)), editor.device)  # type: ignore[arg-type]


def generate(at: RunningService, **fields: object) -> httpx2.Response:
    return httpx2.post(f"{at.url}/v1/images/generations", json=GOOD | fields, timeout=WAIT)


def poison(at: RunningService) -> str:
    """The id of a source on which the broken UNet fails."""
    data = {"source_prompt": "a", "seed": "3", "num_inference_steps": str(STEPS)}
    name = httpx2.post(f"{at.url}/v1/sources", data=data, timeout=WAIT).json()["id"]
    entry = at.service.store._sources[name]
    path = entry.source.path
    entry.source = replace(entry.source, path=path._replace(x=path.x * 1e6))
    return name


def post_edit(at: RunningService, name: str) -> httpx2.Response:
    fields = {"prompt": "a house", "variant": "c", "t_max": 3, "t_m": 1}
    return httpx2.post(f"{at.url}/v1/sources/{name}/edits", json=fields, timeout=WAIT)


@pytest.mark.covering(1)
@pytest.mark.parametrize(
    ("how", "status", "code", "header"),
    [
        ("nan", 500, "not_finite", "x-should-retry"),
        ("memory", 503, "out_of_memory", "retry-after"),
        ("raises", 500, "internal_error", "x-should-retry"),
    ],
)
@pytest.mark.parametrize("max_rows", [0, 16])
def test_a_poisoned_request_fails_alone(
    editor: Editor, how: str, status: int, code: str, header: str, max_rows: int
) -> None:
    want = editor.generate("a boat", 1, STEPS).image.tobytes()
    with (
        run_service(break_unet(editor, how), max_rows=max_rows) as at,
        ThreadPoolExecutor(8) as pool,
    ):
        name = poison(at)
        good = [pool.submit(generate, at) for _ in range(6)]
        bad = [pool.submit(post_edit, at, name) for _ in range(2)]
        for one in good:
            answer = one.result(WAIT)
            assert answer.status_code == 200, answer.text
            data = base64.b64decode(answer.json()["data"][0]["b64_json"])
            assert read_image(data).tobytes() == want
        for one in bad:
            answer = one.result(WAIT)
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
            assert header in answer.headers and "secret" not in answer.text
        wait_until(lambda: is_idle(at.service))
        assert at.service.ready


def test_nan_weights_fail_every_request_and_the_service_stays(editor: Editor) -> None:
    unet = deepcopy(editor.models.unet)
    with torch.no_grad():
        unet.conv_in.weight.fill_(float("nan"))
    with run_service(Editor(replace(editor.models, unet=unet), editor.device)) as at:
        for _ in range(2):
            answer = generate(at)
            assert (answer.status_code, answer.json()["error"]["code"]) == (500, "not_finite")
            assert answer.headers["x-should-retry"] == "false"
        wait_until(lambda: is_idle(at.service))
        assert at.service.ready
        assert httpx2.get(f"{at.url}/v1/models", timeout=WAIT).status_code == 200


def test_a_batch_that_does_not_fit_in_memory_is_halved(editor: Editor) -> None:
    want = editor.generate("a boat", 1, STEPS).image.tobytes()
    with run_service(break_unet(editor, "rows"), max_rows=8) as at, ThreadPoolExecutor(4) as pool:
        for one in [pool.submit(generate, at) for _ in range(4)]:
            answer = one.result(WAIT)
            assert answer.status_code == 200
            data = base64.b64decode(answer.json()["data"][0]["b64_json"])
            assert read_image(data).tobytes() == want


def test_a_slow_client_is_disconnected_and_blocks_nobody(editor: Editor) -> None:
    with run_service(editor, limits=Limits(read=0.5)) as at:
        host, port = at.url.removeprefix("http://").split(":")
        head = f"POST /v1/images/edits HTTP/1.1\r\nHost: {host}\r\nContent-Length: 99\r\n"
        kind = "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x"
        with socket.create_connection((host, int(port)), timeout=10) as line:
            line.sendall((head + kind).encode())
            assert generate(at).status_code == 200
            assert b"408" in line.recv(100)
        wait_until(lambda: is_idle(at.service))


def test_a_client_that_does_not_read_blocks_nobody(editor: Editor) -> None:
    with run_service(editor) as at:
        host, port = at.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as line:
            line.sendall(f"GET /openapi.json HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert generate(at).status_code == 200


def test_a_jump_of_the_system_clock_has_no_effect(
    editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_service(editor) as at:
        data = {"source_prompt": "a", "num_inference_steps": "2"}
        name = httpx2.post(f"{at.url}/v1/sources", data=data, timeout=WAIT).json()["id"]
        now = time.time()
        for years in (-10, 10):
            monkeypatch.setattr(time, "time", lambda years=years: now + years * 3e7)
            assert httpx2.get(f"{at.url}/v1/sources/{name}", timeout=WAIT).status_code == 200
            assert generate(at, deadline=30).json()["data"][0]["finished"]


def test_if_the_models_thread_dies_the_service_says_so(editor: Editor) -> None:
    with run_service(editor) as at:
        at.service.batcher.close()
        wait_until(lambda: not at.service.ready)
        assert httpx2.get(f"{at.url}/health/ready", timeout=WAIT).status_code == 503
        assert httpx2.get(f"{at.url}/health/live", timeout=WAIT).status_code == 503
        assert generate(at).status_code == 503


@pytest.mark.slow
@pytest.mark.parametrize("drain", [100, 1])
def test_on_sigterm_running_requests_finish_or_may_be_tried_again(
    checkpoint: Path, drain: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = "import sys; from mdp_lite.__main__ import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "serve", "--model", str(checkpoint), "--port", str(port)]
    process = subprocess.Popen([*command, "--drain", str(drain)], stderr=subprocess.PIPE, text=True)
    at = f"http://127.0.0.1:{port}"
    answers: list[httpx2.Response] = []

    def ask(steps: int, more: dict[str, object]) -> None:
        body = GOOD | {"num_inference_steps": steps} | more
        answers.append(httpx2.post(f"{at}/v1/images/generations", json=body, timeout=WAIT))

    def status(path: str) -> int:
        try:
            return httpx2.get(at + path, timeout=WAIT).status_code
        except httpx2.TransportError:
            return 0

    try:
        wait_until(lambda: status("/health/ready") == 200)
        # In the short time none can finish: together they are thousands of UNet rows.
        steps, plain = (150, {}) if drain > 1 else (200, {"n": 4})
        kinds = [plain] * 6 + [{"stream": True, "partial_images": 1}] * 2
        threads = [threading.Thread(target=ask, args=(steps, more)) for more in kinds]
        for one in threads:
            one.start()
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: status("/health/ready") == 503)
        assert status("/health/live") == 200
        for one in threads:
            one.join(WAIT)
        assert process.wait(WAIT) == 0 and len(answers) == 8
        assert status("/health/live") == 0
    finally:
        process.kill()
        _, log = process.communicate()
    for one in answers:
        check_end(one, finished=drain > 1)
    assert f'"status": {200 if drain > 1 else 503}' in log and KEY not in log
    assert "Traceback" not in log and "Cancelled" not in log


def check_end(answer: httpx2.Response, finished: bool) -> None:
    """A picture, or an error that says that another try may help; in a stream it is an event."""
    if "event-stream" in answer.headers["content-type"]:
        assert answer.status_code == 200
        last = answer.text.strip().split("\n\n")[-1]
        assert ("image_generation.completed" if finished else "shutting_down") in last
    elif finished:
        assert answer.status_code == 200
    else:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json()["error"]["code"] == "shutting_down"

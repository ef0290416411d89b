"""Clients that disconnect: their work ends within a step, queued or running, and all is freed."""

import gc
import json
import random
import resource
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import httpx2
import pytest
import torch
from torch import Tensor, nn

from mdp_lite.batcher.batcher import Batcher, Call, Client, UNetRows
from mdp_lite.editor import Editor
from mdp_lite.serve.settings import Limits
from support.inverting import picture
from support.serving import WAIT, RunningService, file_of, is_idle, run_service, wait_until

STEP, STEPS, TASKS = 0.05, 20, 4
LIMITS = Limits(tasks=TASKS, steps=STEPS)


class SlowUNet(nn.Module):
    """A UNet whose calls take some time."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet, self.config = unet, unet.config

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        time.sleep(STEP)
        return self.unet(x, t, c)


def slow_editor(editor: Editor) -> Editor:
    return Editor(replace(editor.models, unet=SlowUNet(editor.models.unet)), editor.device)  # type: ignore[arg-type]


def record_steps(batcher: Batcher, key: Callable[[Tensor], Any]) -> dict[Any, list[float]]:
    """When the steps of each job begin from now on, by a key of its first noise."""
    begun: dict[Any, list[float]] = {}
    names: dict[Client, Any] = {}
    compute = batcher._compute

    def record(batch: Sequence[Call]) -> list[Any]:
        for one in batch:
            if isinstance(one.work, UNetRows):
                name = names.setdefault(one.client, key(one.work.x))
                begun.setdefault(name, []).append(time.monotonic())
        return compute(batch)

    batcher._compute = record  # type: ignore[method-assign]
    return begun


def send_request(at: RunningService, seed: int, stream: bool) -> socket.socket:
    """A request that was sent, over a new connection."""
    data = {"prompt": "a", "seed": seed, "num_inference_steps": STEPS, "stream": stream}
    body = json.dumps(data).encode()
    host, port = at.url.removeprefix("http://").split(":")
    line = socket.create_connection((host, int(port)))
    head = f"POST /v1/images/generations HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}"
    line.sendall(f"{head}\r\nContent-Type: application/json\r\n\r\n".encode() + body)
    return line


def disconnect_clients(at: RunningService, clients: int) -> dict[int, float]:
    """When each of many clients left, at a random moment; returns once the service is idle."""
    choose, left = random.Random(clients), {}

    def disconnect(seed: int, after: float) -> None:
        line = send_request(at, seed, stream=bool(seed % 2))
        time.sleep(after)
        line.close()
        left[seed] = time.monotonic()

    moments = [1.5 * choose.random() for _ in range(clients)]
    threads = [threading.Thread(target=disconnect, args=pair) for pair in enumerate(moments)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    wait_until(lambda: is_idle(at.service))
    return left


@pytest.mark.parametrize("clients", [16, pytest.param(100, marks=pytest.mark.slow)])
def test_at_most_one_step_after_a_client_has_left(editor: Editor, clients: int) -> None:
    with run_service(slow_editor(editor), limits=LIMITS) as at:
        first = {float(editor.runner.noise(seed, 32, 32)[0, 0, 0, 0]): seed for seed in range(clients)}  # fmt: skip  # noqa: E501
        near = lambda x: min(first, key=lambda value: abs(value - float(x[0, 0, 0, 0])))  # noqa: E731
        begun = record_steps(at.service.batcher, lambda x: first[near(x)])
        left = disconnect_clients(at, clients)
        after = {seed: sum(when > left[seed] for when in times) for seed, times in begun.items()}
        assert max(after.values()) <= 1, after
        assert 0 < len(begun) and sum(map(len, begun.values())) < clients * STEPS
        assert at.service.metrics.cancelled._value.get() == clients
        assert at.service._slots.free == TASKS and not at.service.batcher._waiting
        answer = httpx2.post(f"{at.url}/v1/images/generations", json={"prompt": "a"}, timeout=WAIT)
        assert answer.status_code == 200


@pytest.mark.slow
def test_memory_is_flat_while_hundreds_disconnect(editor: Editor) -> None:
    with run_service(slow_editor(editor), limits=LIMITS) as at:
        disconnect_clients(at, 100)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(3):
            disconnect_clients(at, 100)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(f"grown by {grown} KiB")
        assert grown < 16 * 1024


def test_a_client_that_leaves_the_queue_takes_nothing_with_it(editor: Editor) -> None:
    with run_service(slow_editor(editor), limits=replace(LIMITS, tasks=1)) as at:
        begun = record_steps(at.service.batcher, lambda x: float(x[0, 0, 0, 0]))
        running = send_request(at, 1, False)
        wait_until(lambda: begun and at.service.tasks == 1)
        one = at.service.work
        assert one >= 2 * STEPS * at.service.row_work
        queued = send_request(at, 2, False)
        wait_until(lambda: at.service.work == 2 * one)
        queued.close()
        wait_until(lambda: at.service.work == one)
        assert at.service.tasks == 1 and len(begun) == 1
        running.close()
        wait_until(lambda: is_idle(at.service))
        assert len(begun) == 1


@pytest.mark.slow
def test_the_memory_of_a_stopped_job_is_freed(editor: Editor) -> None:
    def latents() -> int:
        gc.collect()
        found = (one for one in gc.get_objects() if type(one) is Tensor)
        return sum(one.dtype == torch.float64 and one.ndim == 4 for one in found)

    with run_service(slow_editor(editor), limits=LIMITS) as at:
        before = latents()
        for seed in range(4):
            line = send_request(at, seed, stream=True)
            wait_until(lambda: at.service.tasks)
            time.sleep(3 * STEP)
            line.close()
            wait_until(lambda: is_idle(at.service))
        wait_until(lambda: latents() <= before)  # a thread may still be leaving its frames


def test_an_upload_that_is_broken_off_leaves_nothing(editor: Editor) -> None:
    with run_service(editor, limits=LIMITS) as at:
        host, port = at.url.removeprefix("http://").split(":")
        for share in (0.1, 0.5, 0.9):
            request = httpx2.Request(
                "POST", f"{at.url}/v1/images/edits", data={"prompt": "a"},
                files={"image": file_of(picture())},
            )  # fmt: skip
            body = request.read()
            head = "".join(f"{k}: {v}\r\n" for k, v in request.headers.items())
            line = socket.create_connection((host, int(port)))
            start = f"POST /v1/images/edits HTTP/1.1\r\n{head}\r\n".encode()
            line.sendall(start + body[: int(share * len(body))])
            line.close()
        assert httpx2.get(f"{at.url}/health/ready", timeout=WAIT).status_code == 200
        wait_until(lambda: is_idle(at.service))

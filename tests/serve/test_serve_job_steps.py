"""Jobs in work: cancelled within one step, with progress and previews, beside direct requests."""

import base64
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from torch import Tensor, nn

from mdp_lite.editor import Editor
from mdp_lite.serve.settings import JobSettings, Limits
from support.jobs import GENERATIONS, MADE, error_of, submit, wait_for_end
from support.serving import (
    KEY,
    OTHER,
    WAIT,
    RunningService,
    is_idle,
    open_client,
    read_image,
    run_service,
    wait_until,
)

STEPS = 20
FAILED = 'mdp_lite_job_requests_total{state="failed"} 1.0'
LONG = MADE | {"num_inference_steps": STEPS, "partial_images": 1}


class SteppedUNet(nn.Module):
    """A UNet that waits before each call for as long as a test holds it."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet, self.config, self.calls = unet, unet.config, 0
        self.allowed = threading.Semaphore(0)
        self.is_free = True

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        if not self.is_free:
            assert self.allowed.acquire(timeout=WAIT)
            self.calls += 1
        return self.unet(x, t, c)

    def hold(self) -> None:
        """Let no call begin from now on."""
        self.calls, self.allowed, self.is_free = 0, threading.Semaphore(0), False

    def free(self) -> None:
        """Let all calls run."""
        self.is_free = True
        self.allowed.release(1000)


@pytest.fixture(scope="module")
def unet(editor: Editor) -> SteppedUNet:
    return SteppedUNet(editor.models.unet)


@pytest.fixture(scope="module")
def at(editor: Editor, unet: SteppedUNet) -> Iterator[RunningService]:
    models = replace(editor.models, unet=unet)  # type: ignore[arg-type]
    limits = Limits(running_jobs=1, stored_jobs=6)
    with run_service(Editor(models, editor.device), limits=limits) as one:
        yield one


@pytest.fixture
def client(at: RunningService, unet: SteppedUNet) -> Iterator[httpx2.Client]:
    with open_client(at) as one:
        yield one
        unet.free()
        for job in one.get("/v1/jobs").json()["data"]:
            one.delete(f"/v1/jobs/{job['id']}")
        wait_until(lambda: is_idle(at.service))


def get(client: httpx2.Client, job: dict[str, Any], **query: Any) -> dict[str, Any]:
    return client.get(f"/v1/jobs/{job['id']}", params=query).json()


def test_progress_previews_and_a_cancel_within_a_step(
    client: httpx2.Client, unet: SteppedUNet
) -> None:
    unet.hold()
    job = submit(client, body=LONG)
    waiting = submit(client, body=LONG)
    wait_until(lambda: get(client, job)["state"] == "running")
    assert (get(client, waiting)["state"], get(client, waiting)["position"]) == ("queued", 1)
    assert 0 < get(client, job)["estimate"] < get(client, waiting)["estimate"]
    unet.allowed.release(STEPS // 2 + 2)
    wait_until(lambda: get(client, job, preview=True)["preview"])
    assert 0.3 < get(client, job)["progress"] < 0.8
    preview = get(client, job, preview=True)["preview"]
    assert read_image(base64.b64decode(preview)).size == (32, 32)
    assert error_of(client.get(f"/v1/jobs/{job['id']}/result"), 409)[1] == "job_not_ended"
    wait_until(lambda: unet.calls == STEPS // 2 + 2)
    ends = list[httpx2.Response]()
    path = f"/v1/jobs/{job['id']}/cancel"
    cancel = threading.Thread(target=lambda: ends.append(client.post(path)))
    cancel.start()
    wait_until(lambda: get(client, job)["state"] == "cancelled")
    assert client.post(f"/v1/jobs/{waiting['id']}/cancel").json()["state"] == "cancelled"
    unet.allowed.release(5)  # one of these has begun
    cancel.join(WAIT)
    assert ends[0].json()["state"] == "cancelled" and unet.calls <= STEPS // 2 + 3
    assert error_of(client.get(f"/v1/jobs/{job['id']}/result"), 409)[1] == "job_cancelled"
    assert get(client, waiting)["started_at"] is None


def test_a_direct_request_passes_the_jobs(client: httpx2.Client, unet: SteppedUNet) -> None:
    jobs = [submit(client, body=LONG) for _ in range(3)]
    answer = client.post(GENERATIONS, json=MADE)
    assert answer.status_code == 200
    assert get(client, jobs[-1])["state"] in ("queued", "running")
    assert wait_for_end(client, jobs[-1])["state"] == "succeeded"


def test_too_many_jobs_are_refused(client: httpx2.Client, unet: SteppedUNet) -> None:
    unet.hold()
    for _ in range(6):
        submit(client)
    answer = client.post("/v1/jobs", json={"endpoint": GENERATIONS, "body": MADE})
    assert error_of(answer, 429)[1] == "too_many_jobs" and answer.headers["retry-after"]


def test_a_job_waits_if_there_is_no_room_for_its_work(
    client: httpx2.Client, at: RunningService
) -> None:
    service = at.service
    service.work += 2 * service.settings.limits.waiting_rows * service.row_work
    job = submit(client)
    assert get(client, job, wait=1)["state"] == "queued"
    service.work = 0
    assert wait_for_end(client, job)["state"] == "succeeded"


def test_a_job_of_a_key_that_is_gone_fails(
    editor: Editor, unet: SteppedUNet, tmp_path: Path
) -> None:
    jobs, ends = JobSettings(str(tmp_path)), dict[str, str]()
    body = MADE | {"num_inference_steps": 200}
    for key in (KEY, OTHER):
        with run_service(editor, jobs=jobs, keys=(key,)) as at, open_client(at) as client:
            client.headers["Authorization"] = f"Bearer {key}"
            if key == KEY:
                submit(client, body=body)
                continue
            has_failed = lambda c=client: FAILED in c.get("/metrics").text  # noqa: E731
            wait_until(has_failed)
    with run_service(editor, jobs=jobs, keys=(KEY,)) as at, open_client(at) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        (job,) = client.get("/v1/jobs").json()["data"]
        ends |= {"state": job["state"], "code": job["error"]["code"]}
    assert ends == {"state": "failed", "code": "invalid_api_key"}

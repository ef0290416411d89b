"""The service on a Ray cluster of this machine: the OpenAI cases, clients that disconnect, scale.

make ray        # or: .venv/bin/python -m pytest -m ray tests/serve/test_serve_ray.py
"""

import math
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import openai
import pytest
from openai import OpenAI

from mdp_lite.editor import Editor
from mdp_lite.engine.work import count_work
from mdp_lite.serve.costs import work_of_generation
from mdp_lite.serve.work import PromptRecipe
from support.openai_cases import (  # noqa: F401
    FILE,
    SHORT,
    image_of,
    pixels,
    test_a_generation_and_one_that_is_edited_at_once,
    test_a_list_of_pictures_and_several_of_each,
    test_a_mask_is_where_it_is_transparent,
    test_a_size_is_the_model_s_and_the_answer_s,
    test_a_stream_of_a_generation,
    test_a_stream_of_an_edit,
    test_an_edit_is_the_library_s_own,
    test_bad_requests_name_the_field,
    test_errors_have_their_classes,
    test_every_setting_arrives,
    test_formats,
    test_models,
    test_other_inversions,
)
from support.ray_cluster import POLL, Cluster
from support.serving import KEY, WAIT, wait_until

pytestmark = pytest.mark.ray
STEPS, TASKS, QUEUED = 10, 4, 32  # QUEUED requests wait outside a replica, which has 2 TASKS inside
OPEN = 2 * TASKS + 2 * QUEUED  # requests that are open at one time, at most
MANY = 10  # pictures of a request: 4 * TASKS such requests are twice the work of OPEN small ones
MIDDLE, LARGE = "128x128", "512x512"  # pictures of some tenths of a second, and of many seconds
LIMITS = {
    "side": 512,
    "rows": 10**9,
    "waiting_rows": 10**9,
    "steps": STEPS,
    "images": 3,
    "tasks": TASKS,
    "requests": QUEUED,
}
HEAD = {"Authorization": f"Bearer {KEY}"}


class RayService(NamedTuple):
    """A service on a cluster: its address, the command that runs it, the cluster."""

    url: str
    command: "subprocess.Popen[bytes]"
    cluster: Cluster

    @property
    def replicas(self) -> dict[str, int]:
        """The number of replicas in each state."""
        return self.cluster.states()["mdp-lite"]


@contextmanager
def run_command(cluster: Cluster, log: Path, *words: str, **env: str) -> Iterator[RayService]:
    """A command that deploys the service; it is stopped at the end."""
    with log.open("wb") as file:
        command = subprocess.Popen(
            [sys.executable, *words], stderr=file, stdout=file,
            env=cluster.env | env,
        )  # fmt: skip
    try:
        found = None
        while not (found := re.search(r"is served on (http://\S+)/v1", log.read_text())):
            assert command.poll() is None, log.read_text()
            time.sleep(POLL)
        yield RayService(found[1], command, cluster)
    finally:
        command.terminate()
        assert command.wait(WAIT) == 0, log.read_text()


def count_rows(editor: Editor, side: int) -> int:
    """The work of one picture of `side` pixels, in UNet rows at the model's own size."""
    recipe = PromptRecipe("a red house", 1, STEPS, None, "", (side, side))
    width, height = editor.runner.size
    row = count_work(editor.models).row(width * height // editor.runner.factor**2)
    return math.ceil(work_of_generation(editor, recipe) / row)


@pytest.fixture(scope="module")
def at(
    cluster: Cluster, checkpoint: Path, editor: Editor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RayService]:
    """`mdp-lite serve --engine ray` on it: one replica, and at most two.

    One replica takes all requests that may be open, if each has one large picture. Only requests
    of several large pictures start the second.
    """
    folder = tmp_path_factory.mktemp("serve")
    words = ["-m", "mdp_lite", "serve", "--model", str(checkpoint), "--engine", "ray"]
    words += ["--cache", str(folder / "cache"), "--port", "0"]
    words += ["--max-replicas", "2", "--replica-rows", str(OPEN * count_rows(editor, 512))]
    words += [word for name, most in LIMITS.items() for word in ("--limit", f"{name}={most}")]
    with run_command(cluster, folder / "log", *words, MDP_LITE_API_KEYS=KEY) as one:
        yield one


@pytest.fixture
def client(at: RayService) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{at.url}/v1", api_key=KEY, max_retries=0, timeout=WAIT) as one:
        yield one


def send_request(
    at: RayService, seed: int, size: str, stream: bool = False, n: int = 1
) -> socket.socket:
    """A request that was sent, over a new connection."""
    fields = f'{{"prompt": "a red house", "seed": {seed}, "size": "{size}", "n": {n}, '
    body = f'{fields}"num_inference_steps": {STEPS}, "stream": {str(stream).lower()}}}'
    host, port = at.url.removeprefix("http://").split(":")
    line = socket.create_connection((host, int(port)), timeout=WAIT)
    head = "\r\n".join(f"{name}: {value}" for name, value in HEAD.items())
    head += f"\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    line.sendall(f"POST /v1/images/generations HTTP/1.1\r\n{head}\r\n\r\n{body}".encode())
    return line


def read_metrics(at: RayService) -> dict[str, float]:
    """The metrics of a replica."""
    time.sleep(POLL)
    text = httpx2.get(f"{at.url}/metrics", headers=HEAD, timeout=WAIT).text
    found = re.findall(r"^mdp_lite_(\w+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def is_idle(at: RayService) -> bool:
    """Whether the only replica has no open request but this one."""
    now = read_metrics(at)
    names = ("open_requests", "waiting_rows", "waiting_bytes", "tasks", "members")
    return [now[name] for name in names] == [1, 0, 0, 0, 0]


def test_of_24_clients_10_disconnect_and_the_others_are_served(
    at: RayService, client: OpenAI, editor: Editor
) -> None:
    choose = random.Random(time.time_ns())
    gone = set(choose.sample(range(24), 10))

    def call(seed: int) -> Any:
        if seed in gone:
            line = send_request(at, seed, MIDDLE, stream=bool(seed % 2))
            time.sleep(choose.random())
            return line.close()
        fields = {"seed": seed, "num_inference_steps": STEPS}
        answer = client.images.generate(prompt="a red house", size=MIDDLE, extra_body=fields)  # type: ignore[call-overload]
        return pixels(image_of(answer.data[0]))

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(call, range(24)))
    wait_until(lambda: is_idle(at))
    for seed in set(range(24)) - gone:
        want = editor.generate("a red house", seed, STEPS, None, "", 128, 128)
        assert answers[seed] == pixels(want.image)
    assert at.replicas == {"RUNNING": 1}


def test_every_slot_is_freed_and_too_many_requests_are_429(at: RayService, client: OpenAI) -> None:
    wait_until(lambda: is_idle(at))
    with ExitStack() as stack:
        inside = [
            stack.enter_context(closing(send_request(at, k, LARGE, True))) for k in range(2 * TASKS)
        ]
        assert {line.recv(12) for line in inside} == {b"HTTP/1.1 200"}  # all slots are taken
        for k in range(QUEUED):
            stack.enter_context(closing(send_request(at, k, LARGE)))
        caught: list[openai.RateLimitError] = []

        def is_refused() -> bool:
            try:
                client.with_options(timeout=1).models.list()
            except openai.RateLimitError as error:
                caught.append(error)
            except openai.APITimeoutError:  # it waited with the others, and left
                pass
            return bool(caught)

        wait_until(is_refused)
        assert caught[0].response.headers["retry-after"] == "5"
    wait_until(lambda: is_idle(at))
    assert client.images.edit(image=FILE, prompt="a", extra_body=SHORT).data
    assert at.replicas == {"RUNNING": 1}


def test_a_second_replica_is_started_under_load_and_finds_the_sources(
    at: RayService, client: OpenAI
) -> None:
    data = {"source_prompt": "a red house", "num_inference_steps": "8"}
    made = httpx2.post(
        f"{at.url}/v1/sources", headers=HEAD, data=data, files={"image": FILE}, timeout=WAIT
    ).json()
    with ExitStack() as stack:
        for k in range(4 * TASKS):
            stack.enter_context(closing(send_request(at, k, LARGE, n=MANY)))
        wait_until(lambda: at.replicas == {"RUNNING": 2})

    def edit(_: int) -> Any:
        url = f"{at.url}/v1/sources/{made['id']}/edits"
        answer = httpx2.post(url, headers=HEAD, json={"prompt": "a boat"}, timeout=WAIT)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"][0]["b64_json"]

    with ThreadPoolExecutor(6) as pool:
        answers = set(pool.map(edit, range(12)))
    # Until the replica that did not make the source answers.
    wait_until(lambda: answers == {edit(0)} and read_metrics(at)["sources_rebuilt_total"])
    url = f"{at.url}/v1/sources/{made['id']}"
    assert httpx2.delete(url, headers=HEAD, timeout=WAIT).status_code == 200
    assert {httpx2.get(url, headers=HEAD, timeout=WAIT).status_code for _ in range(8)} == {404}


def test_a_request_has_one_id(at: RayService) -> None:
    url, given = f"{at.url}/v1/models", {"x-request-id": "trace-7"}
    answer = httpx2.get(url, headers=HEAD | given, timeout=WAIT)
    assert answer.headers.get_list("x-request-id") == ["trace-7"]
    assert len(httpx2.get(url, headers=HEAD, timeout=WAIT).headers.get_list("x-request-id")) == 1


def test_ray_serve_that_runs_already_is_not_touched(at: RayService) -> None:
    words = ["-m", "mdp_lite", "serve", "--engine", "ray", "--port", "0"]
    again = subprocess.run(
        [sys.executable, *words], env=at.cluster.env, capture_output=True, text=True, check=False
    )
    assert again.returncode == 2 and "Ray Serve runs on this cluster already" in again.stderr
    assert set(at.replicas) == {"RUNNING"} and "Traceback" not in again.stderr


@pytest.fixture(scope="module")
def beside(
    at: RayService, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a service that `serve run` deploys on the same cluster."""
    folder = tmp_path_factory.mktemp("beside")
    words = ["run", "--name", "beside", "--route-prefix", "/beside"]
    words += ["mdp_lite.serve.cluster:application", f"model={checkpoint}", "alias=random"]
    with (folder / "log").open("wb") as file:
        command = subprocess.Popen(
            [sys.executable, "-m", "ray.serve.scripts", *words, "limit=steps=5", "quiet=true"],
            env=at.cluster.env, stdout=file, stderr=file,
        )  # fmt: skip
    try:
        wait_until(lambda: at.cluster.states().get("beside") == {"RUNNING": 1})
        yield f"{at.url}/beside/v1"
    finally:
        command.send_signal(signal.SIGINT)
        assert command.wait(WAIT) == 0, (folder / "log").read_text()


def test_serve_run_deploys_the_application(beside: str) -> None:
    with OpenAI(base_url=beside, api_key="none") as client:
        assert [one.id for one in client.models.list()] == ["random"]
        with pytest.raises(openai.BadRequestError, match="at most 5"):
            client.images.edit(image=FILE, prompt="a", extra_body={"num_inference_steps": 6})


def test_on_sigterm_running_requests_finish_and_others_stay(at: RayService, beside: str) -> None:
    answers: list[int] = []

    def call() -> None:
        fields = {"prompt": "a", "size": MIDDLE, "n": 10, "num_inference_steps": STEPS}
        url = f"{at.url}/v1/images/generations"
        answers.append(httpx2.post(url, headers=HEAD, json=fields, timeout=WAIT).status_code)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for one in threads:
        one.start()
    wait_until(lambda: read_metrics(at)["tasks"])
    at.command.send_signal(signal.SIGTERM)
    for one in threads:
        one.join(WAIT)
    assert answers == [200] * len(threads) and at.command.wait(WAIT) == 0
    assert httpx2.get(f"{beside}/models", timeout=WAIT).status_code == 200

"""Jobs take pictures as large as direct requests do, and keep no passing refusal."""

import base64
import os
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx2
import pytest
from PIL import Image

from mdp_lite.editor import Editor
from mdp_lite.serve.forms import VALUES
from mdp_lite.serve.holdings import text_limit
from mdp_lite.serve.queue import runner
from mdp_lite.serve.queue.claims import ClaimStore
from mdp_lite.serve.queue.records import Claim, EntryAnswer
from mdp_lite.serve.settings import JobSettings, Limits
from support.jobs import EDIT, EDITS, GENERATIONS, MADE, error_of, submit, wait_for_end
from support.served_models import build_zoo
from support.serving import RunningService, is_idle, open_client, run_service, wait_until

SOURCES = "/v1/sources"
LIMITS = Limits(pixels=1024 * 1024, prompt=100, cells=1, body_bytes=6 * 2**20)


@pytest.fixture(scope="module")
def at(editor: Editor) -> Iterator[RunningService]:
    with run_service(editor, limits=LIMITS) as one:
        yield one


@pytest.fixture
def client(at: RunningService) -> Iterator[httpx2.Client]:
    with open_client(at) as one:
        yield one


def encode_noise(side: int) -> str:
    """A picture that no format makes small, in base64."""
    file = BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(3 * side * side)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_a_photo_fits_into_a_job(client: httpx2.Client, at: RunningService) -> None:
    photo = encode_noise(1000)
    assert text_limit(LIMITS) < len(photo) < LIMITS.body_bytes
    job = submit(client, EDITS, body=EDIT | {"image": photo, "size": "32x32", "fit": "crop"})
    assert wait_for_end(client, job)["state"] == "succeeded"
    wait_until(lambda: is_idle(at.service))


def test_a_job_has_bounds_on_its_values_and_its_texts(client: httpx2.Client) -> None:
    for body in ({"prompt": "," * VALUES + ","}, MADE | {"user": "u" * text_limit(LIMITS)}):
        answer = client.post("/v1/jobs", json={"endpoint": GENERATIONS, "body": body})
        assert error_of(answer, 413)[1] == "too_large"


@pytest.mark.parametrize(
    ("endpoint", "field", "value"),
    [(EDITS, "prompt", 5), (EDITS, "n", "1"), (SOURCES, "source_prompt", 5), (EDITS, "n", [1])],
)
def test_a_job_has_the_types_of_json(
    client: httpx2.Client, endpoint: str, field: str, value: Any
) -> None:
    body = EDIT if endpoint == EDITS else {"image": EDIT["image"], "source_prompt": "a"}
    sent = {"endpoint": endpoint, "body": body | {field: value}}
    assert error_of(client.post("/v1/jobs", json=sent), 400)[0] == field


def test_a_batch_is_refused_while_memory_is_short(
    client: httpx2.Client, at: RunningService
) -> None:
    memory, taken = at.service.memory, at.service.memory.bound - 2**20
    memory.leased += taken
    answer = client.post("/v1/jobs", json={"endpoint": GENERATIONS, "rows": [MADE, MADE]})
    memory.leased -= taken
    assert error_of(answer, 429)[1] == "rate_limit_exceeded" and answer.headers["retry-after"]


def test_an_answer_too_large_to_be_stored_ends_its_job(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LARGEST", 100)
    end = wait_for_end(client, submit(client))
    assert (end["state"], end["error"]["code"]) == ("failed", "answer_too_large")


def test_a_client_waits_for_its_job_while_models_load(
    client: httpx2.Client, at: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at.service, "_warm", False)
    job = submit(client)
    path = f"/v1/jobs/{job['id']}"
    with client.stream("GET", f"{path}/events") as stream:
        lines = (line for line in stream.iter_lines() if line.startswith("data: "))
        assert '"queued"' in next(lines)
        monkeypatch.undo()
        assert '"succeeded"' in list(lines)[-1]


def test_jobs_survive_a_model_more_and_other_names(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A process has the jobs whose models it serves, and a name never leads to another model."""
    zoo = build_zoo(tmp_path_factory.mktemp("zoo"))
    jobs = JobSettings(str(tmp_path_factory.mktemp("jobs")))
    names = list[dict[str, Any]]()
    held = Limits(running_jobs=0)
    with run_service(zoo.editor("a"), jobs=jobs, alias="a", limits=held) as at:
        with open_client(at) as client:
            names += [submit(client), submit(client, body=MADE | {"model": "a"})]
    settings: dict[str, Any] = zoo.settings(5)
    with run_service(zoo.editor("a"), **settings, jobs=jobs) as at, open_client(at) as client:
        assert [wait_for_end(client, one)["state"] for one in names] == ["succeeded"] * 2
        batch = submit(client, rows=[MADE, MADE | {"model": "b"}])
        assert wait_for_end(client, batch)["rows"]["succeeded"] == 2


def test_an_answer_counts_as_memory_until_it_is_stored(
    client: httpx2.Client, at: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, store = list[tuple[int, int]](), ClaimStore.end

    def record(self: ClaimStore, claim: Claim, answer: EntryAnswer) -> None:
        held.append((at.service.memory.leased, len(answer.body)))
        store(self, claim, answer)

    monkeypatch.setattr(ClaimStore, "end", record)
    wait_for_end(client, submit(client, rows=[MADE, MADE]))
    wait_until(lambda: is_idle(at.service))
    assert len(held) == 2 and all(leased >= size > 0 for leased, size in held)

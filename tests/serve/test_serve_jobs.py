"""Jobs give the answers of the direct requests, to their owner alone, and refuse as those do."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from mdp_lite.editor import Editor
from mdp_lite.serve.settings import JobSettings, Limits
from support.jobs import (
    EDIT,
    EDITS,
    ENCODED,
    GENERATIONS,
    MADE,
    PICTURE,
    STEPS,
    drop_times,
    error_of,
    read_result,
    submit,
    wait_for_end,
)
from support.json_schemas import find_faults
from support.serving import KEY, OTHER, RunningService, is_idle, run_service, wait_until

LIMITS = Limits(job_rows=4, steps=2000, body_bytes=200_000)
SWEEPS = "/v1/sweeps"


@pytest.fixture(scope="module")
def at(editor: Editor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    jobs = JobSettings(str(tmp_path_factory.mktemp("jobs")), {KEY: 5})
    with run_service(editor, keys=(KEY, OTHER), limits=LIMITS, jobs=jobs) as one:
        yield one


def open_as(at: RunningService, key: str) -> httpx2.Client:
    return httpx2.Client(base_url=at.url, timeout=120, headers={"Authorization": f"Bearer {key}"})


@pytest.fixture(scope="module")
def client(at: RunningService) -> Iterator[httpx2.Client]:
    with open_as(at, KEY) as one:
        yield one


@pytest.fixture(scope="module")
def other(at: RunningService) -> Iterator[httpx2.Client]:
    with open_as(at, OTHER) as one:
        yield one


@pytest.fixture(scope="module")
def source(client: httpx2.Client) -> str:
    body = {"source_prompt": "a", "num_inference_steps": STEPS, "image": ENCODED}
    return read_result(client, submit(client, "/v1/sources", body=body)).json()["id"]


def send_directly(client: httpx2.Client, endpoint: str, body: dict[str, Any]) -> httpx2.Response:
    if "image" not in body:
        return client.post(endpoint, json=body)
    data = {name: str(value) for name, value in body.items() if name != "image"}
    return client.post(endpoint, data=data, files={"image": ("a.png", PICTURE)})


@pytest.mark.parametrize("kind", ["edit", "generation", "source_edit", "sweep"])
def test_a_result_is_the_answer_of_the_endpoint(
    client: httpx2.Client, source: str, kind: str
) -> None:
    endpoint, body = {
        "edit": (EDITS, EDIT | {"user": "me", "output_format": "webp"}),
        "generation": (GENERATIONS, MADE | {"n": 2}),
        "source_edit": (f"/v1/sources/{source}/edits", {"prompt": "a tent"}),
        "sweep": (SWEEPS, {"source": source, "prompts": ["a tent", "a boat"]}),
    }[kind]
    job = submit(client, endpoint, body=body)
    assert job["object"] == "job" and job["endpoint"] == endpoint and job["rows"] is None
    end = wait_for_end(client, job)
    assert (end["state"], end["progress"], end["position"]) == ("succeeded", 1, 0)
    assert end["created_at"] <= end["started_at"] <= end["ended_at"] < end["expires_at"]
    result, direct = read_result(client, job), send_directly(client, endpoint, body)
    assert result.status_code == direct.status_code == 200
    assert drop_times(result.json()) == drop_times(direct.json())
    for name in ("content-type", "x-ignored-parameters"):
        assert result.headers.get(name) == direct.headers.get(name)
    assert error_of(client.get(f"/v1/jobs/{job['id']}/result?row=1"), 404)[0] == "row"


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (EDITS, {"image": ENCODED}),
        (EDITS, {"prompt": "a"}),
        (EDITS, EDIT | {"image": ENCODED[:99]}),
        (EDITS, EDIT | {"colour": 1}),
        (EDITS, EDIT | {"n": 11}),
        (GENERATIONS, {"prompt": " "}),
        (GENERATIONS, {"prompt": "a", "size": "8000x8000"}),
        (GENERATIONS, {"prompt": "a", "model": "another"}),
        (GENERATIONS, {"prompt": "a", "num_inference_steps": 1000, "n": 10}),
        (GENERATIONS, {"prompt": "a", "strength": 0.5}),
        (SWEEPS, {"prompts": ["a"], "source": "src_none"}),
    ],
)
def test_a_wrong_body_is_refused_as_by_the_endpoint(
    client: httpx2.Client, endpoint: str, body: dict[str, Any]
) -> None:
    if "image" in body and body["image"] != ENCODED:
        answer = client.post("/v1/jobs", json={"endpoint": endpoint, "body": body})
        assert error_of(answer, 400) == ("image", "invalid_image")
        return
    direct = send_directly(client, endpoint, body)
    if endpoint == EDITS and "image" not in body:
        direct = client.post(endpoint, files={"prompt": (None, "a")})
    answer = client.post("/v1/jobs", json={"endpoint": endpoint, "body": body})
    want = json.loads(direct.text.replace("'11'", "11"))  # a form's values are texts
    assert (answer.status_code, answer.json()) == (direct.status_code, want)
    assert answer.status_code in (400, 404)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"endpoint": "/v1/models", "body": {}}, "endpoint"),
        ({"endpoint": "/v1/sources/../edits", "body": {}}, "endpoint"),
        ({"body": {}}, "endpoint"),
        ({"endpoint": GENERATIONS}, "body"),
        ({"endpoint": GENERATIONS, "body": MADE, "rows": [MADE]}, "body"),
        ({"endpoint": GENERATIONS, "body": []}, "body"),
        ({"endpoint": GENERATIONS, "rows": []}, "rows"),
        ({"endpoint": GENERATIONS, "rows": [MADE] * 5}, "rows"),
        ({"endpoint": GENERATIONS, "body": MADE, "priority": 6}, "priority"),
        ({"endpoint": GENERATIONS, "body": MADE, "priority": -1}, "priority"),
        ({"endpoint": GENERATIONS, "body": MADE, "webhook": "https://a.example/"}, "webhook"),
        ({"endpoint": GENERATIONS, "body": MADE | {"stream": True}}, "stream"),
        ({"endpoint": GENERATIONS, "body": MADE, "when": 1}, "when"),
        ({"endpoint": EDITS, "body": EDIT | {"image": 5}}, "image"),
        ({"endpoint": EDITS, "body": EDIT | {"image": "https://a.example/a.png"}}, "image"),
    ],
)
def test_a_wrong_job_is_refused(client: httpx2.Client, fields: dict[str, Any], param: str) -> None:
    assert error_of(client.post("/v1/jobs", json=fields), 400)[0] == param


def test_a_wrong_row_does_not_spoil_others(client: httpx2.Client) -> None:
    job = submit(client, rows=[MADE, {"prompt": ""}, MADE | {"seed": 4}])
    assert job["rows"]["failed"] == 1 and job["rows"]["total"] == 3
    end = wait_for_end(client, job)
    assert end["state"] == "succeeded" and end["rows"]["succeeded"] == 2 and end["error"] is None
    rows = read_result(client, job).json()["data"]
    assert [one["state"] for one in rows] == ["succeeded", "failed", "succeeded"]
    wrong = client.post(GENERATIONS, json={"prompt": ""})
    assert (rows[1]["status"], rows[1]["body"]) == (400, wrong.json())
    direct = [client.post(GENERATIONS, json=MADE | {"seed": seed}).json() for seed in (3, 4)]
    for row, body in zip((0, 2), direct, strict=True):
        assert drop_times(rows[row]["body"]) == drop_times(body)
        one = read_result(client, job, row=row)
        assert one.status_code == 200 and one.json() == rows[row]["body"]
    assert read_result(client, job, row=1).status_code == 400
    assert error_of(read_result(client, job, row=3), 404) == ("row", "not_found")


def test_a_batch_of_wrong_rows_has_failed(client: httpx2.Client) -> None:
    job = submit(client, rows=[{"prompt": ""}])
    assert job["state"] == "failed" and job["ended_at"]


def test_others_see_nothing_of_a_job(client: httpx2.Client, other: httpx2.Client) -> None:
    job = submit(client)
    path = f"/v1/jobs/{job['id']}"
    assert len(job["id"]) > 24
    for method, end in (("GET", ""), ("GET", "/result"), ("GET", "/events"), ("POST", "/cancel"),
                        ("DELETE", "")):  # fmt: skip
        assert error_of(other.request(method, path + end), 404)[1] == "job_not_found"
        answer = httpx2.request(method, f"{client.base_url}{path}{end}")
        assert error_of(answer, 401)[1] == "missing_api_key"
    assert job["id"] not in other.get("/v1/jobs").text
    assert wait_for_end(client, job)["state"] == "succeeded"


def test_priorities_are_bounded_by_the_key(client: httpx2.Client, other: httpx2.Client) -> None:
    assert submit(client, priority=5)["priority"] == 5
    body = {"endpoint": GENERATIONS, "body": MADE, "priority": 1}
    assert error_of(other.post("/v1/jobs", json=body), 400) == ("priority", "invalid_value")


def test_a_list_goes_on_where_it_ended(client: httpx2.Client) -> None:
    names = [submit(client)["id"] for _ in range(3)]
    first = client.get("/v1/jobs", params={"limit": 2}).json()
    assert [one["id"] for one in first["data"]] == names[:0:-1] and first["has_more"]
    then = client.get("/v1/jobs", params={"limit": 1, "start_after": names[1]}).json()
    assert [one["id"] for one in then["data"]] == [names[0]]
    for one in names:
        wait_for_end(client, {"id": one})
    ended = client.get("/v1/jobs", params={"state": "succeeded", "limit": 100}).json()["data"]
    assert set(names) <= {one["id"] for one in ended}
    assert client.get("/v1/jobs", params={"state": "running"}).json()["data"] == []
    for query in ("state=lost", "limit=0", "page=2"):
        error_of(client.get(f"/v1/jobs?{query}"), 400)


def test_a_key_makes_one_job(client: httpx2.Client, other: httpx2.Client) -> None:
    first = submit(client, key="one")
    again = submit(client, key="one")
    assert again["id"] == first["id"]
    assert submit(other, key="one")["id"] != first["id"]
    wrong = {"endpoint": GENERATIONS, "body": MADE | {"seed": 9}}
    answer = client.post("/v1/jobs", json=wrong, headers={"Idempotency-Key": "one"})
    assert error_of(answer, 409) == ("Idempotency-Key", "idempotency_key_reused")
    answer = client.post("/v1/jobs", json=wrong, headers={"Idempotency-Key": "k" * 256})
    assert error_of(answer, 400)[0] == "Idempotency-Key"


def test_a_seed_is_chosen_when_the_job_is_stored(client: httpx2.Client) -> None:
    body = {"prompt": "a house", "num_inference_steps": STEPS}
    found = read_result(client, submit(client, body=body)).json()["data"][0]
    again = client.post(GENERATIONS, json=body | {"seed": found["seed"]}).json()["data"][0]
    assert again["b64_json"] == found["b64_json"]


def test_what_is_deleted_is_gone(client: httpx2.Client) -> None:
    job = submit(client, key="gone")
    wait_for_end(client, job)
    path = f"/v1/jobs/{job['id']}"
    assert client.delete(path).json() == {"id": job["id"], "object": "job", "deleted": True}
    assert error_of(client.get(path), 404)[1] == "job_not_found"
    assert submit(client, key="gone")["id"] != job["id"]


def test_states_are_events(client: httpx2.Client) -> None:
    job = submit(client)
    with client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
        lines = [line for line in stream.iter_lines() if line.startswith("data: ")]
    states = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert states[-1]["state"] == "succeeded" and {one["id"] for one in states} == {job["id"]}


def test_answers_have_their_schemas(client: httpx2.Client) -> None:
    paths, job = client.get("/openapi.json").json()["paths"], ""
    one = "/v1/jobs/{job}"
    sent: list[tuple[str, str, str, int]] = [
        ("post", "/v1/jobs", "", 202), ("get", "/v1/jobs", "", 200), ("get", one, "?wait=60", 200),
        ("get", f"{one}/result", "", 200), ("post", f"{one}/cancel", "", 200),
        ("delete", one, "", 200), ("get", f"{one}/result", "", 404),
    ]  # fmt: skip
    for method, path, query, status in sent:
        body = {"endpoint": GENERATIONS, "body": MADE} if status == 202 else None
        answer = client.request(method, path.format(job=job) + query, json=body)
        assert answer.status_code == status, answer.text
        content = paths[path][method]["responses"][str(status)]["content"]
        assert find_faults(answer.json(), content["application/json"]["schema"]) == [], path
        job = job or answer.json()["id"]
    described = {(method, path) for path in paths for method in paths[path] if "/jobs" in path}
    assert described == {one[:2] for one in sent} | {("get", f"{one}/events")}


def test_nothing_is_left_behind(at: RunningService) -> None:
    wait_until(lambda: is_idle(at.service))


def test_without_a_folder_jobs_are_in_memory(
    editor: Editor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mdp_lite.serve")
    with run_service(editor) as at, httpx2.Client(base_url=at.url, timeout=120) as client:
        assert read_result(client, submit(client)).status_code == 200
    assert [one for one in caplog.records if "a restart loses them" in one.message]
    with run_service(editor, replicas=2) as at, httpx2.Client(base_url=at.url) as client:
        answer = client.post("/v1/jobs", json={"endpoint": GENERATIONS, "body": MADE})
        assert error_of(answer, 503)[1] == "jobs_unavailable"

"""Several models and LoRA sets behind one service: none is confused with another."""

import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from mdp_lite.model_pool.keys import ModelKey
from mdp_lite.model_pool.pool import LoadingModel
from support.jobs import read_result, submit
from support.served_models import (
    Zoo,
    ask_for,
    build_zoo,
    generate_alone,
    read_picture,
    write_lora,
)
from support.serving import (
    WAIT,
    RunningService,
    is_idle,
    open_client,
    run_service,
    send_and_leave,
    wait_until,
)

MAKE = "/v1/images/generations"
VARIANTS = [
    ("a", ()), ("b", ()), ("c", ()), ("a", (("x", 0.8),)), ("b", (("y", 1.0), ("x", -0.5))),
]  # fmt: skip


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return build_zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="module")
def at(zoo: Zoo) -> Iterator[RunningService]:
    """Memory for two of five models, of which the first stays."""
    with run_service(zoo.editor("a"), **zoo.settings(2.5)) as one:
        yield one


def post(at: RunningService, body: dict, path: str = MAKE) -> httpx2.Response:
    return httpx2.post(at.url + path, json=body, timeout=WAIT)


def count_loads(at: RunningService) -> dict[str, int]:
    return dict(at.service.pool.counts.loads)


def test_requests_at_once_for_five_models_get_their_own(at: RunningService, zoo: Zoo) -> None:
    """Every picture has the pixels of a lone editor's, and the answer says what made it."""
    want = [generate_alone(zoo.editor(*one)).tobytes() for one in VARIANTS]
    assert len(set(want)) == len(VARIANTS)
    with ThreadPoolExecutor(10) as pool:
        bodies = [ask_for(*one) for one in 2 * VARIANTS]
        answers = [one.json() for one in pool.map(lambda body: post(at, body), bodies)]
    assert [read_picture(one).tobytes() for one in answers] == 2 * want
    assert [one["model"] for one in answers] == [alias for alias, _ in 2 * VARIANTS]
    for one, (_, loras) in zip(answers, 2 * VARIANTS, strict=True):
        assert [tuple(lora.values()) for lora in one.get("lora", [])] == list(loras)
    assert sum(at.service.pool.bytes.values()) <= at.service.pool.bound
    wait_until(lambda: is_idle(at.service))


def test_requests_that_come_together_cause_one_load(at: RunningService) -> None:
    post(at, ask_for("c"))  # so that b is not loaded
    before = count_loads(at)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda seed: post(at, ask_for("b", seed=seed)), range(6)))
    assert [one.status_code for one in answers] == [200] * 6
    assert count_loads(at) == before | {"b": before["b"] + 1}
    assert any("load" in one.json()["timings"] for one in answers)
    assert "load" not in post(at, ask_for("b")).json()["timings"]


def test_a_source_belongs_to_the_model_that_made_it(at: RunningService, zoo: Zoo) -> None:
    lora = '[{"name": "x", "weight": 0.8}]'
    form = {"source_prompt": "a red house", "seed": "3", "num_inference_steps": "2", "model": "b"}
    made = httpx2.post(f"{at.url}/v1/sources", data=form | {"lora": lora}, timeout=WAIT).json()
    assert made["model"] == "b" and made["lora"] == [{"name": "x", "weight": 0.8}]
    path = f"/v1/sources/{made['id']}/edits"
    answer = post(at, {"prompt": "a blue house"}, path).json()
    assert answer["model"] == "b" and answer["lora"] == made["lora"]
    own = zoo.editor("b", [("x", 0.8)])
    want = own.edit(own.generate("a red house", 3, 2), "a blue house").picture
    assert read_picture(answer).tobytes() == want.tobytes()
    for more, param in (({"model": "a"}, "model"), ({"lora": []}, "lora")):
        answer = post(at, {"prompt": "a blue house"} | more, path)
        assert answer.status_code == 400 and answer.json()["error"]["param"] == param
    sweep = {"source": made["id"], "prompts": ["a boat"]}
    assert post(at, sweep, "/v1/sweeps").json()["model"] == "b"
    answer = post(at, sweep | {"model": "c"}, "/v1/sweeps")
    assert "b, which made this source" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("name", "status"),
    [("../a/unet/x", 400), ("/etc/passwd", 400), ("", 400), (".x", 400), ("out", 404), ("z", 404)],
)
def test_a_lora_is_a_name_of_the_folder(
    at: RunningService, zoo: Zoo, tmp_path: Path, name: str, status: int
) -> None:
    link, outside = zoo.loras / "out.safetensors", tmp_path / "outside.safetensors"
    write_lora(outside, 5)
    link.unlink(missing_ok=True)
    link.symlink_to(outside)
    before = count_loads(at)
    answer = post(at, ask_for("a", [(name, 1.0)]))
    assert answer.status_code == status and answer.json()["error"]["param"] == "lora.0.name"
    assert count_loads(at) == before
    link.unlink()


def test_a_wrong_name_has_a_suggestion(at: RunningService, zoo: Zoo) -> None:
    write_lora(zoo.loras / "watercolour.safetensors", 6)
    message = post(at, ask_for("a", [("watercolor", 1.0)])).json()["error"]["message"]
    assert "did you mean 'watercolour'?" in message


def test_a_lora_that_does_not_fit_is_the_request_s_fault(at: RunningService, zoo: Zoo) -> None:
    write_lora(zoo.loras / "wide.safetensors", 7, 20)
    before = at.service.pool.bytes
    answer = post(at, ask_for("a", [("wide", 1.0)]))
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "lora"
    assert "wide" in answer.json()["error"]["message"]
    assert at.service.pool.bytes == before  # no other model made room for it


@pytest.mark.parametrize(
    "lora", ["x", {"name": "x"}, [{"name": "x", "weight": "a"}], [{"name": "x", "scale": 1}],
             [{"name": "x"}, {"name": "x"}], [{"name": "x", "weight": 1e9}], 9 * [{"name": "x"}]],
)  # fmt: skip
def test_wrong_loras_are_refused(at: RunningService, lora: object) -> None:
    answer = post(at, ask_for("a") | {"lora": lora})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "lora"


def test_models_are_described(at: RunningService, zoo: Zoo) -> None:
    post(at, ask_for("c"))
    listed = httpx2.get(f"{at.url}/v1/models").json()["data"]
    found = {one["id"]: one for one in listed}
    assert list(found) == ["a", "b", "c"]
    assert (found["a"]["state"], found["a"]["pinned"]) == ("loaded", True)
    assert found["c"]["state"] == "loaded" and found["b"]["state"] == "unloaded"
    assert found["b"]["bytes"] == zoo.size() and found["b"]["size"] == "32x32"
    assert found["b"]["defaults"]["num_inference_steps"] == 10
    assert {"x", "y"} <= set(found["a"]["loras"])
    assert httpx2.get(f"{at.url}/v1/models/b").json() == found["b"]
    text = httpx2.get(f"{at.url}/metrics").text
    assert f'mdp_lite_model_bytes{{model="c"}} {float(zoo.size())}' in text
    assert f'mdp_lite_model_loads_total{{model="c"}} {float(count_loads(at)["c"])}' in text


def test_names_of_openai_mean_the_first(at: RunningService) -> None:
    answer = post(at, ask_for("gpt-image-1")).json()
    assert answer["model"] == "a" and "first model" in answer["ignored"]["model"]
    assert post(at, ask_for("d")).status_code == 404


def test_a_model_s_memory_is_given_back(at: RunningService) -> None:
    post(at, ask_for("b"))
    entry = at.service.pool._entries[ModelKey("b")]
    assert entry.model is not None
    weights = [weakref.ref(one) for one in entry.model.editor.models.unet.parameters()]
    del entry
    assert post(at, ask_for("c")).status_code == 200
    wait_until(lambda: all(one() is None for one in weights))


def test_a_job_is_computed_by_its_model_and_loras(at: RunningService, zoo: Zoo) -> None:
    """It may be loaded twice: as the body is checked, and again when its turn comes."""
    bodies = [ask_for("b", [("x", 0.8)], seed=4), ask_for("c", seed=4)]
    with open_client(at) as client:
        jobs = [submit(client, body=one) for one in bodies]
        answers = [read_result(client, one).json() for one in jobs]
        wrong = {"endpoint": MAKE, "body": ask_for("d")}
        assert client.post("/v1/jobs", json=wrong).status_code == 404
    assert answers[0]["lora"] == bodies[0]["lora"] and answers[1]["model"] == "c"
    want = [generate_alone(zoo.editor("b", [("x", 0.8)]), 4), generate_alone(zoo.editor("c"), 4)]
    got = [read_picture(one).tobytes() for one in answers]
    assert got == [one.tobytes() for one in want]


def test_a_client_that_leaves_takes_back_its_load(
    at: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(at, ask_for("c"))  # so that b is not loaded
    may_load, loader, pool = threading.Event(), at.service.loader, at.service.pool
    load, body = loader.load, ask_for("c", [("y", 0.125)])
    monkeypatch.setattr(loader, "load", lambda *one: may_load.wait(WAIT) and load(*one))
    before = count_loads(at)
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(post, at, ask_for("b"))
        wait_until(lambda: pool.find_state(ModelKey("b")) == "loading")
        with send_and_leave(at, MAKE, body):
            wait_until(lambda: len(list_loading(at)) == 2)
        wait_until(lambda: [one.key.alias for one in list_loading(at)] == ["b"])
        may_load.set()
        assert first.result(WAIT).status_code == 200
    wait_until(lambda: is_idle(at.service))
    assert count_loads(at) == before | {"b": before.get("b", 0) + 1}
    assert post(at, body).status_code == 200  # it can be asked for again


def list_loading(at: RunningService) -> list[LoadingModel]:
    return [one for one in list(at.service.pool._entries.values()) if one.model is None]

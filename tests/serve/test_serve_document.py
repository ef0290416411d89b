"""The OpenAPI document, the page /docs and the metrics: whole, and true of the service."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mdp_lite.editor import Editor
from mdp_lite.serve.docs_page import build_page, describe_type
from mdp_lite.serve.metrics import KINDS
from mdp_lite.serve.schemas import ERROR
from mdp_lite.version import __version__
from support.inverting import picture
from support.json_schemas import find_faults
from support.places import ROOT
from support.serving import KEY, RunningService, file_of, open_client, run_service

FILE = file_of(picture())
STEPS = {"num_inference_steps": 2}
GUIDE = ROOT / "mdp_lite" / "serve" / "OPERATIONS.md"


@pytest.fixture(scope="module")
def at(editor: Editor) -> Iterator[RunningService]:
    with run_service(editor) as one:
        yield one


@pytest.fixture(scope="module")
def client(at: RunningService) -> Iterator[httpx2.Client]:
    with open_client(at) as one:
        yield one


@pytest.fixture(scope="module")
def document(client: httpx2.Client) -> dict[str, Any]:
    return client.get("/openapi.json").json()


@pytest.fixture
def source(client: httpx2.Client) -> str:
    data = {"source_prompt": "a", "num_inference_steps": "2"}
    return client.post("/v1/sources", data=data).json()["id"]


def list_operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, one)
        for path, methods in document["paths"].items()
        for method, one in methods.items()
    ]


def list_contents(operation: dict[str, Any]) -> list[dict[str, Any]]:
    """Every body that an operation reads or answers."""
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    return [one for body in bodies for one in body.get("content", {}).values()]


def test_each_request_is_described(document: dict[str, Any]) -> None:
    tags = {one["name"] for one in document["tags"]}
    for _, path, one in list_operations(document):
        assert one["summary"] and one["description"] and set(one["tags"]) <= tags, path
        assert one["responses"]["200"]["content"] and "422" not in one["responses"], path
        for content in list_contents(one):
            assert set(content["schema"]) & {"type", "anyOf"}, path
        for given in one.get("parameters", ()):
            assert given["description"], path
    assert "$ref" not in json.dumps(document)


def test_each_field_is_described(document: dict[str, Any]) -> None:
    count = 0
    for _, path, one in list_operations(document):
        for content in one.get("requestBody", {}).get("content", {}).values():
            assert content["example"], path
            for name, field in content["schema"]["properties"].items():
                assert field.get("description") or name == "parameters", (path, name)
                count += 1
    assert count > 100


def test_several_pictures_are_image_with_brackets(document: dict[str, Any]) -> None:
    operation = document["paths"]["/v1/images/edits"]["post"]
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["image[]"]["type"] == "array"
    assert {tuple(one["required"]) for one in form["anyOf"]} == {("image",), ("image[]",)}


def test_the_key_is_a_security_scheme(editor: Editor, document: dict[str, Any]) -> None:
    (name,) = document["components"]["securitySchemes"]
    assert document["components"]["securitySchemes"][name]["scheme"] == "bearer"
    edits = document["paths"]["/v1/images/edits"]["post"]
    assert edits["security"] == [{}, {name: []}]  # this service has no keys
    with run_service(editor, keys=(KEY,)) as at, open_client(at) as client:
        for path, want in (("/", 200), ("/docs", 200), ("/openapi.json", 200), ("/metrics", 401)):
            assert client.get(path).status_code == want
        guarded = client.get("/openapi.json").json()
        for method, path, one in list_operations(guarded):
            if "{" not in path:
                status = client.request(method, path).status_code
                assert (status == 401) == (one["security"] == [{name: []}]), path


def test_answers_have_their_schemas(
    client: httpx2.Client, document: dict[str, Any], source: str
) -> None:
    prompt, image = {"prompt": "a"} | STEPS, {"image": FILE}
    steps = {name: str(value) for name, value in STEPS.items()}
    sent: list[tuple[str, str, dict[str, Any]]] = [
        ("post", "/v1/images/edits", {"data": {"prompt": "a"} | steps, "files": image}),
        ("post", "/v1/images/generations", {"json": prompt}),
        ("post", "/v1/images/generations", {"json": {"prompt": "a", "quality": "low"}}),
        ("post", "/v1/sources", {"data": steps, "files": image}),
        ("get", "/v1/sources/{source}", {}),
        ("post", "/v1/sources/{source}/edits", {"json": {"prompt": "a"}}),
        ("post", "/v1/sweeps", {"json": {"source": source, "prompts": ["a", "b"]}}),
        ("get", "/v1/models", {}), ("get", "/v1/models/{name}", {}),
        ("get", "/health/live", {}), ("get", "/health/ready", {}), ("get", "/", {}),
        ("delete", "/v1/sources/{source}", {}),
    ]  # fmt: skip
    for method, path, body in sent:
        answer = client.request(method, path.format(source=source, name="mdp-lite"), **body)
        assert answer.status_code == 200, answer.text
        content = document["paths"][path][method]["responses"]["200"]["content"]
        schema = content["application/json"]["schema"]
        assert find_faults(answer.json(), schema) == [], path
    error = client.get("/v1/sources/none").json()
    assert find_faults(error, ERROR) == []
    answered = {(method, path) for method, path, _ in sent}
    there = {one[:2] for one in list_operations(document) if "/jobs" not in one[1]}
    left = there - answered
    files = {("post", f"/v1/{one}") for one in ("image-to-image", "text-to-image")}
    assert left == files | {("get", "/metrics")}  # no JSON


def test_a_schema_finds_faults() -> None:
    schema = ERROR["properties"]["error"]
    good = {"message": "a", "type": "b", "param": None, "code": "c"}
    assert find_faults(good, schema) == []
    wrong = good | {"type": None}
    for bad in (good | {"param": 3}, good | {"more": 1}, {"message": "a"}, [], wrong):
        assert find_faults(bad, schema)


def test_examples_are_requests_that_work(
    client: httpx2.Client, document: dict[str, Any], source: str
) -> None:
    for path in ("/v1/images/generations", "/v1/images/edits", "/v1/sources"):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        kind, body = next(iter(content.items()))
        example = body["example"] | STEPS
        if kind == "application/json":
            answer = client.post(path, json=example)
        else:
            texts = {name: str(value) for name, value in example.items()}
            answer = client.post(path, data=texts, files={"image": FILE})
        assert answer.status_code == 200, answer.text


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_lists_every_request_and_loads_nothing(
    client: httpx2.Client, document: dict[str, Any]
) -> None:
    answer = client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    page = Page(answer.text)
    for method, path, one in list_operations(document):
        assert f"{method.upper()} {path}" in page.text and one["description"] in page.text
        for content in one.get("requestBody", {}).get("content", {}).values():
            assert all(name in page.text for name in content["schema"]["properties"])
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    links = {attrs["href"] for tag, attrs in page.tags if tag == "a"}
    anchors = {f"#{attrs['id']}" for tag, attrs in page.tags if tag == "section"}
    assert links == anchors | {"openapi.json"}


def test_the_page_shows_markup_as_text(document: dict[str, Any]) -> None:
    evil = "<script>alert(1)</script>"
    operation = document["paths"]["/"]["get"] | {"description": evil, "summary": evil}
    page = build_page(document | {"paths": {f"/{evil}": {"get": operation}}})
    assert evil not in page and Page(page).text.count(evil) >= 3


def test_types_in_a_few_words() -> None:
    number = {"type": "number", "minimum": 0, "maximum": 1}
    for schema, words in (
        (number, "number from 0 to 1"),
        ({"anyOf": [number, {"type": "null"}]}, "number from 0 to 1"),
        ({"type": "array", "items": {"type": "string"}}, "list of string"),
        ({"enum": ["a", "b"]}, "a or b"),
        ({}, "anything"),
    ):
        assert describe_type(schema) == words


def test_the_root_says_what_this_is(client: httpx2.Client) -> None:
    about = client.get("/").json()
    assert about["name"] == "mdp_lite" and about["version"] == __version__
    for name in ("docs", "openapi"):
        assert client.get(about[name]).status_code == 200
    assert client.get(f"{about['api']}/models").status_code == 200
    missing = client.get("/v1").json()["error"]["message"]
    assert "/docs" in missing


def read_metrics(client: httpx2.Client) -> dict[str, float]:
    """Every sample, by its name and labels."""
    text = client.get("/metrics").text
    return {
        one.name
        + "".join(f",{name}={value}" for name, value in sorted(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_pictures_add_up_by_kind(client: httpx2.Client) -> None:
    def count(send: Any) -> dict[str, float]:
        before = read_metrics(client)
        assert send().status_code == 200
        after = read_metrics(client)
        name = "mdp_lite_pictures_total,finished=true,kind="
        grown = {kind: after[name + kind] - before[name + kind] for kind in KINDS}
        return {kind: number for kind, number in grown.items() if number}

    post, files = client.post, {"image": FILE}
    steps = {name: str(value) for name, value in STEPS.items()}
    text = {"prompt": "a"} | steps
    made: list[str] = []

    def make_source() -> httpx2.Response:
        answer = post("/v1/sources", data={"source_prompt": "a"} | steps)
        made.append(answer.json()["id"])
        return answer

    edits, generations = "/v1/images/edits", "/v1/images/generations"
    prompt = {"prompt": "a"} | STEPS
    assert count(lambda: post(edits, data=text, files=files)) == {"edit": 1}
    assert count(lambda: post(edits, data=text | {"n": "2"}, files=files)) == {"edit": 2}
    assert count(lambda: post(generations, json=prompt | {"n": 3})) == {"generation": 3}
    assert count(lambda: post(generations, json=prompt | {"stream": True})) == {"generation": 1}
    both = prompt | {"edit_prompt": "b"}
    assert count(lambda: post(generations, json=both)) == {"generated_edit": 1}
    assert count(make_source) == {}
    (name,) = made
    path, sweep = f"/v1/sources/{name}/edits", {"source": name, "prompts": list("abcd")}
    assert count(lambda: post(path, json={"prompt": "b"})) == {"source_edit": 1}
    assert count(lambda: post("/v1/sweeps", json=sweep)) == {"sweep": 4}


def test_each_stage_is_measured(client: httpx2.Client, source: str) -> None:
    def count(stage: str, send: Any) -> float:
        name = f"mdp_lite_seconds_count,stage={stage}"
        before = read_metrics(client).get(name, 0)
        assert send().status_code == 200
        return read_metrics(client)[name] - before

    sweep = {"source": source, "prompts": ["a", "b"]}
    assert count("edit", lambda: client.post("/v1/sweeps", json=sweep)) == 1  # one task
    data = {"num_inference_steps": "2"}
    invert = lambda: client.post("/v1/sources", data=data, files={"image": FILE})  # noqa: E731
    assert count("invert", invert) == 1
    generate = lambda: client.post("/v1/sources", data=data | {"source_prompt": "a"})  # noqa: E731
    assert count("generate", generate) == 1


def test_the_guide_names_every_metric(at: RunningService) -> None:
    text = GUIDE.read_text("utf-8")
    names = {
        f"{one.name}_total" if one.type == "counter" else one.name
        for one in at.service.metrics.registry.collect()
    }
    rows = [row.split(" | ")[0] for row in text.splitlines() if row.startswith("| `mdp_lite_")]
    listed = {name for row in rows for name in re.findall(r"`(mdp_lite_[a-z_]+)", row)}
    assert listed == names and len(names) > 15

"""How an edit of the service leaves its source: schedules, and weights of any number."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from mdp_lite.editor import Editor
from mdp_lite.names import SCHEDULES, VARIANTS
from mdp_lite.serve.fields import SweepFields
from support.inverting import picture
from support.serving import file_of, open_client, read_image, run_service

FILE = file_of(picture())


@pytest.fixture(scope="module")
def client(editor: Editor) -> Iterator[httpx2.Client]:
    with run_service(editor) as service, open_client(service) as one:
        yield one


def edit(client: httpx2.Client, **fields: str) -> httpx2.Response:
    data = {"prompt": "a boat", "num_inference_steps": "3", "seed": "3"} | fields
    return client.post("/v1/images/edits", data=data, files={"image": FILE})


@pytest.mark.parametrize(
    "how",
    [{"schedule": "local-leash"}, {"variant": "beta", "weight": -0.5}, {"strength": 0.3}],
    ids=["a local leash", "a weight below 0", "a strength"],
)
def test_an_edit_leaves_its_source_as_it_is_asked_to(
    client: httpx2.Client, how: dict[str, Any]
) -> None:
    answer = edit(client, **{name: str(value) for name, value in how.items()})
    made = read_image(base64.b64decode(answer.json()["data"][0]["b64_json"]))
    found = json.loads(made.info["mdp_lite"])  # type: ignore[arg-type]
    assert {name: found[name] for name in how} == how


def test_a_weight_that_is_no_finite_number_is_refused(client: httpx2.Client) -> None:
    answer = edit(client, weight="inf")
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "weight"


def test_a_sweep_may_have_all_schedules_and_variants() -> None:
    both = {"variants": [*VARIANTS], "schedules": [*SCHEDULES]}
    read = SweepFields.model_validate({"source": "s", "prompts": ["a boat"], **both})
    assert read.model_dump()["schedules"] == both["schedules"]

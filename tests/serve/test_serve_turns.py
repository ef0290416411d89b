"""Cost by work: beside a huge request a small one is soon done; sides and deadlines are bounded."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from torch import Tensor, nn

from mdp_lite.batcher.batcher import Batcher, Call
from mdp_lite.editor import Editor
from mdp_lite.pipeline.inversion_methods import Inversion
from mdp_lite.serve.costs import work_of_edit, work_of_generation, work_of_source, work_of_sweep
from mdp_lite.serve.fields import SteeringFields, SweepFields
from mdp_lite.serve.settings import Limits
from mdp_lite.serve.slots import FairSlots, Waiter
from mdp_lite.serve.work import EditSpec, PictureRecipe, PromptRecipe
from support.inverting import picture
from support.serving import (
    KEY,
    OTHER,
    WAIT,
    RunningService,
    file_of,
    is_idle,
    run_service,
    wait_until,
)

CELL = 2e-4  # seconds of a latent's cell
FILE = file_of(picture())


class TimedUNet(nn.Module):
    """A UNet whose rows take time in proportion to their cells."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet, self.config = unet, unet.config

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        time.sleep(CELL * x[:, 0].numel())
        return self.unet(x, t, c)


@pytest.fixture
def timed(editor: Editor) -> Editor:
    return Editor(replace(editor.models, unet=TimedUNet(editor.models.unet)), editor.device)  # type: ignore[arg-type]


def twice(editor: Editor, times: int = 2) -> str:
    return "x".join(str(times * side) for side in editor.runner.size)


def generate(
    at: RunningService, steps: int, how: dict[str, Any] | None = None, **fields: object
) -> httpx2.Response:
    body = {"prompt": "a", "seed": 1, "num_inference_steps": steps} | fields
    return httpx2.post(f"{at.url}/v1/images/generations", json=body, timeout=WAIT, **(how or {}))


def record_calls(batcher: Batcher) -> list[Call]:
    """The calls that the batcher computes from now on."""
    found: list[Call] = []
    compute = batcher._compute

    def record(batch: Sequence[Call]) -> list[Any]:
        found.extend(batch)
        return compute(batch)

    batcher._compute = record  # type: ignore[method-assign]
    return found


def record_turns(slots: FairSlots) -> tuple[list[tuple[Any, int]], list[Any]]:
    """Users of tasks as these come, with how many had begun, and those as they begin."""
    came, begun, wait = list[tuple[Any, int]](), list[Any](), slots._wait

    async def record(one: Waiter) -> None:
        came.append((one.group, len(begun)))
        await wait(one)
        begun.append(one.group)

    slots._wait = record  # type: ignore[method-assign]
    return came, begun


def test_beside_a_huge_request_a_small_one_waits_for_its_own_work_and_one_call(
    timed: Editor,
) -> None:
    with run_service(timed) as at, ThreadPoolExecutor(1) as pool:
        found = record_calls(at.service.batcher)
        huge = pool.submit(generate, at, 200, size=twice(timed), n=4)
        wait_until(lambda: at.service.tasks == 4 and len(found) > 20)
        before = {id(one.client.share) for one in found}
        assert generate(at, 5).status_code == 200
        calls = list(found)
        at.service.end_requests()
        assert huge.result(WAIT).status_code == 503
    mine = [k for k, one in enumerate(calls) if id(one.client.share) not in before]
    own = sum(calls[k].cost for k in mine)
    others = [one.cost for one in calls[mine[0] : mine[-1]] if id(one.client.share) in before]
    assert len(before) == 1 and own >= 10 * at.service.row_work
    assert sum(others) <= own + max(one.cost for one in calls)


def test_a_user_with_many_requests_has_the_turns_of_one(timed: Editor) -> None:
    keys = (KEY, OTHER)
    with run_service(timed, keys=keys) as at, ThreadPoolExecutor(8) as pool:
        found = record_calls(at.service.batcher)
        sent = {"headers": {"Authorization": f"Bearer {KEY}"}}
        crowd = [pool.submit(generate, at, 200, sent) for _ in range(8)]
        wait_until(lambda: at.service.tasks == 8 and len(found) > 20)
        before = {id(one.client.share.group) for one in found}
        alone = generate(at, 20, {"headers": {"Authorization": f"Bearer {OTHER}"}})
        assert alone.status_code == 200 and len(before) == 1
        calls = list(found)
        at.service.end_requests()
        assert {one.result(WAIT).status_code for one in crowd} == {503}
    mine = [k for k, one in enumerate(calls) if id(one.client.share.group) not in before]
    during = calls[mine[0] : mine[-1] + 1]
    own = sum(one.cost for one in during if id(one.client.share.group) not in before)
    others = sum(one.cost for one in during) - own
    assert others <= own + max(one.cost for one in calls)  # half, and not 8 of 9 parts
    shares = [id(one.client.share) for one in calls if id(one.client.share.group) in before]
    assert len(set(shares)) == 8


def test_many_requests_of_one_user_leave_the_next_slot_to_another(timed: Editor) -> None:
    mine, theirs = ({"headers": {"Authorization": f"Bearer {key}"}} for key in (OTHER, KEY))
    limits = Limits(tasks=2)
    with run_service(timed, limits=limits, keys=(KEY, OTHER)) as at, ThreadPoolExecutor(10) as pool:
        came, begun = record_turns(at.service._slots)
        crowd = [pool.submit(generate, at, 25, theirs) for _ in range(10)]
        wait_until(lambda: len(came) == 10 and at.service.tasks == 2)
        assert generate(at, 2, mine).status_code == 200
        (group, count), order = came[-1], list(begun)
        at.service.end_requests()
        assert {one.result(WAIT).status_code for one in crowd} <= {200, 503}
    assert group is not came[0][0] and count <= 8  # some of the crowd still waited
    assert order.index(group) - count <= 1


def test_a_small_row_is_less_work_than_a_large_one(editor: Editor) -> None:
    runner, spec = editor.runner, EditSpec("b", SteeringFields(), None, None)
    small, large = (
        PromptRecipe("a", 1, 4, None, "", tuple(times * one for one in runner.size))  # type: ignore[arg-type]
        for times in (1, 2)
    )
    for work in (work_of_source, work_of_generation):
        assert 4 * work(editor, small) <= work(editor, large)
    assert 4 * work_of_edit(editor, small, spec) <= work_of_edit(editor, large, spec)
    assert work_of_generation(editor, small) > work_of_source(editor, small)
    recipe = PictureRecipe(picture(), "a", Inversion(), 4, None, "", None, "crop")
    source, fields = editor.generate("a", 1, 4), SweepFields(source="x", prompts=["b", "c"])
    assert work_of_source(editor, source) == 0 < work_of_source(editor, recipe)
    assert work_of_sweep(editor, source, fields, 2) == 2 * work_of_edit(editor, source, spec)


def test_limits_count_work(editor: Editor) -> None:
    with run_service(editor, limits=Limits(rows=20)) as at:
        assert generate(at, 8).status_code == 200
        answer = generate(at, 8, size=twice(editor))
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "too_expensive")
        assert "UNet rows of the model's own size" in answer.json()["error"]["message"]


def test_sides_are_bounded_by_the_model_s(editor: Editor) -> None:
    with run_service(editor) as at:
        assert generate(at, 1, size=twice(editor)).status_code == 200
        answer = generate(at, 1, size=twice(editor, 3))
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "size")
    with run_service(editor, limits=Limits(side=3 * max(editor.runner.size))) as at:
        assert generate(at, 1, size=twice(editor, 3)).status_code == 200


def test_a_deadline_ends_everything(timed: Editor) -> None:
    steps, seconds = 150, {"deadline": 0.5}
    texts = {"source_prompt": "a", "num_inference_steps": str(steps), "deadline": "0.5"}
    files, edit = {"image": FILE}, texts | {"prompt": "b"}
    with run_service(timed) as at, httpx2.Client(base_url=at.url, timeout=WAIT) as client:
        kept = {"source_prompt": "c", "num_inference_steps": "100"}
        made = client.post("/v1/sources", data=kept).json()["id"]
        sweep = {"source": made, "prompts": ["a"] * 4, "windows": [[None, k] for k in range(1, 5)]}
        ends = {
            "generation": lambda: generate(at, steps, **seconds),
            "source": lambda: client.post("/v1/sources", data=texts),
            "inversion": lambda: client.post("/v1/sources", data=texts, files=files),
            "edit": lambda: client.post("/v1/images/edits", data=edit, files=files),
            "sweep": lambda: client.post("/v1/sweeps", json=sweep | seconds),
        }  # fmt: skip
        most = 0.5 / (CELL * timed.runner.noise(0, *timed.runner.size)[0, 0].numel()) + 3
        for name, ask in ends.items():
            before, answer = at.service.batcher.rows, ask()
            assert answer.status_code == 503, (name, answer.text)
            assert answer.json()["error"]["code"] == "deadline_exceeded"
            assert at.service.batcher.rows - before <= most, name  # with one step more
            wait_until(lambda: is_idle(at.service))


def test_the_wait_is_estimated_in_seconds(timed: Editor) -> None:
    with run_service(timed) as at, ThreadPoolExecutor(1) as pool:
        row = CELL * timed.runner.noise(0, *timed.runner.size)[0, 0].numel()
        end = pool.submit(generate, at, 50)
        wait_until(lambda: at.service.tasks)
        assert at.service.rows >= 100 and at.service.wait_seconds >= 0.9 * 100 * row
        text = httpx2.get(f"{at.url}/metrics", timeout=WAIT).text
        assert "mdp_lite_waiting_seconds " in text and "mdp_lite_waiting_work " in text
        assert end.result(WAIT).status_code == 200

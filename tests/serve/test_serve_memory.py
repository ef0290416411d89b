"""What requests take is counted before work begins, refused before decoding, and given back."""

import asyncio
import base64
from collections.abc import Callable, Iterator

import httpx2
import pytest
from PIL import Image

from mdp_lite.editor import Editor
from mdp_lite.pictures import images
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.facts import estimate_service
from mdp_lite.serve.holdings import (
    RGB,
    SETTINGS,
    TaskSize,
    answer_bytes,
    count_pixels,
    file_bytes,
    text_limit,
    working_bytes,
)
from mdp_lite.serve.memory import IDLE, TRIM, Ledger
from mdp_lite.serve.memory_plan import plan_memory
from mdp_lite.serve.pieces import FILE_MARK, split_text
from mdp_lite.serve.settings import Limits, ServiceSettings
from support.serving import (
    RunningService,
    file_of,
    is_idle,
    open_client,
    run_service,
    wait_until,
)

MIB = 2**20
EDIT = {"prompt": "a tent", "num_inference_steps": "2"}
SMALL = file_of(Image.new("RGB", (64, 64), "red"))


class Calls:
    """What a ledger reports."""

    def __init__(self) -> None:
        self.returned, self.refused = list[bool](), 0

    def refuse(self) -> None:
        self.refused += 1


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def ledger(calls: Calls) -> Ledger:
    return Ledger(100, lambda: 7.0, calls.returned.append, calls.refuse)


def test_a_lease_replaces_what_it_holds_and_gives_all_back(ledger: Ledger) -> None:
    one, other = ledger.open(), ledger.open()
    one.hold(body=30)
    one.add("body", 10)
    other.hold(pictures=20)
    assert (ledger.leased, ledger.total) == (60, 60)
    one.hold(body=5, answer=15)
    assert ledger.total == 40
    one.use()
    one.close()
    assert ledger.total == 40  # its work still runs
    one.close()
    other.close()
    assert (ledger.total, ledger.reserve) == (0, 0)


def test_what_never_fits_and_what_does_not_fit_now_are_different_errors(
    ledger: Ledger, calls: Calls
) -> None:
    one, other = ledger.open(), ledger.open()
    with pytest.raises(ApiError, match="101 bytes of memory.*at most 100") as error:
        one.plan(41, answer=60)
    assert (error.value.status, error.value.code, ledger.total) == (400, "too_expensive", 0)
    one.plan(40, answer=60)
    with pytest.raises(ApiError, match="60 bytes of memory are taken") as error:
        other.hold(body=1)  # the largest task of the first still needs its room
    assert (error.value.status, error.value.headers) == (429, {"Retry-After": "7"})
    with pytest.raises(ApiError):
        other.check_room(1)
    assert (calls.refused, other.size, ledger.total) == (2, 0, 60)
    one.hold(answer=0)
    other.hold(body=60)
    assert ledger.total == 60


def test_tasks_wait_in_turn_for_room(ledger: Ledger) -> None:
    order = list[str]()

    async def run(name: str, size: int, go_on: asyncio.Event) -> None:
        with lease.room(size) as room:
            await room.enter()
            order.append(name)
            await go_on.wait()

    async def run_all() -> None:
        events = [asyncio.Event() for _ in range(4)]
        sizes = zip("abcd", (50, 60, 10, 40), events, strict=True)
        tasks = [asyncio.create_task(run(*one)) for one in sizes]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (order, ledger.working) == (["a"], 50)  # c does not pass b
        tasks[1].cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (order, ledger.working) == (["a", "c", "d"], 100)
        for one in events:
            one.set()
        await asyncio.wait(tasks)

    lease = ledger.open()
    asyncio.run(run_all())
    assert ledger.total == 0


def test_freed_memory_is_given_back_in_parts_and_when_idle(calls: Calls) -> None:
    ledger = Ledger(4 * TRIM, lambda: 1.0, calls.returned.append, calls.refuse)
    one, other = ledger.open(), ledger.open()
    for size in (TRIM - 1, 0, 1, 0):
        one.hold(body=size)
    assert calls.returned == [False]
    one.close()
    other.hold(body=IDLE - 1)
    other.close()  # little came back since, but all that came before may lie there still
    assert calls.returned == [False, True]
    last = ledger.open()
    last.hold(body=IDLE - 1)
    last.close()
    assert calls.returned == [False, True]


def test_the_sizes_of_tasks_and_answers(editor: Editor) -> None:
    limits = Limits(prompt=10)
    size, large = (64, 64), (4096, 4096)
    assert count_pixels(large) * RGB == 64 * MIB
    assert file_bytes(size, limits) == 13_312 + 10 * SETTINGS
    file = file_bytes(large, limits)
    assert answer_bytes([large] * 2, limits) == 2 * file + 4 * MIB
    assert answer_bytes([large], limits, 3) == 2 * file + 4 * MIB + 3 * 64 * MIB
    plain = working_bytes(editor, TaskSize(large, size, 50))
    assert 14 * 16 * MIB <= plain <= 14 * 16 * MIB + 8 * MIB
    for more in ({"masked": True}, {"pictures": 2}, {"steps": 51}, {"target": (128, 64)}):
        assert working_bytes(editor, TaskSize(large, size, 50)._replace(**more)) > plain


def test_an_answer_is_sent_in_pieces_with_every_byte() -> None:
    file = bytes(range(256)) * 8000
    text = f'{{"a":"{FILE_MARK}","b":"{FILE_MARK}"}}'
    pieces = list(split_text(text, [file, b"x"]))
    assert b"".join(pieces) == b'{"a":"%s","b":"eA=="}' % base64.b64encode(file)
    assert max(map(len, pieces)) == MIB


@pytest.fixture(scope="module")
def at(editor: Editor) -> Iterator[RunningService]:
    limits = Limits(waiting_bytes=48 * MIB, body_bytes=8 * MIB)
    with run_service(editor, limits=limits) as service:
        yield service
        wait_until(lambda: is_idle(service.service))


def post(at: RunningService, *files: tuple[str, bytes], **fields: str) -> httpx2.Response:
    some = [(name, ("a", data, "image/png")) for name, data in files]
    with open_client(at) as client:
        return client.post("/v1/images/edits", data=EDIT | fields, files=some)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was decoded."""
    names, decode = list[str](), images.decode_picture
    spy: Callable[..., Image.Image] = lambda file, name, *more: (  # noqa: E731
        names.append(name), decode(file, name, *more)
    )[1]  # fmt: skip
    monkeypatch.setattr(images, "decode_picture", spy)
    return names


def test_a_picture_that_never_fits_is_refused_before_it_is_decoded(
    at: RunningService, decoded: list[str]
) -> None:
    solid = file_of(Image.new("1", (4096, 4096)))  # 600 bytes or so
    answer = post(at, ("image", solid))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "too_expensive")
    both = post(at, ("image", SMALL), ("image[]", solid))
    assert both.status_code == 400 and decoded == []
    with open_client(at) as client:
        files = {"image": ("a", solid)}
        answer = client.post("/v1/sources", data={"source_prompt": "a house"}, files=files)
    assert answer.status_code == 400 and decoded == []
    wait_until(lambda: is_idle(at.service))


def test_a_size_lets_a_large_picture_fit(at: RunningService, decoded: list[str]) -> None:
    """Only the fitted picture is kept."""
    large = file_of(Image.new("RGB", (2048, 2048), "red"))
    assert post(at, ("image", large)).status_code == 400
    assert post(at, ("image", large), size="64x64").status_code == 200
    assert decoded == ["image"]


def test_what_others_hold_is_answered_with_retry_after(
    at: RunningService, decoded: list[str]
) -> None:
    before = at.service.metrics.refused.labels("memory")._value.get()
    other = at.service.memory.open()
    other.hold(body=47 * MIB)
    try:
        answer = post(at, ("image", SMALL))
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert "retry-after" in answer.headers and decoded == []
        with open_client(at) as client:
            assert client.get("/health/ready").status_code == 200
            text = client.get("/metrics").text
        assert 'mdp_lite_refused_total{reason="memory"}' in text
        assert f"mdp_lite_waiting_bytes {47 * MIB / 1e7}e+07" in text
    finally:
        other.close()
    assert at.service.metrics.refused.labels("memory")._value.get() == before + 1
    assert post(at, ("image", SMALL)).status_code == 200


def test_a_body_without_room_is_read_and_refused(at: RunningService) -> None:
    """A client that reads only once it has sent all gets the answer too."""
    other = at.service.memory.open()
    other.hold(body=40 * MIB)
    try:
        parts = iter([b"{"] + [b" " * MIB] * 7)
        with open_client(at) as client:
            headers = {"Content-Type": "application/json"}
            answer = client.post("/v1/images/generations", content=parts, headers=headers)
        assert answer.status_code == 429
    finally:
        other.close()


@pytest.mark.parametrize("status, fields", [(200, {}), (400, {"t_max": "99"}), (400, {"n": "99"})])
def test_all_is_given_back_after_success_and_error(
    at: RunningService, status: int, fields: dict[str, str]
) -> None:
    assert post(at, ("image", SMALL), **fields).status_code == status
    wait_until(lambda: is_idle(at.service))


def test_all_is_given_back_after_a_deadline_and_a_disconnect(at: RunningService) -> None:
    body = {"prompt": "a house", "num_inference_steps": 200, "n": 4}
    with open_client(at) as client:
        late = client.post("/v1/images/generations", json=body | {"deadline": 0.01})
    assert late.status_code == 503
    wait_until(lambda: is_idle(at.service))
    with httpx2.Client(base_url=at.url, timeout=0.5) as client:
        with pytest.raises(httpx2.TimeoutException):
            client.post("/v1/images/generations", json=body)
    wait_until(lambda: is_idle(at.service))


def test_texts_are_bounded(at: RunningService) -> None:
    most = text_limit(at.service.settings.limits)
    assert most > 12 * 2000 * 64  # a sweep of prompts whose letters JSON escapes
    with open_client(at) as client:
        long = client.post("/v1/images/edits", data={"prompt": "x" * (most + 1)}, files={"a": b""})
        assert long.status_code == 400 and f"at most {most} bytes" in long.text
        long = client.post("/v1/images/generations", json={"prompt": "x" * most})
        assert long.status_code == 413
        many = '{"inputs":[' + "0," * 250_000 + "0]}"
        headers = {"Content-Type": "application/json"}
        answer = client.post("/v1/image-to-image", content=many, headers=headers)
        assert answer.status_code == 413


def test_the_plan_has_every_bound(editor: Editor) -> None:
    found = estimate_service(editor, ServiceSettings(), False)
    plan = plan_memory(found, Limits())
    assert plan.total == sum(plan) and plan.model == found.peak_bytes
    names = ("waiting_bytes", "source_bytes", "pixels", "connections", "body_bytes")
    for name in names:
        more = Limits(**{name: 2 * getattr(Limits(), name)})
        assert plan_memory(found, more).total > plan.total, name

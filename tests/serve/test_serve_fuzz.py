"""Damaged pictures and forms are answered with 200 or a typed 4xx, never with a 5xx."""

import gc
import resource
from collections.abc import Callable, Iterator

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mdp_lite.editor import Editor
from mdp_lite.serve.settings import Limits
from support.inverting import picture
from support.serving import RunningService, file_of, is_idle, open_client, run_service, wait_until

# If a form stops within a file, Starlette does not close its temporary file; Python does.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function SpooledTemporaryFile"
)
EXIF = Image.Exif()
EXIF[0x0112], EXIF[0x010E] = 6, "a text"
FILES = (
    file_of(picture()),
    file_of(picture().convert("P")),
    file_of(picture(), "JPEG", exif=EXIF),
    file_of(picture(), "WEBP"),
    file_of(picture().convert("RGBA"), "WEBP", lossless=True),
)
LIMITS = Limits(pixels=256 * 256, steps=4)


@pytest.fixture(scope="module")
def at(editor: Editor) -> Iterator[RunningService]:
    with run_service(editor, limits=LIMITS) as one:
        yield one


@pytest.fixture(scope="module")
def client(at: RunningService) -> Iterator[httpx2.Client]:
    with open_client(at) as one:
        yield one


@st.composite
def damage_picture(draw: st.DrawFn) -> bytes:
    """A picture's file with bytes changed, left out, put in, or doubled."""
    data = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(1, 4))):
        k = draw(st.integers(0, max(0, len(data) - 1)))
        some = draw(st.binary(min_size=1, max_size=8))
        how = draw(st.sampled_from(["change", "cut", "drop", "insert", "double"]))
        if how == "change":
            data[k : k + len(some)] = some
        elif how == "cut":
            del data[k:]
        elif how == "drop":
            del data[k : k + len(some)]
        elif how == "insert":
            data[k:k] = some
        else:
            data[k:k] = data[k : k + 64]
    return bytes(data)


@st.composite
def damage_form(draw: st.DrawFn) -> bytes:
    """The body of a form, damaged in the same ways."""
    field = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    parts = [
        field % (b"prompt", b"", b"a"),
        field % (b"num_inference_steps", b"", b"1"),
        field % (b"image", b'; filename="a"', FILES[0][:200]),
    ]
    data = bytearray(b"".join(draw(st.permutations(parts))) + b"--x--\r\n")
    for _ in range(draw(st.integers(1, 3))):
        k = draw(st.integers(0, len(data) - 1))
        data[k : k + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
    return bytes(data)


def check_answer(answer: httpx2.Response) -> None:
    assert answer.status_code == 200 or 400 <= answer.status_code < 500, answer.text
    if answer.status_code != 200:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def send_picture(client: httpx2.Client, data: bytes) -> None:
    fields = {"prompt": "a", "num_inference_steps": "1"}
    check_answer(
        client.post("/v1/images/edits", data=fields, files={"image": data, "mask": FILES[0]})
    )


def send_form(client: httpx2.Client, data: bytes) -> None:
    head = {"content-type": "multipart/form-data; boundary=x"}
    check_answer(client.post("/v1/images/edits", content=data, headers=head))


BODIES = [(damage_picture, send_picture), (damage_form, send_form)]
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
few = settings(max_examples=15, deadline=None, suppress_health_check=QUIET)
many = settings(max_examples=2000, deadline=None, suppress_health_check=QUIET)


def send_many(client: httpx2.Client, how: settings, make: Callable, send: Callable) -> None:
    @how
    @given(make())
    def run(data: bytes) -> None:
        send(client, data)

    run()
    gc.collect()


@pytest.mark.parametrize(("make", "send"), BODIES)
def test_damaged_bodies_are_refused(
    at: RunningService, client: httpx2.Client, make: Callable, send: Callable
) -> None:
    send_many(client, few, make, send)
    wait_until(lambda: is_idle(at.service))


@pytest.mark.slow
@pytest.mark.parametrize(("make", "send"), BODIES)
def test_2000_damaged_bodies_and_no_more_memory(
    at: RunningService, client: httpx2.Client, make: Callable, send: Callable
) -> None:
    send_many(client, few, make, send)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    send_many(client, many, make, send)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"grown by {grown} KiB")
    assert grown < 64 * 1024
    wait_until(lambda: is_idle(at.service))

"""Connections that ask for nothing, or in a wrong way: they are bounded, and shut nobody out."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPResponse

import httpx2
import pytest

from mdp_lite.editor import Editor
from mdp_lite.serve.connections import CROWD, ConnectionPool, reserve_files
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.metrics import REFUSALS
from mdp_lite.serve.settings import Limits
from support.serving import WAIT, RunningService, run_service, wait_until

HALF = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Half: "
BODY = b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
NONE = dict.fromkeys(REFUSALS, 0)
SOON = 1.0  # seconds within which health must answer


def connect(at: RunningService, source: str = "127.0.0.1") -> socket.socket:
    port = int(at.url.rpartition(":")[2])
    line = socket.create_connection(("127.0.0.1", port), WAIT, (source, 0))
    return line


@contextmanager
def half_open(at: RunningService, count: int, data: bytes = HALF) -> Iterator[list[socket.socket]]:
    """Connections from four addresses that have each sent these bytes."""
    with ExitStack() as stack:
        lines = [
            stack.enter_context(connect(at, f"127.0.0.{2 + i % 4}")) for i in range(count)
        ]  # fmt: skip
        for one in lines:
            one.sendall(data)
        yield lines


def read_all(line: socket.socket) -> tuple[int, dict[str, str]]:
    """The status of an answer after which the connection is closed, and its error."""
    data = b""
    while part := line.recv(65536):
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


def read_whole(line: socket.socket) -> tuple[int, bytes]:
    """The status and the body of an answer, however many parts it comes in."""
    answer = HTTPResponse(line)
    answer.begin()
    return answer.status, answer.read()


def read_answer(line: socket.socket) -> int:
    """The status of an answer, which is read to its end."""
    return read_whole(line)[0]


def ask_health(at: RunningService, source: str = "127.0.0.1") -> float:
    """Seconds until the service's health has answered over a new connection, the longer of two."""
    seconds = []
    for path in ("live", "ready"):
        started = time.monotonic()
        with connect(at, source) as line:
            line.sendall(f"GET /health/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert read_answer(line) == 200
        seconds.append(time.monotonic() - started)
    return max(seconds)


@pytest.mark.parametrize("count", [300, pytest.param(2000, marks=pytest.mark.slow)])
def test_half_open_connections_shut_nobody_out(editor: Editor, count: int) -> None:
    limits = Limits(connections=100, address_connections=40)
    with run_service(editor, limits=limits) as at, half_open(at, count) as lines:
        assert ask_health(at) < SOON
        assert httpx2.get(f"{at.url}/v1/models", timeout=WAIT).status_code == 200
        with suppress(ConnectionResetError):  # it may have been closed before its bytes were read
            while lines[0].recv(65536):
                pass


def test_the_oldest_half_sent_head_makes_room(editor: Editor) -> None:
    limits = Limits(address_connections=2)
    with run_service(editor, limits=limits) as at, connect(at) as first, connect(at) as second:
        first.sendall(HALF + b"\r\n\r\n")
        assert read_answer(first) == 200
        first.sendall(HALF)
        second.sendall(HALF)
        time.sleep(0.2)  # until both are read
        with connect(at) as third:
            status, error = read_all(first)
            assert (status, error["code"]) == (503, "too_many_connections")
            for one in (second, third):
                one.sendall((b"" if one is second else HALF) + b"\r\n\r\n")
                assert read_answer(one) == 200
            counts = at.service.connections
            assert (counts.accepted, counts.refused["gave_way"]) == (3, 1)
            wait_until(lambda: counts.open == 2)  # while the third is there


def test_requests_whose_bodies_do_not_come_shut_no_health_out(editor: Editor) -> None:
    limits = Limits(connections=100, address_connections=10)
    kind = b"Content-Type: application/json\r\n\r\n"
    with run_service(editor, limits=limits) as at, half_open(at, 60, BODY + kind):
        wait_until(lambda: at.service.open_requests == 40)  # all that four addresses may have
        for source in ("127.0.0.1", "127.0.0.2"):
            assert ask_health(at, source) < SOON
        with connect(at, "127.0.0.2") as line:
            line.sendall(HALF + b"\r\n\r\n")
            status, error = read_all(line)
        assert (status, error["code"]) == (503, "too_many_connections")
        refused = at.service.connections.refused
        wait_until(lambda: sum(refused.values()) == 21)  # with 20 of the bodies
        assert refused["too_many"]


@dataclass(eq=False)
class FakeConnection:
    """A connection of one address as the pool sees it."""

    pool: ConnectionPool
    in_progress: bool = False
    is_extra: bool = False
    refused: str = ""
    address: str = "127.0.0.1"

    def refuse(self, error: ApiError, reason: str) -> None:
        self.pool.discard(self)  # type: ignore[arg-type]
        self.refused = reason

    def serve_health_only(self) -> None:
        self.is_extra = True


def arrive(pool: ConnectionPool, in_progress: bool = False) -> FakeConnection:
    one = FakeConnection(pool)
    pool.add(one)  # type: ignore[arg-type]
    one.in_progress = in_progress
    return one


def test_one_for_health_alone_gives_its_place_to_no_full_connection() -> None:
    """It is not one of those that the bound counts, so closing it makes no room for them."""
    pool = ConnectionPool(Limits(address_connections=2))
    busy = [arrive(pool, in_progress=True) for _ in range(2)]
    extra = [arrive(pool) for _ in range(3)]
    assert all(one.is_extra and not one.refused for one in extra) and pool.crowd == 3
    pool.discard(busy[0])  # type: ignore[arg-type]
    full = arrive(pool)
    assert not full.is_extra and not full.refused
    last = arrive(pool)  # the one that waits gives way, those for health stay
    assert full.refused == "gave_way" and not last.is_extra and pool.crowd == 3


def test_of_too_many_for_health_alone_the_one_that_waits_longest_gives_way() -> None:
    pool = ConnectionPool(Limits(address_connections=1))
    arrive(pool, in_progress=True)
    extra = [arrive(pool) for _ in range(CROWD + 1)]
    assert extra[0].refused == "gave_way" and pool.crowd == CROWD
    assert all(one.is_extra and not one.refused for one in extra[1:])
    for one in extra:
        one.in_progress = True
    assert arrive(pool).refused == "too_many" and pool.crowd == CROWD


def test_a_late_head_is_refused_and_a_silent_connection_closed(editor: Editor) -> None:
    limits = Limits(head=0.3, idle=0.3)
    with run_service(editor, limits=limits) as at, connect(at) as late, connect(at) as silent:
        late.sendall(HALF)
        status, error = read_all(late)
        assert (status, error["code"]) == (408, "request_timeout")
        assert silent.recv(10) == b""
        for rest in (b"", HALF):  # after an answer: idle, and a second head that is late
            with connect(at) as line:
                line.sendall(HALF + b"\r\n\r\n")
                assert read_answer(line) == 200
                line.sendall(rest)
                assert read_answer(line) == 408 if rest else line.recv(10) == b""
        assert at.service.connections.refused == NONE | {"late_head": 3}


def test_a_connection_in_use_outlives_the_time_for_a_head(editor: Editor) -> None:
    with run_service(editor, limits=Limits(head=1.0)) as at, connect(at) as line:
        for _ in range(6):
            line.sendall(HALF + b"\r\n\r\n")
            assert read_answer(line) == 200
            time.sleep(0.3)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /v1/models HTTP/1.0\r\n\r\n", 200),
        (b"GET /v1/models HTTP/1.0\r\nHost: elsewhere.example\r\n\r\n", 403),
        (b"GET /v1/models HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000, 400),
        (b"nonsense\r\n\r\n", 400),
        (BODY + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ],
    ids=["1.0", "1.0 elsewhere", "no host", "long", "nonsense", "two lengths"],
)
def test_heads(editor: Editor, head: bytes, status: int) -> None:
    with run_service(editor) as at, connect(at) as line:
        line.sendall(head)
        line.shutdown(socket.SHUT_WR)
        got, body = read_whole(line)
        assert got == status
        if status == 400:
            error = json.loads(body)["error"]
            assert (error["code"], error["type"]) == ("invalid_request", "invalid_request_error")
        malformed = status == 400 and b"chunked" not in head  # that is a whole head
        assert at.service.connections.refused == NONE | {"malformed": int(malformed)}


def test_there_are_no_more_connections_than_files(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource", reason="Windows has no such limit")
    held = [256, 2000]  # the soft and the hard limit

    def set_limit(_: int, pair: tuple[int, int]) -> None:
        held[:] = pair

    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(held))
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    assert reserve_files(1024) == 1024 and held == [1536, 2000]
    assert reserve_files(4000) == 2000 - 512 and held == [2000, 2000]

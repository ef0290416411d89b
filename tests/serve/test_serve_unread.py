"""Answers that a client asks for and does not read are counted until it leaves, then given back."""

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mdp_lite.editor import Editor
from mdp_lite.serve.holdings import PIECE, SENDING
from mdp_lite.serve.pieces import split_parts
from mdp_lite.serve.queue.database import NAME
from mdp_lite.serve.settings import JobSettings, Limits
from support.jobs import MADE, submit, wait_for_end
from support.serving import RunningService, is_idle, open_client, run_service, wait_until

LARGE = 40 * PIECE  # more than the sockets of both sides hold


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def at(editor: Editor, folder: Path) -> Iterator[RunningService]:
    limits = Limits(waiting_bytes=64 * PIECE)
    with run_service(editor, limits=limits, jobs=JobSettings(str(folder))) as one:
        yield one


def ask(at: RunningService, path: str) -> socket.socket:
    """A connection that has asked for an answer and does not read it."""
    host, port = at.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return connection


@pytest.mark.parametrize("rows", [1, 2])
def test_a_stored_answer_that_is_not_read_is_counted(
    at: RunningService, folder: Path, rows: int
) -> None:
    with open_client(at) as client:
        job = submit(client, rows=[MADE] * rows) if rows > 1 else submit(client)
        wait_for_end(client, job)
        wait_until(lambda: is_idle(at.service))
        with closing(sqlite3.connect(folder / NAME)) as database, database:
            database.execute("UPDATE entries SET answer = zeroblob(?)", (LARGE // rows,))
        path = f"/v1/jobs/{job['id']}/result"
        with ask(at, path):
            wait_until(lambda: at.service.memory.total == LARGE + SENDING * PIECE)
            answer = client.get(path)
            assert (answer.status_code, "retry-after" in answer.headers) == (429, True)
            assert at.service.memory.total == LARGE + SENDING * PIECE
        wait_until(lambda: is_idle(at.service))
        assert client.get(path).content.count(0) == LARGE
    wait_until(lambda: is_idle(at.service))


def test_parts_are_sent_in_pieces_with_every_byte() -> None:
    parts = [b"a", b"", bytes(range(256)) * 8193]
    pieces = list(split_parts(parts))
    assert b"".join(pieces) == b"".join(parts) and max(map(len, pieces)) == PIECE

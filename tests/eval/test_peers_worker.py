"""The process of a peer and its pipe: answers, errors, a death, silence, and a quiet machine."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.job import make_toy_job
from benchmarks.peers.measure import Quiet
from benchmarks.peers.peers import Peer
from benchmarks.peers.worker_process import PeerFailed, WorkerProcess, python_of

Start = Callable[[str], WorkerProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    make_toy_job(tmp_path)
    workers: list[WorkerProcess] = []

    def run(mode: str) -> WorkerProcess:
        peer, python = Peer(f"{mode} toy", "toy", mode), Path(sys.executable)
        workers.append(WorkerProcess(peer, python, tmp_path, tmp_path, 1, 60))
        return workers[-1]

    yield run
    for worker in workers:
        worker.stop()


def test_it_answers_with_seconds_memory_and_the_output(start: Start, tmp_path: Path) -> None:
    worker = start("slow")
    answer = worker.ask("step 2", 60, tmp_path / "out.npy")
    assert answer["seconds"] >= 0.02 and 5e6 < answer["resident"] <= answer["peak"]
    assert np.load(tmp_path / "out.npy").shape == (2, 4, 8, 8)
    assert worker.start_seconds > worker.loaded["seconds"]


def test_an_error_is_a_reason_and_the_process_goes_on(start: Start) -> None:
    worker = start("raises")
    for _ in range(2):
        with pytest.raises(PeerFailed, match="^RuntimeError: no kernel for this$"):
            worker.ask("step 2", 60)
    assert worker.ask("encode", 60)["seconds"] >= 0
    with pytest.raises(PeerFailed, match="ValueError: no such work: dance"):
        worker.ask("dance", 60)


def test_a_death_is_a_reason_with_the_end_of_its_log(start: Start) -> None:
    worker = start("dies")
    with pytest.raises(PeerFailed, match=r"ended \(exit code 3\): out of memory, say$"):
        worker.ask("step 2", 60)
    with pytest.raises(PeerFailed, match="exit code 3"):
        worker.ask("step 2", 60)


def test_a_kill_is_named(start: Start) -> None:
    worker = start("right")
    worker.process.send_signal(signal.SIGKILL)
    with pytest.raises(PeerFailed, match=r"ended \(signal 9\)"):
        worker.ask("step 2", 60)


def test_what_is_not_installed_fails_at_the_start(start: Start) -> None:
    with pytest.raises(PeerFailed, match="No module named 'toy'"):
        start("absent")


def test_silence_is_given_up(start: Start) -> None:
    worker = start("right")
    worker.process.send_signal(signal.SIGSTOP)
    with pytest.raises(PeerFailed, match="no answer within 0 s"):
        worker.ask("step 2", 0.2)


def test_a_peer_has_the_python_of_its_environment(tmp_path: Path) -> None:
    peer = Peer("toy", "toy", "right", environment="own")
    assert python_of(peer, None) == python_of(peer, tmp_path) == Path(sys.executable)
    own = tmp_path / "own" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.touch()
    assert python_of(peer, tmp_path) == own


def test_a_quiet_machine_is_held_until_it_is_given_back(tmp_path: Path) -> None:
    log, script = tmp_path / "log", tmp_path / "quiet"
    script.write_text(f'#!/bin/sh\necho held >> {log}\n"$@"\necho free >> {log}\n')
    script.chmod(0o755)
    quiet = Quiet(str(script))
    for _ in range(2):
        quiet.hold()
        assert log.read_text() == "held\n"
    quiet.release()
    assert log.read_text() == "held\nfree\n"
    quiet.release()
    Quiet(None).hold()


def test_a_long_hold_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, script = tmp_path / "log", tmp_path / "quiet"
    script.write_text(f'#!/bin/sh\necho held >> {log}\n"$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr("benchmarks.peers.measure.LONGEST_HOLD", 0.0)
    quiet = Quiet(str(script))
    quiet.hold()
    quiet.hold()
    assert log.read_text() == "held\nheld\n"
    quiet.release()

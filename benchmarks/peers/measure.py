"""The measurements: peers in processes take turns at the same work, checked before it is timed."""

import contextlib
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers.peers import Peer
from benchmarks.peers.sides import Array
from benchmarks.peers.worker_process import PeerFailed, WorkerProcess, python_of

PAUSE, LONGEST_HOLD, LONG = 0.3, 150.0, 25.0  # seconds; a LONG call needs no second warm-up
READS = 64  # pages from the disk in a call that does not count
# Of outputs, relative to float32's: what counts as the same work, and what has no figure at all.
BOUNDS = {"step": 3e-2, "encode": 3e-2, "decode": 3e-2, "edit": 0.1}
WRONG = 0.3


class Setup(NamedTuple):
    """What all measurements of a run share.

    folder holds the job, converted models and logs. limit: seconds until a silent peer is given up.
    memory: bytes that the peers of one group may have resident together.
    """

    model: Path
    folder: Path
    steps: int
    environments: Path | None
    threads: int
    rounds: int
    limit: float
    memory: float
    quiet: "Quiet"


class Measured(NamedTuple):
    """Of one piece of work: seconds of each peer and round, facts, reasons, and the groups."""

    seconds: list[dict[str, list[float]]]  # one entry for each group
    facts: dict[str, dict[str, Any]]
    missing: dict[str, str]


class Quiet:
    """Holds a quiet machine while measuring, if a command is given that waits for one.

    The command gets a process to run as its last words and must keep the machine quiet until that
    ends. After LONGEST_HOLD seconds the machine is given back for a moment, between two turns.
    """

    def __init__(self, command: str | None) -> None:
        self.command, self.process, self.since = command, None, 0.0

    def hold(self) -> None:
        """Wait for a quiet machine, if it is not held; call it before each turn."""
        if self.command is None:
            return
        if self.process and time.monotonic() - self.since > LONGEST_HOLD:
            self.release()
            time.sleep(1)
        if self.process is None:
            child = [sys.executable, "-c", "print(flush=True); input()"]
            self.process = subprocess.Popen(
                [*shlex.split(self.command), *child], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert self.process.stdout
            self.process.stdout.readline()
            self.since = time.monotonic()

    def release(self) -> None:
        """Give it back."""
        if self.process:
            self.process.communicate(b"\n")
            self.process = None


def start(setup: Setup, peer: Peer) -> WorkerProcess:
    """A peer's process with the model loaded. Raises PeerFailed."""
    setup.quiet.hold()
    python = python_of(peer, setup.environments)
    return WorkerProcess(peer, python, setup.model, setup.folder, setup.threads, setup.limit)


@contextlib.contextmanager
def started(setup: Setup, peer: Peer) -> Iterator[WorkerProcess]:
    """The same for a while."""
    worker = start(setup, peer)
    try:
        yield worker
    finally:
        worker.stop()


def split_groups(
    peers: Sequence[Peer], bytes_of: Mapping[str, float], most: float
) -> list[list[Peer]]:
    """Peers in groups that fit into `most` bytes together, the anchor the first of each."""
    others = [peer for peer in peers if peer.name != peers[0].name]
    groups, room = [[peers[0]]], most - bytes_of.get(peers[0].name, 0)
    for peer in others:
        need = bytes_of.get(peer.name, 0)
        if need > room and len(groups[-1]) > 1:
            groups.append([peers[0]])
            room = most - bytes_of.get(peers[0].name, 0)
        groups[-1].append(peer)
        room -= need
    return groups


def distance(out: Array, want: Array) -> float:
    """The distance of an output to the wanted one, relative to its norm.

    Raises PeerFailed if it has another shape.
    """
    if out.shape != want.shape:
        raise PeerFailed(f"an output of shape {out.shape}, want {want.shape}: no figure")
    whole = want.astype(np.float64)
    return float(np.linalg.norm(out.astype(np.float64) - whole) / np.linalg.norm(whole))


def check(setup: Setup, worker: WorkerProcess, work: str, want: Path | None) -> dict[str, Any]:
    """The first calls of a peer, and its distance to float32 if there is anything to compare with.

    Beyond its bound it is not the same work; beyond WRONG PeerFailed is raised.
    """
    output = setup.folder / f"{worker.peer.slug}.npy"
    setup.quiet.hold()
    again = worker.ask(work, setup.limit, output)
    first = again["seconds"]
    if first < LONG or not work.startswith("edit"):
        again = worker.ask(work, setup.limit)
    facts = {"first_call": first, "resident": again["resident"], "peak": again["peak"]}
    if want is None:
        return facts
    error, bound = distance(np.load(output), np.load(want)), BOUNDS[work.split()[0]]
    output.unlink()
    if not error <= WRONG:  # NaN is not
        raise PeerFailed(f"{error:.2g} from float32, more than {WRONG}: no figure")
    decibels = float(-20 * np.log10(error or 1e-12))
    return facts | {"error": error, "dB": decibels, "bound": bound, "within": error <= bound}


def take_turns(
    rounds: int, calls: Mapping[str, Callable[[], float]]
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Seconds of each call by round, the order flipped every round; who fails has a reason."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    missing: dict[str, str] = {}
    for i in range(rounds):
        for name in list(seconds)[:: -1 if i % 2 else 1]:
            try:
                seconds[name].append(calls[name]())
            except PeerFailed as failure:
                missing[name] = f"in round {i + 1}: {failure}"
                del seconds[name]
    return seconds, missing


def measure_group(
    setup: Setup, work: str, group: Sequence[Peer], wants: Mapping[str, Path | None]
) -> Measured:
    """Peers that are loaded at the same time; only one computes at any time."""
    workers: dict[str, WorkerProcess] = {}
    facts: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    try:
        for peer in group:
            try:
                workers[peer.name] = start(setup, peer)
                facts[peer.name] = check(setup, workers[peer.name], work, wants[peer.name])
            except PeerFailed as failure:
                missing[peer.name] = str(failure)
                if peer.name in workers:
                    workers.pop(peer.name).stop()
            print(f"  {peer.name}: {missing.get(peer.name) or facts[peer.name]}", flush=True)
        calls = {name: lambda one=one: turn(setup, one, work) for name, one in workers.items()}
        seconds, failed = take_turns(setup.rounds, calls)
        return Measured([seconds], facts, missing | failed)
    finally:
        setup.quiet.release()
        for worker in workers.values():
            worker.stop()


def turn(setup: Setup, worker: WorkerProcess, work: str) -> float:
    """Seconds of one call, after the threads of the peer before it have gone to sleep.

    A system may take memory from a process that waits: a call that had to read pages from the disk
    again is repeated, twice at most.
    """
    for _ in range(3):
        setup.quiet.hold()
        time.sleep(PAUSE)
        answer = worker.ask(work, setup.limit)
        seconds, reads = answer["seconds"], answer["reads"]
        print(f"  {worker.peer.name}: {seconds:.3f} s, {reads} pages read", flush=True)
        if reads < READS:
            break
    return seconds


def measure_starts(setup: Setup, peers: Sequence[Peer]) -> Measured:
    """Seconds from the start of a process to the result of its first guided step, and its peak."""
    facts: dict[str, dict[str, Any]] = {}

    def start_cold(peer: Peer) -> float:
        setup.quiet.hold()
        begun = time.perf_counter()
        with started(setup, peer) as worker:
            answer = worker.ask("step 2", setup.limit)
            seconds = time.perf_counter() - begun
        facts[peer.name] = {key: answer[key] for key in ("peak", "resident")}
        print(f"  {peer.name}: {seconds:.2f} s, {answer['peak'] / 1e9:.2f} GB", flush=True)
        return seconds

    calls = {peer.name: lambda peer=peer: start_cold(peer) for peer in peers}
    _, missing = take_turns(1, calls)  # what is converted and compiled once is on disk after this
    calls = {name: call for name, call in calls.items() if name not in missing}
    seconds, failed = take_turns(setup.rounds, calls)
    setup.quiet.release()
    return Measured([seconds], facts, missing | failed)


def measure_work(
    setup: Setup, work: str, peers: Sequence[Peer], bytes_of: Mapping[str, float],
    wants: Mapping[str, Path | None],
) -> Measured:  # fmt: skip
    """All peers at one piece of work, in as many groups as their memory needs."""
    whole = Measured([], {}, {})
    for group in split_groups(peers, bytes_of, setup.memory):
        print(f"{work}: {', '.join(peer.name for peer in group)}", flush=True)
        found = measure_group(setup, work, group, wants)
        whole.seconds.extend(found.seconds)
        whole.missing.update(found.missing)
        whole.facts.update({k: v for k, v in found.facts.items() if k not in whole.facts})
    return whole

"""The table's end of a peer's process: start it, ask it, and learn why it died."""

import json
import os
import selectors
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.peers import Peer
from benchmarks.record import ROOT

LAST = 300  # characters of a log that a reason may quote


class PeerFailed(Exception):
    """A peer that has no figure, with the reason for the table."""


class WorkerProcess:
    """A peer in its own process and environment, with the model loaded."""

    def __init__(
        self, peer: Peer, python: Path, model: Path, folder: Path, threads: int, seconds: float
    ) -> None:
        self.peer, self.log = peer, folder / f"{peer.slug}.log"
        rooms = [str(ROOT / room) for room in (".", "kernels", "weights")]
        settings = {
            "PYTHONPATH": os.pathsep.join(rooms), "OMP_NUM_THREADS": str(threads),
            "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1",
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor" / peer.environment),
        }  # fmt: skip
        words = [str(python), "-m", "benchmarks.peers.worker", peer.kind, peer.mode]
        begun = time.perf_counter()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*words, str(model), str(folder)], cwd=ROOT, env=os.environ | settings,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0,
            )  # fmt: skip
        try:
            self.loaded = self._read(seconds)
        except BaseException:
            self.stop()
            raise
        self.start_seconds = time.perf_counter() - begun

    def ask(self, work: str, seconds: float, output: Path | None = None) -> dict[str, Any]:
        """Have it do some work; its answer. Raises PeerFailed, also after so many seconds."""
        line = json.dumps({"work": work, "output": output and str(output)})
        try:
            self._pipe(self.process.stdin).write(f"{line}\n".encode())
        except OSError:
            raise PeerFailed(self._explain_end()) from None
        return self._read(seconds)

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            self._pipe(pipe).close()

    def _read(self, seconds: float) -> dict[str, Any]:
        """The next answer."""
        end, line, pipe = time.monotonic() + seconds, b"", self._pipe(self.process.stdout)
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise PeerFailed(f"no answer within {seconds:.0f} s")
                part = os.read(pipe.fileno(), 1 << 16)
                if not part:
                    raise PeerFailed(self._explain_end())
                line += part
        reply = json.loads(line)
        if "error" in reply:
            raise PeerFailed(reply["error"])
        return reply

    def _explain_end(self) -> str:
        """Why the process has ended: its exit code, or the signal, and the end of its log."""
        code = self.process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        lines = self.log.read_text("utf-8", "replace").strip().splitlines() or [""]
        return f"its process ended ({how}): {lines[-1][-LAST:]}".removesuffix(": ")

    @staticmethod
    def _pipe(pipe: Any) -> Any:
        assert pipe is not None
        return pipe


def python_of(peer: Peer, environments: Path | None) -> Path:
    """The interpreter of a peer's environment, or this one if there is none."""
    own = environments and environments / peer.environment / "bin" / "python"
    return own if own and own.exists() else Path(sys.executable)

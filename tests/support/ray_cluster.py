"""A Ray cluster of this machine for tests, in a process of its own, as Ray leaves warnings behind.

As a script it says its address, then for each line that it is told the states of all replicas.
"""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from support.places import ROOT

ROOMS = (str(ROOT / room) for room in ("", "kernels", "weights"))
ENV = os.environ | {"PYTHONPATH": os.pathsep.join([*ROOMS, os.environ.get("PYTHONPATH", "")])}
POLL = 0.1  # seconds between two questions: the cores are for the replicas


class Cluster(NamedTuple):
    """A process that has a cluster, and the environment of those who join it."""

    process: "subprocess.Popen[str]"
    env: dict[str, str]

    def states(self) -> dict[str, dict[str, int]]:
        """How many replicas of each application are in which state."""
        assert self.process.stdin and self.process.stdout
        time.sleep(POLL)
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextmanager
def running() -> Iterator[Cluster]:
    """A cluster, until the end; Ray guards it by a token."""
    env = ENV | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    process = subprocess.Popen(
        [sys.executable, __file__], env=env, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with process:
        assert process.stdin and process.stdout
        yield Cluster(process, env | {"RAY_ADDRESS": process.stdout.readline().strip()})
        process.stdin.close()


def states() -> dict[str, dict[str, int]]:
    """What Ray Serve's status says."""
    from ray import serve

    found: dict[str, Any] = serve.status().applications
    return {
        name: {k: n for one in app.deployments.values() for k, n in one.replica_states.items()}
        for name, app in found.items()
    }


def main() -> None:
    """Until stdin is closed."""
    import ray

    ray.init(num_cpus=4, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    print(ray.get_runtime_context().gcs_address, flush=True)
    for _ in sys.stdin:
        print(json.dumps(states()), flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main()

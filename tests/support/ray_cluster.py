"""A Ray cluster of this machine for tests, in its own process, because Ray leaves warnings behind.

The script prints its address. For each line on stdin it prints the states of all replicas.
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
POLL = 0.1  # seconds between two questions: the replicas need the cores


class Cluster(NamedTuple):
    """A process that runs a cluster, and the environment for processes that join it."""

    process: "subprocess.Popen[str]"
    env: dict[str, str]

    def states(self) -> dict[str, dict[str, int]]:
        """The number of replicas in each state, for each application."""
        assert self.process.stdin and self.process.stdout
        time.sleep(POLL)
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextmanager
def running() -> Iterator[Cluster]:
    """A cluster that Ray guards by a token; it is stopped at the end."""
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
    """The same from Ray Serve's status, inside the process of the cluster."""
    from ray import serve

    found: dict[str, Any] = serve.status().applications
    return {
        name: {k: n for one in app.deployments.values() for k, n in one.replica_states.items()}
        for name, app in found.items()
    }


def main() -> None:
    """Run a cluster until stdin is closed."""
    import ray

    ray.init(num_cpus=4, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    print(ray.get_runtime_context().gcs_address, flush=True)
    for _ in sys.stdin:
        print(json.dumps(states()), flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main()

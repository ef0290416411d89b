"""A Ray cluster of this machine for tests, in a process of its own, as Ray leaves warnings behind.

It says its address, then for each line that it is told the states of all replicas, until the end.
"""

import json
import sys
from typing import Any


def states() -> dict[str, dict[str, int]]:
    """How many replicas of each application are in which state, as Ray Serve's status says."""
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

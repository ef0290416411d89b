"""The memory that a dry run states is a bound: a real server under attack never takes more.

`pytest -m slow -s tests/serve/test_serve_memory_at_most.py` prints what each attack took.
"""

import json
import subprocess
import sys

import pytest

from mdp_lite.serve.settings import Limits
from support.places import ENVIRONMENT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
NEAR = 0.2  # of the start, that may stay
HEALTH = 1.0  # seconds


def test_no_attack_takes_more_than_the_dry_run_says() -> None:
    pytest.importorskip("psutil")
    from support.memory_attack import attack, format_figures, start_server
    from support.memory_requests import KINDS

    command = [sys.executable, "-m", "mdp_lite", "serve", "--dry-run", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=True)
    most = json.loads(done.stdout)["most_bytes"]
    with start_server() as server:
        first = server.resident
        for name, build in KINDS.items():
            found = attack(server, build(server.url))
            print(format_figures(name, found), flush=True)
            stored = Limits().source_bytes if name == "sweeps" else 0
            assert found.peak <= most, name
            assert found.worst <= HEALTH, name
            assert found.end <= (1 + NEAR) * first + stored, name
            assert any(status in (200, 400) for status in found.statuses), name

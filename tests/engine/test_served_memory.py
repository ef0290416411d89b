"""The memory that dry runs of serve and app state, against the system's count."""

import json
import subprocess
import sys

import pytest

from support.places import ENVIRONMENT, ROOT

NEAR = 0.1  # of what the operating system counts


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("what, needs", [("serve", "uvicorn"), ("app", "gradio")])
def test_a_server_takes_what_its_dry_run_says(what: str, needs: str) -> None:
    pytest.importorskip(needs)
    script = str(ROOT / "tests" / "support" / "served_memory.py")
    command = [sys.executable, script, what, "64", "4"]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert abs(found["said"] / found["peak"] - 1) <= NEAR, found

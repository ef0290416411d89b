"""The folder of the repository, and the environment of a new Python that imports from it."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = os.pathsep.join(str(ROOT / room) for room in (".", "kernels", "weights", "tests"))
# Several threads of processes that run at the same time wait for each other.
ENVIRONMENT = os.environ | {"PYTHONPATH": ROOMS, "OMP_NUM_THREADS": "1"}

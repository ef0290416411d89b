"""A new Python that runs code of the command line, and what such code must not import."""

import subprocess
import sys

from support.places import ENVIRONMENT

ENV = ENVIRONMENT | {"COLUMNS": "100"}
HEAVY = {"torch", "numpy", "transformers", "PIL", "rich", "tqdm", "gradio", "fastapi"}


def run_python(code: str, **variables: str) -> str:
    """What the code prints, run with some variables of the environment."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENV | variables, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout

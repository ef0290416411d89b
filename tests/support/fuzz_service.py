"""Runs schemathesis on the whole OpenAPI document of a service with a tiny model.

make fuzz
make fuzz FUZZ_OPTIONS="-n 500 --seed 7"
"""

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from mdp_lite.editor import Editor
from mdp_lite.serve.settings import Limits
from support.checkpoints import write_checkpoint
from support.serving import KEY, run_service

CONFIG = Path(__file__).with_name("fuzz_service.toml")
STEPS = 2  # by default, so that most requests are quick
LIMITS = Limits(steps=20, rows=2000)


def fuzz(program: str, *options: str) -> int:
    """The exit status of schemathesis, which this program is: 0 if it finds nothing."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        editor = Editor.from_pretrained(write_checkpoint(Path(folder) / "model"), device="cpu")
        defaults = replace(editor.models.defaults, num_inference_steps=STEPS)
        quick = Editor(replace(editor.models, defaults=defaults), editor.device)
        with run_service(quick, keys=(KEY,), limits=LIMITS) as at:
            words = [program, "--config-file", str(CONFIG), "run", f"{at.url}/openapi.json"]
            key = ["-H", f"Authorization: Bearer {KEY}"]
            return subprocess.run([*words, *key, *options], cwd=folder).returncode


if __name__ == "__main__":
    sys.exit(fuzz(*sys.argv[1:]))

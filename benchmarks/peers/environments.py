"""The environments of the peers: one with this project's versions, and one where they clash."""

import subprocess
import sys
from pathlib import Path

from benchmarks.record import ROOT

SHARED = ("diffusers==0.42.1", "transformers==5.23.0", "accelerate==1.15.0", "numpy==2.4.6")
CONSTRAINTS = ["-c", str(ROOT / "constraints.txt")]
ENVIRONMENTS = {  # what pip installs into each; torch 2.14 is zentorch's
    "main": [*CONSTRAINTS, "-e", f"{ROOT}[bench,peers]"],
    "zentorch": ["torch==2.14.0", "zentorch==2.14.0.1", *SHARED],
    "cpp": ["stable-diffusion-cpp-python==0.4.7", "numpy==2.4.6", "pillow==12.3.0"],
}


def make_environments(folder: Path) -> dict[str, str]:
    """Make each that is not there yet; what failed, with the end of what pip said."""
    failed = {}
    for name, words in ENVIRONMENTS.items():
        place = folder / name
        if (place / "ready").exists():
            continue
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        python = place / "bin" / "python"
        done = subprocess.run(
            [str(python), "-m", "pip", "install", *words], capture_output=True, text=True
        )
        if done.returncode:
            failed[name] = done.stderr.strip()[-300:]
        else:
            (place / "ready").touch()
    return failed

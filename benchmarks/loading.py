"""Loading a full-size Stable Diffusion 1.5 folder, against diffusers: seconds and peak memory.

    python -m benchmarks.loading          # writes 6.4 GB for a while, takes minutes

Every first load has a fresh process; what it needs is imported before the clock starts. The second
load follows in the same process. The sides take turns, and which is first changes every round. The
files are read before every process, so that the page cache has them. Peak memory is resident
memory, mapped files too, over what was resident before the load: once when the load returns and
once when every weight has been read.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "loading.json"
SECONDS = ("seconds", "seconds_again", "seconds_with_first_read")
SIDES = ("mdp_lite", "diffusers")
# In the files, then wanted.
PAIRS = (
    "float32-float32",
    "float16-float32",
    "float16-bfloat16",
    "float16-float16",
    "float32-bfloat16",
)


def resident_bytes(field: str = "VmRSS") -> int:
    """Bytes of this process that are resident, now (VmRSS) or at most so far (VmHWM)."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def loader(side: str, dtype: Any) -> Callable[[str], Iterable[Any]]:
    """The function of one side that loads a folder; all imports are done here."""
    from transformers import CLIPTextModel, CLIPTokenizer  # noqa: F401  both import them when used

    if side == "mdp_lite":
        from mdp_lite import Editor

        def ours(folder: str) -> Iterable[Any]:
            models = Editor.from_pretrained(folder, device="cpu", dtype=dtype).models
            return models.text_encoder, models.unet, models.vae

        return ours
    from diffusers import (  # noqa: F401
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from diffusers.utils import logging

    logging.disable_progress_bar()

    def theirs(folder: str) -> Iterable[Any]:
        pipe = StableDiffusionPipeline.from_pretrained(
            folder, dtype=dtype, safety_checker=None, local_files_only=True
        )
        return pipe.text_encoder, pipe.unet, pipe.vae

    return theirs


def time_loading(load: Callable[[str], Iterable[Any]], folder: str) -> tuple[Iterable[Any], float]:
    """The models and the seconds to load them; freeing them is not timed."""
    begun = time.perf_counter()
    models = load(folder)
    return models, time.perf_counter() - begun


def load_twice(side: str, folder: str, dtype: str) -> dict[str, float]:
    """Load twice, in this process; memory is that of the first time."""
    import torch

    load = loader(side, getattr(torch, dtype))
    before = resident_bytes()
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    models, seconds = time_loading(load, folder)
    peak, begun = resident_bytes("VmHWM"), time.perf_counter()
    weights = [p for model in models for p in model.parameters()]
    assert {str(p.dtype) for p in weights} == {f"torch.{dtype}"}
    with torch.no_grad():
        assert all(p.sum().isfinite() for p in weights)
    reading, peak_read = time.perf_counter() - begun, resident_bytes("VmHWM")
    size = sum(p.numel() * p.element_size() for p in weights)
    del models, weights
    return {
        "seconds": seconds,
        "seconds_with_first_read": seconds + reading,
        "seconds_again": time_loading(load, folder)[1],
        "weight_bytes": size,
        "peak_bytes": peak - before,
        "peak_bytes_with_first_read": peak_read - before,
    }


def run_python(*arguments: str) -> str:
    """Run Python in a new process that can import this project's packages; returns its output."""
    rooms = [str(ROOT / room) for room in (".", "kernels", "weights")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(rooms), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def load_in_process(side: str, folder: Path, dtype: str) -> dict[str, float]:
    """Load in a new process."""
    printed = run_python("-m", "benchmarks.loading", "--one", side, str(folder), dtype)
    return json.loads(printed.splitlines()[-1])


def compare(folder: Path, dtype: str, rounds: int) -> dict[str, Any]:
    """Load with both sides in turn; returns median seconds with extremes, largest peaks, ratios."""
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for i in range(rounds):
        for side in SIDES[:: -1 if i % 2 else 1]:
            warm(folder)
            runs[side].append(load_in_process(side, folder, dtype))
    found: dict[str, Any] = {side: summary(runs[side]) for side in SIDES}
    for key in SECONDS:
        ours, theirs = (found[side][key]["median"] for side in SIDES)
        found[f"ratio_of_{key}"] = theirs / ours
    return found


def summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    """The figures of several loads of one side."""
    found: dict[str, Any] = {}
    for key in SECONDS:
        values = [run[key] for run in runs]
        found[key] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    for key in ("peak_bytes", "peak_bytes_with_first_read"):
        found[key] = max(run[key] for run in runs)
        found[key.replace("bytes", "over_weights")] = found[key] / runs[0]["weight_bytes"]
    return found


def warm(folder: Path) -> None:
    """Read the weights, so that they are in the page cache."""
    block = bytearray(2**24)
    for path in folder.rglob("*.safetensors"):
        with path.open("rb", buffering=0) as file:
            while file.readinto(block):
                pass


def machine() -> dict[str, Any]:
    """The hardware and the versions that a figure belongs to."""
    name = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    packages = ("torch", "diffusers", "transformers", "accelerate", "safetensors")
    return {
        "cpu": name[1] if name else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "date": time.strftime("%Y-%m-%d"),
        **{package: version(package) for package in packages},
    }


def model(where: Path, dtype: str) -> Path:
    """The folder of the model in a dtype; it is written if it does not exist."""
    folder = where / f"sd15-{dtype}"
    if not folder.exists():
        run_python(str(ROOT / "tests" / "support" / "full_size.py"), "sd15", str(folder), dtype)
    return folder


def measure(where: Path, pairs: Sequence[str], rounds: int) -> dict[str, Any]:
    """Compare the sides over pairs of dtypes, such as float16-float32."""
    found: dict[str, Any] = {"machine": machine(), "rounds": rounds}
    for pair in pairs:
        stored, wanted = pair.split("-")
        found[pair] = compare(model(where, stored), wanted, rounds)
        print(pair, json.dumps(found[pair], indent=1), flush=True)
    return found


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description=__doc__)
    parser.add_argument("--one", nargs=3, metavar=("SIDE", "FOLDER", "DTYPE"), help="load once")
    parser.add_argument("--models", type=Path, help="where the models are, or are to be written")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=PAIRS, metavar="PAIR")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(load_twice(*options.one)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(options.models or Path(scratch), options.pairs, options.rounds)
    options.output.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

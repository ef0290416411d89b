"""Loading a full-size Stable Diffusion 1.5 folder, against diffusers: seconds and peak memory.

    python -m benchmarks.loading          # writes 6.4 GB for a while, takes minutes
    python -m benchmarks.loading --pairs float32-float32 --rounds 3 --models FOLDER

Every first load has a fresh process; what it needs is imported before the clock starts. The second
load follows in the same process. Both sides put off work until weights are used, so that another
fresh process loads and calls the UNet twice, with one row of 512x512: the first call has what was
put off. The sides take turns, and which is first changes every round. The files are read before
every process, so that the page cache has them. Peak memory is resident memory, mapped files too,
over what was resident before the load: once when the load returns and once when every weight has
been read. With --models FOLDER the models stay there, for the next run.
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
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "loading.json"
SECONDS = (
    "seconds", "seconds_again", "seconds_with_first_read", "seconds_with_first_row",
    "seconds_of_next_row",
)  # fmt: skip
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


class Loaded(NamedTuple):
    """The models of one side, and its UNet's call of x (1, 4, y, x), t () and c (1, l, d)."""

    models: tuple[Any, ...]
    predict: Callable[[Any, Any, Any], Any]


def loader(side: str, dtype: Any) -> Callable[[str], Loaded]:
    """The function of one side that loads a folder; all imports are done here."""
    from transformers import CLIPTextModel, CLIPTokenizer  # noqa: F401  both import them when used

    if side == "mdp_lite":
        from mdp_lite import Editor

        def ours(folder: str) -> Loaded:
            editor = Editor.from_pretrained(folder, device="cpu", dtype=dtype)
            models = editor.models
            return Loaded((models.text_encoder, models.unet, models.vae), editor.runner.unet)

        return ours
    from diffusers import (  # noqa: F401
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from diffusers.utils import logging

    logging.disable_progress_bar()

    def theirs(folder: str) -> Loaded:
        pipe = StableDiffusionPipeline.from_pretrained(
            folder, dtype=dtype, safety_checker=None, local_files_only=True
        )
        call = lambda x, t, c: pipe.unet(x, t, c, return_dict=False)[0]  # noqa: E731
        return Loaded((pipe.text_encoder, pipe.unet, pipe.vae), call)

    return theirs


def time_call(call: Callable[..., T], *inputs: Any) -> tuple[T, float]:
    """What a call gives, and its seconds; freeing that is not timed."""
    begun = time.perf_counter()
    out = call(*inputs)
    return out, time.perf_counter() - begun


def load_twice(side: str, folder: str, dtype: str) -> dict[str, float]:
    """Load twice, in this process; memory is that of the first time."""
    import torch

    load = loader(side, getattr(torch, dtype))
    before = resident_bytes()
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    loaded, seconds = time_call(load, folder)
    peak, begun = resident_bytes("VmHWM"), time.perf_counter()
    weights = [p for model in loaded.models for p in model.parameters()]
    assert {str(p.dtype) for p in weights} == {f"torch.{dtype}"}
    with torch.no_grad():
        assert all(p.sum().isfinite() for p in weights)
    reading, peak_read = time.perf_counter() - begun, resident_bytes("VmHWM")
    size = sum(p.numel() * p.element_size() for p in weights)
    del loaded, weights
    return {
        "seconds": seconds,
        "seconds_with_first_read": seconds + reading,
        "seconds_again": time_call(load, folder)[1],
        "weight_bytes": size,
        "peak_bytes": peak - before,
        "peak_bytes_with_first_read": peak_read - before,
    }


def load_and_call(side: str, folder: str, dtype: str) -> dict[str, float]:
    """Load, then call the UNet twice, in this process."""
    import torch

    loaded, seconds = time_call(loader(side, getattr(torch, dtype)), folder)
    like = {"dtype": getattr(torch, dtype), "generator": torch.Generator().manual_seed(0)}
    width = loaded.models[0].config.hidden_size
    x, c = (torch.randn(1, *shape, **like) for shape in ((4, 64, 64), (77, width)))
    with torch.no_grad():
        first, again = (time_call(loaded.predict, x, torch.tensor(500), c)[1] for _ in range(2))
    return {"seconds_with_first_row": seconds + first, "seconds_of_next_row": again}


def run_python(*arguments: str) -> str:
    """Run Python in a new process that can import this project's packages; returns its output."""
    rooms = [str(ROOT / room) for room in (".", "kernels", "weights")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(rooms), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def load_in_process(side: str, folder: Path, dtype: str) -> dict[str, float]:
    """Load in new processes: in one twice, in another to call the UNet."""
    found: dict[str, float] = {}
    for what in ("--one", "--row"):
        warm(folder)
        printed = run_python("-m", "benchmarks.loading", what, side, str(folder), dtype)
        found |= json.loads(printed.splitlines()[-1])
    return found


def compare(folder: Path, dtype: str, rounds: int) -> dict[str, Any]:
    """Load with both sides in turn; returns median seconds with extremes, largest peaks, ratios."""
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for i in range(rounds):
        for side in SIDES[:: -1 if i % 2 else 1]:
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
    parser.add_argument("--one", nargs=3, metavar=("SIDE", "FOLDER", "DTYPE"), help="load twice")
    parser.add_argument("--row", nargs=3, metavar=("SIDE", "FOLDER", "DTYPE"), help="load and call")
    parser.add_argument("--models", type=Path, help="where the models are, or are to be written")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=PAIRS, metavar="PAIR")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(load_twice(*options.one)))
        return
    if options.row:
        print(json.dumps(load_and_call(*options.row)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(options.models or Path(scratch), options.pairs, options.rounds)
    options.output.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

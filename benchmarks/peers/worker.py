"""The process of one peer: it reads requests from its input, a line of JSON each, and answers.

    python -m benchmarks.peers.worker KIND MODE MODEL FOLDER     # started by worker_process.py

A request names the work and, if its result is wanted, a file for it. An answer has the seconds and
the resident bytes, or the error. Whatever a library prints goes to standard error.
"""

import json
import os
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.sides import Job, read_job, run_work


def load_side(kind: str, mode: str, model: Path, folder: Path) -> Any:
    """A Side, or what has `run_own` instead; only its own library is imported."""
    if kind == "mdp_lite":
        from benchmarks.peers import ours as module
    elif kind == "diffusers":
        from benchmarks.peers import with_diffusers as module
    elif kind == "openvino":
        from benchmarks.peers import with_openvino as module
    elif kind == "onnxruntime":
        from benchmarks.peers import with_onnxruntime as module
    elif kind == "stable-diffusion.cpp":
        from benchmarks.peers import with_cpp as module
    else:
        from benchmarks.peers import toy as module
    return module.load(mode, model, folder)


def resident_bytes() -> dict[str, int]:
    """Bytes of this process that are resident, now and at most; mapped files count."""
    text = Path("/proc/self/status").read_text()
    found = {key: re.search(rf"{name}:\s+(\d+) kB", text)
             for key, name in (("resident", "VmRSS"), ("peak", "VmHWM"))}  # fmt: skip
    return {key: int(one[1]) * 1024 for key, one in found.items() if one}


def count_reads() -> int:
    """Pages that this process had to wait for a disk for, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


def answer(side: Any, job: Job, request: dict[str, Any]) -> dict[str, Any]:
    """Do the work of a request and time it; a side may know better how (`run_own`)."""
    read = count_reads()
    begun = time.perf_counter()
    if own := getattr(side, "run_own", None):
        out, seconds = own(job, request["work"])
    else:
        out = run_work(side, job, request["work"])
        seconds = time.perf_counter() - begun
    if request.get("output"):
        np.save(request["output"], out)
    return {"seconds": seconds, "reads": count_reads() - read, **resident_bytes()}


def describe(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def main() -> None:
    """Load, say so, and answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    kind, mode, model, folder = sys.argv[1:5]
    begun = time.perf_counter()
    try:
        side, job = load_side(kind, mode, Path(model), Path(folder)), read_job(Path(folder))
    except Exception as error:  # whatever a library raises is the reason in the table
        print(json.dumps({"error": describe(error)}), file=answers)
        return
    loaded = {"seconds": time.perf_counter() - begun, **resident_bytes()}
    print(json.dumps(loaded), file=answers)
    for line in sys.stdin:
        try:
            reply = answer(side, job, json.loads(line))
        except Exception as error:
            reply = {"error": describe(error)}
        print(json.dumps(reply), file=answers)


if __name__ == "__main__":
    main()

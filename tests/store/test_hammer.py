"""Eight processes on one small cache: no corruption, no lost result, never above the limit."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mdp_lite.editor import Editor
from mdp_lite.store.cache import OUR_FILES, Cache
from support.places import ROOT

PATHS = os.pathsep.join(str(ROOT / room) for room in (".", "kernels", "weights"))
SEEDS = 12  # as hammer.py asks for


def size_of(cache: Cache) -> int:
    """Bytes of the entries while no process writes."""
    with cache._lock():
        return sum(path.stat().st_size for path in cache.folder.glob(OUR_FILES))


def hammer(cache: Cache, checkpoint: Path, seconds: float) -> tuple[list[list[int]], int]:
    """(calls and hits of each process, the largest size of the entries that was seen)."""
    arguments = [checkpoint, cache.folder, str(cache.max_bytes), str(seconds)]
    peak = 0
    with subprocess.Popen(
        [sys.executable, ROOT / "tests" / "support" / "hammer.py", *arguments], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": PATHS},
    ) as process:  # fmt: skip
        while process.poll() is None:
            peak = max(peak, size_of(cache))
            time.sleep(0.01)
        out, error = process.communicate()
    assert process.returncode == 0, error
    return json.loads(out), peak


@pytest.mark.skipif(not hasattr(os, "fork"), reason="hammer.py forks")
@pytest.mark.parametrize("seconds", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_eight_processes(editor: Editor, checkpoint: Path, tmp_path: Path, seconds: float) -> None:
    probe = Cache(tmp_path / "probe")
    Editor(editor.models, editor.device, probe).generate("a house", 0, 1)
    cache = Cache(tmp_path / "cache", 5 * size_of(probe))  # of twelve sources
    counts, peak = hammer(cache, checkpoint, seconds)
    calls, hits = (sum(column) for column in zip(*counts, strict=True))
    assert len(counts) == 8 and all(own > 0 for own, _ in counts)
    assert 0 < hits < calls
    assert size_of(probe) < peak <= cache.max_bytes
    stored = len(list(cache.folder.glob(OUR_FILES)))
    assert {path.name for path in cache.folder.iterdir()} - {".lock", "files.json"} == {
        path.name for path in cache.folder.glob(OUR_FILES)
    }
    reader = Editor(editor.models, editor.device, Cache(cache.folder, read_only=True))
    again = [reader.generate("a house", seed, 1).cost.unet_rows for seed in range(SEEDS)]
    assert again.count(0) == stored > 0

"""Eight processes on one small cache: no corruption, no lost result, the bound always held."""

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


def taken(cache: Cache) -> int:
    """Bytes of the entries while no process writes."""
    with cache._locked():
        return sum(path.stat().st_size for path in cache.folder.glob(OUR_FILES))


def hammered(cache: Cache, checkpoint: Path, seconds: float) -> tuple[list[list[int]], int]:
    """(calls and hits of each process, the most bytes that the entries took at any look)."""
    asked = [checkpoint, cache.folder, str(cache.max_bytes), str(seconds)]
    peak = 0
    with subprocess.Popen(
        [sys.executable, ROOT / "tests" / "support" / "hammer.py", *asked], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": PATHS},
    ) as hammer:  # fmt: skip
        while hammer.poll() is None:
            peak = max(peak, taken(cache))
            time.sleep(0.01)
        out, error = hammer.communicate()
    assert hammer.returncode == 0, error
    return json.loads(out), peak


@pytest.mark.skipif(not hasattr(os, "fork"), reason="hammer.py forks")
@pytest.mark.parametrize("seconds", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_eight_processes(editor: Editor, checkpoint: Path, tmp_path: Path, seconds: float) -> None:
    probe = Cache(tmp_path / "probe")
    Editor(editor.models, editor.device, probe).generate("a house", 0, 1)
    cache = Cache(tmp_path / "cache", 5 * taken(probe))  # of the twelve that are asked for
    told, peak = hammered(cache, checkpoint, seconds)
    calls, hits = (sum(column) for column in zip(*told, strict=True))
    assert len(told) == 8 and all(own > 0 for own, _ in told)
    assert 0 < hits < calls
    assert taken(probe) < peak <= cache.max_bytes
    kept = len(list(cache.folder.glob(OUR_FILES)))
    assert {path.name for path in cache.folder.iterdir()} - {".lock", "files.json"} == {
        path.name for path in cache.folder.glob(OUR_FILES)
    }
    reader = Editor(editor.models, editor.device, Cache(cache.folder, keep=False))
    again = [reader.generate("a house", seed, 1).cost.unet_rows for seed in range(SEEDS)]
    assert again.count(0) == kept > 0

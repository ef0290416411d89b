"""Packed weights are resident once, at any number of sizes, wherever their file lies."""

import json
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mdp_lite import Editor
from mdp_lite.checkpoint.load import load
from mdp_lite.models.conv import Conv2d
from mdp_lite_kernels import packed_conv
from support.places import ENVIRONMENT, ROOT

pytestmark = pytest.mark.skipif(not packed_conv.is_available(), reason="nothing is packed")
CPU = torch.device("cpu")
MEMORY = Path("/dev/shm")  # a tmpfs on Linux
NEAR = 0.15  # of the weights: activations, and what malloc keeps


def test_other_sizes_add_no_weights() -> None:
    editor = Editor(load("tiny", CPU), CPU, engine="eager")
    models = editor.models
    found = [one for part in (models.unet, models.vae) for one in part.modules()]
    layers = [one for one in found if isinstance(one, Conv2d)]
    bytes_of_file, seen = [one.weight.nbytes for one in layers], list[weakref.ref[Tensor]]()
    for side in (64, 96, 40, 128):
        x, c = editor.runner.noise(0, side, side), editor.runner.condition("a", (side, side))
        with torch.inference_mode():
            editor.runner.unet(x.to(c.dtype), torch.tensor(500), c)
            latent = editor.runner.vae.run("encode", torch.zeros(1, 3, side, side), "a picture")
            editor.runner.vae.run("decode", latent, "a latent")
        assert sum(one.weight.is_mkldnn for one in layers) > 0.8 * len(layers)
        assert [one.weight.nbytes for one in layers] == bytes_of_file
        seen += [weakref.ref(one.weight) for one in layers]
    alive = {id(ref()) for ref in seen} - {id(None)}
    assert alive == {id(one.weight) for one in layers}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_weights_of_mapped_files_are_resident_once(tmp_path: Path) -> None:
    """Of a read-only file and of one on tmpfs, after calls of several sizes and in two threads."""
    places = [tmp_path / "model.safetensors"]
    if MEMORY.is_dir():
        places.append(MEMORY / f"mdp-lite-{tmp_path.name}-{tmp_path.parent.name}.safetensors")
    script = ROOT / "tests" / "support" / "packed_memory.py"
    try:
        done = subprocess.run(
            [sys.executable, str(script), *map(str, places)],
            env=ENVIRONMENT, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    finally:
        for place in places:
            place.unlink(missing_ok=True)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(places) and len({one["pictures"] for one in found}) == 1
    for one in found:
        assert one["equal"]
        for grown in one["grown"]:
            assert abs(grown / one["weights"] - 1) < NEAR, one

"""Checkpoints whose tensors are moved in their files, and what a model then computes.

`python tests/support/moved.py FOLDER` prints a hash of its numbers for some positions, and whether
this processor, with MKL as the environment sets it, sums unaligned weights in another order.
"""

import hashlib
import json
import struct
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mdp_lite import Editor
from mdp_lite.checkpoint.load import load

CPU = torch.device("cpu")


def move_all(folder: Path, offset: int) -> None:
    """Move the tensors of all files of a folder."""
    for path in folder.rglob("*.safetensors"):
        move_tensors(path, offset)


def move_tensors(path: Path, offset: int) -> None:
    """Make a header so long that the first tensor lies at offset, modulo 64."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = data[8 : 8 + size].rstrip(b" ")
    header += b" " * ((offset - 8 - len(header)) % 64)
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + size :])


@torch.no_grad()
def compute(editor: Editor) -> list[Tensor]:
    """A condition, a prediction, a decoded latent, and its picture encoded."""
    runner, config = editor.runner, editor.models.unet.config
    x = torch.randn(2, config.in_channels, 8, 8, generator=torch.Generator().manual_seed(0))
    c = runner.condition("a red house")
    noise = runner.unet(x.to(c), torch.tensor(5), c.expand(2, *c.shape[1:]))
    picture = editor.models.vae.decode(x[:1].to(c))
    return [c, noise, picture, editor.models.vae.encode(picture)]


def sums_differ() -> bool:
    """Whether a product with an unaligned matrix has other bits."""
    a, x = torch.randn(320 * 320 + 64), torch.randn(1, 320)
    start = -(a.data_ptr() // 4) % 16
    first, moved = (a[start + i : start + i + 320 * 320].view(320, 320) for i in (0, 2))
    want = F.linear(x, first.clone())
    moved.copy_(first.clone())
    return not torch.equal(F.linear(x, moved), want)


if __name__ == "__main__":
    folder, hashes = Path(sys.argv[1]), []
    for offset in (0, 8, 24, 40):
        move_all(folder, offset)
        numbers = compute(Editor(load(folder, CPU), CPU, engine="eager"))
        hashes.append(
            hashlib.sha256(b"".join(one.numpy().tobytes() for one in numbers)).hexdigest()
        )
    print(json.dumps({"hashes": hashes, "differ": sums_differ()}))

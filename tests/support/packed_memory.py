"""Resident memory of a VAE from a mapped file, of which the engine packs the weights.

`python tests/support/packed_memory.py FILE...` writes the same random weights to each file, makes
it read-only, and prints a line of JSON for it. It needs Linux.
"""

import hashlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mdp_lite.checkpoint.assign import BuildOnMeta, assign_tensors
from mdp_lite.engine.engine import choose_attention
from mdp_lite.engine.memory import return_freed_memory
from mdp_lite.engine.vae import lean, run_channels_last
from mdp_lite.models.config import VAEConfig
from mdp_lite.models.vae import VAE
from mdp_lite_weights.tensors import read_tensors
from support.memory import resident_bytes

CPU = torch.device("cpu")
CONFIG = VAEConfig((128, 256, 256))  # 84 MB in float32
SIZES = ((32, 32), (48, 40), (24, 32), (32, 32))  # of pictures


def write(paths: list[Path]) -> None:
    """Write seeded weights to files that are read-only afterwards."""
    torch.manual_seed(0)
    weights = VAE(CONFIG).requires_grad_(False).state_dict()
    for path in paths:
        save_file(weights, path)
        path.chmod(0o444)


def call(own: VAE, size: tuple[int, int]) -> Tensor:
    """A picture of this size, encoded and decoded."""
    picture = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    latent = run_channels_last(own.encode, picture)
    return run_channels_last(own.decode, latent)


def measure(path: Path) -> dict[str, Any]:
    """Bytes of the weights, resident bytes after calls of each size, and whether bits are equal."""
    return_freed_memory()
    before = resident_bytes("VmRSS")
    with BuildOnMeta():
        vae = VAE(CONFIG)
    assign_tensors(vae, read_tensors(path).items(), CPU, torch.float32)
    own = lean(vae, choose_attention(CPU))
    grown, pictures = list[int](), list[Tensor]()
    for size in SIZES:
        pictures.append(call(own, size))
        return_freed_memory()
        grown.append(resident_bytes("VmRSS") - before)
    with ThreadPoolExecutor(2) as pool:
        again = list(pool.map(partial(infer, own), SIZES))
    return {
        "weights": sum(one.nbytes for one in vae.parameters()),
        "grown": grown,
        "equal": all(map(torch.equal, again, pictures)) and torch.equal(pictures[0], pictures[-1]),
        "pictures": hashlib.sha256(b"".join(one.numpy().tobytes() for one in pictures)).hexdigest(),
    }


def infer(own: VAE, size: tuple[int, int]) -> Tensor:
    """The same in a thread, whose mode has to be set."""
    with torch.inference_mode():
        return call(own, size)


if __name__ == "__main__":
    files = [Path(name) for name in sys.argv[1:]]
    with torch.inference_mode():
        write(files)
        measure(files[0])  # what libraries load and generate is counted here
        for file in files:
            print(json.dumps(measure(file)))

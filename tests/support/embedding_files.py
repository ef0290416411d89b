"""Textual inversion files for tests to write."""

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor


def vectors(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


class File(NamedTuple):
    """A file to write, the name that our side is given and the one that diffusers needs."""

    tensors: dict[str, Tensor]
    given: str | None = None
    theirs: str | None = None
    name: str = "learned"
    metadata: dict[str, str] | None = None

    def write(self, folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.name}.safetensors"
        save_file(self.tensors, path, self.metadata)
        return path

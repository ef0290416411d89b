"""Where a file has its tensors changes no number.

The kind: the length of a header, which metadata or a tool's spaces change, moves all tensors.
Libraries sum in another order where memory is not aligned to their vectors, on some processors.
"""

import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mdp_lite.checkpoint.assign import place_weight
from mdp_lite.checkpoint.load import load
from mdp_lite.models.aligned import ALIGNMENT, APART
from support.ldm import write_folder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aligned") / "model"
    write_folder(folder)
    return folder


def move_tensors(path: Path, offset: int) -> None:
    """Make a header so long that the first tensor lies at offset, modulo 64."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = data[8 : 8 + size].rstrip(b" ")
    header += b" " * ((offset - 8 - len(header)) % 64)
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + size :])


@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16"])
def test_every_offset_gives_aligned_weights_of_the_same_bits(stored: str, folder: Path) -> None:
    kind = getattr(torch, stored)
    for path in folder.rglob("*.safetensors"):
        save_file({key: tensor.to(kind) for key, tensor in load_file(path).items()}, path)
    want = {k: t.clone() for k, t in load(folder, CPU, kind).unet.state_dict().items()}
    for offset in (0, 1, 2, 4, 8, 16, 20, 24, 32, 40, 48, 56, 63):
        for path in folder.rglob("*.safetensors"):
            move_tensors(path, offset)
        models = load(folder, CPU, kind)
        for model in (models.unet, models.vae, models.text_encoder):
            assert all(p.data_ptr() % ALIGNMENT == 0 for p in model.parameters())
        state = models.unet.state_dict()
        assert all(torch.equal(state[key], want[key]) for key in want)


def test_an_aligned_tensor_is_not_copied() -> None:
    tensor = torch.ones(64)
    assert place_weight(tensor, CPU, torch.float32) is tensor
    odd = torch.ones(64)[2:]
    copy = place_weight(odd, CPU, torch.float32)
    assert copy is not odd and torch.equal(copy, odd)


@pytest.mark.parametrize("size", [100, APART // 2, APART])
@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_copies_apart_have_the_bits_of_others(
    size: int, stored: torch.dtype, dtype: torch.dtype
) -> None:
    tensor = torch.randn(size + 1).to(stored)[1:]
    copy = place_weight(tensor, CPU, dtype)
    assert copy.dtype == dtype and copy.data_ptr() % ALIGNMENT == 0
    assert torch.equal(copy, tensor.to(dtype)) and copy.data_ptr() != tensor.data_ptr()

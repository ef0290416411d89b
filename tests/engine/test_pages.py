"""Memory for recorded layers: in order, aligned, in a file if wanted, refused without room."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from mdp_lite.engine.pages import ALIGNMENT, Pages, round_up
from mdp_lite.names import BadInput


@pytest.mark.parametrize("in_file", [False, True])
def test_tensors_lie_one_after_the_other(in_file: bool, tmp_path: Path) -> None:
    tensors = [torch.arange(n, dtype=torch.float32) for n in (3, 17, 1)]
    room = Pages(sum(round_up(one.nbytes) for one in tensors), tmp_path if in_file else None)
    copies = [room.copy(one) for one in tensors]
    for copy, one in zip(copies, tensors, strict=True):
        assert torch.equal(copy, one) and copy.data_ptr() % ALIGNMENT == 0
    gaps = [b.data_ptr() - a.data_ptr() for a, b in zip(copies, copies[1:], strict=False)]
    assert gaps == [round_up(one.nbytes) for one in tensors[:-1]]
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_refused_before_a_byte_is_written(tmp_path: Path) -> None:
    size = shutil.disk_usage(tmp_path).free + 2**30
    with pytest.raises(BadInput, match=f"has no room for {size} bytes: .* bytes are free"):
        Pages(size, tmp_path)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system can't reserve a file")
def test_a_file_has_its_bytes_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with holes would end the process if the disk were full when they are filled."""
    taken: list[int] = []
    real = os.posix_fallocate

    def reserve(descriptor: int, begin: int, size: int) -> None:
        real(descriptor, begin, size)
        taken.append(os.fstat(descriptor).st_blocks * 512)

    monkeypatch.setattr(os, "posix_fallocate", reserve)
    Pages(2**20, tmp_path)
    assert taken and taken[0] >= 2**20

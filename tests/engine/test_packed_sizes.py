"""The engine packs each convolution for the map that it reads: another layout costs every call."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite_kernels import packed_conv

needs_packing = pytest.mark.skipif(
    not packed_conv.is_available(), reason="this torch has no oneDNN operators that pack"
)


@needs_packing
@pytest.mark.parametrize("size", [(64, 64), (96, 64), (40, 24)], ids=str)
def test_every_convolution_is_packed_for_the_map_it_reads(
    checkpoint: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in ("tiny", checkpoint):
        packed: dict[int, tuple[int, ...]] = {}
        read: dict[int, tuple[int, ...]] = {}
        pack, forward = packed_conv.pack, packed_conv.PackedConv2d.forward

        def note_packing(conv: Any, size: Any, pack: Any = pack, packed: Any = packed) -> Tensor:
            packed.setdefault(id(conv), tuple(size))
            return pack(conv, size)

        def note_reading(self: Any, x: Tensor, forward: Any = forward, read: Any = read) -> Tensor:
            read[id(self.conv)] = tuple(x.shape[2:])
            return forward(self, x)

        with monkeypatch.context() as patch:
            patch.setattr(packed_conv, "pack", note_packing)
            patch.setattr(packed_conv.PackedConv2d, "forward", note_reading)
            runner = Editor.from_pretrained(model, device="cpu").runner
            x, c = runner.noise(0, *size), runner.condition("a", size)
            with torch.no_grad():
                runner.unet(x.to(c.dtype), torch.tensor(500), c)
        assert len(read) > 20 and packed == read

"""Edits that share few steps, and a model that counts its calls and watches its memory."""

import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mdp_lite.editor import Editor
from mdp_lite.method.schedule import Weights
from mdp_lite.pipeline.request import Request

N = 6


class Watched(nn.Module):
    """A model that counts its calls and keeps weak references to its tensors.

    wait is called before every call, to slow it down.
    """

    def __init__(self, model: nn.Module, wait: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.model, self.config, self.wait = model, model.config, wait
        self.calls = 0
        self.seen: list[weakref.ref[Tensor]] = []

    def forward(self, *inputs: Tensor) -> Tensor:
        self.wait()
        self.calls += 1
        out = self.model(*inputs)
        self.seen += [weakref.ref(inputs[0]), weakref.ref(out)]
        return out

    def alive(self) -> int:
        """How many of its inputs and outputs are still in memory."""
        return sum(one() is not None for one in self.seen)


def random_table(seed: int, n: int) -> Weights:
    """A table (n,) of random weights."""
    columns = torch.rand(4, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return Weights(*columns)


def unlike(editor: Editor) -> list[Request]:
    """Edits of three sources, of two sizes and several lengths, that share few steps."""
    one = editor.generate("a red house", 1, N)
    wide = editor.generate("a boat", 2, N + 2, width=48)
    plain = editor.generate("a boat at night", 3, N - 3, guidance_scale=1.0)
    return [
        Request(one, "a blue house"),
        Request(one, "a blue house", "c", t_max=N, t_m=2),
        Request(wide, "a boat on the grass", "beta", schedule="cosine"),
        Request(plain, "a house", "x", t_max=3, t_m=1),
        Request(wide, [("a boat", 1.0), ("a house", 2.0)], weights=random_table(0, N + 2)),
        Request(plain, "", strength=0.0),
    ]

"""Convolutions whose weights lie in one layout at a time: plain, or as oneDNN packs them on a CPU.

The engine packs a weight when it first needs to and gives up the plain one, so that no weight is in
memory twice. Whoever needs it plain again gets it back with the same bits, and the packed one goes.
Packing reads a weight where it lies; the plain one is aligned first, as in aligned.py.
"""

from typing import Any

import torch
from torch import Tensor, nn

from mdp_lite.models.aligned import align, align_linears, is_aligned


class Conv2d(nn.Conv2d):
    """A convolution that also computes, copies and saves itself while its weight is packed."""

    def forward(self, x: Tensor) -> Tensor:
        """(b, inp, y, x) -> (b, out, y, x)."""
        return self._conv_forward(x, self.plain_weight(), self.bias)

    def plain_weight(self) -> Tensor:
        """The weight in torch's own layout, aligned; from now on it lies in that."""
        weight = self.weight  # read once: another thread may replace it
        if weight.is_mkldnn:
            with torch.inference_mode(False):  # else no gradient could ever pass it
                weight = nn.Parameter(weight.to_dense(), requires_grad=False)
            self.weight = weight
        elif not is_aligned(weight):
            self.weight = weight = align(weight)
        return weight

    def __getstate__(self) -> dict[str, Any]:
        """For copy and pickle, which can't read packed weights."""
        self.plain_weight()
        return self.__dict__

    def _save_to_state_dict(self, *args: Any) -> None:
        self.plain_weight()
        super()._save_to_state_dict(*args)

    def _apply(self, fn: Any, recurse: bool = True) -> "Conv2d":
        self.plain_weight()  # .to() and .float() can't convert packed weights
        return super()._apply(fn, recurse)


def lay_plain(model: nn.Module) -> None:
    """Give every layer of a model its plain, aligned weight, as a compiler needs it."""
    for module in model.modules():
        if isinstance(module, Conv2d):
            module.plain_weight()
    align_linears(model)

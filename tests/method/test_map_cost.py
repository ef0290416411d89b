"""What the map of a local pull adds to a step: tensor operations, each one launch on a GPU."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mdp_lite.method.mdp import SourceStep, update
from mdp_lite.method.schedule import StepCoefficients, Weights


class OperationCounter(TorchDispatchMode):
    """Counts the operations that are not views."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def count(weights: Weights) -> int:
    x = torch.randn(1, 4, 16, 16, dtype=torch.float64, generator=torch.manual_seed(0))
    t, a, b = torch.tensor(500), torch.tensor(0.3), torch.tensor(0.6)
    source = SourceStep(torch.zeros(1, 2, 3), x, 0.5 * x, x, 0.1 * x)
    with OperationCounter() as counter:
        update(x + 1, x, StepCoefficients(t, a, b), source, weights, v_prediction=False)
    return counter.count


def test_the_map_adds_thirteen_operations() -> None:
    zero, half = torch.zeros(()), torch.full((), 0.5)
    even = count(Weights(zero, zero, half, zero))
    local = count(Weights(zero, zero, zero, zero, half))
    assert 0 < local - even <= 13

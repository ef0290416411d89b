"""The optimisers of a training: AdamW, or Muon for what is a matrix and AdamW for the rest."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer


class KernelMuon(Muon):
    """torch's Muon, which takes matrices only, for weights of any shape as (out, rest) matrices.

    It steps along the nearest orthogonal matrix to the momentum (Jordan 2024), as far as AdamW
    would at the same learning rate.
    """

    def __init__(self, weights: Sequence[nn.Parameter], lr: float) -> None:
        self.weights = weights
        # Of the same memory: a weight in another layout raises here, and is not copied in silence.
        self.matrices = [nn.Parameter(w.detach().view(len(w), -1)) for w in weights]
        super().__init__(self.matrices, lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")

    def link_gradients(self) -> None:
        """Let each matrix have its weight's gradient."""
        for matrix, weight in zip(self.matrices, self.weights, strict=True):
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether a parameter mixes channels: no bias, no norm, no table of embeddings."""
    return parameter.ndim > 1 and "embedding" not in name


def make_optimizers(parameters: Mapping[str, nn.Parameter], use_muon: bool) -> list[Optimizer]:
    """The optimisers of named parameters; their learning rate is set in each step."""
    ours = {name: p for name, p in parameters.items() if use_muon and is_matrix(name, p)}
    rest = [p for name, p in parameters.items() if name not in ours]
    muon = [KernelMuon(list(ours.values()), 1e-3)] if ours else []
    return [*muon, AdamW(rest, 1e-3, (0.9, 0.99), weight_decay=0.01)]


def make_step(optimizers: Sequence[Optimizer], rate: float) -> None:
    """One step of each at a learning rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
        if isinstance(optimizer, KernelMuon):
            optimizer.link_gradients()
        optimizer.step()

"""The optimisers of the recipes: which weights Muon takes, and that its step is orthogonal."""

import torch
from torch import nn

from mdp_lite.models.clip import CLIPTextEncoder
from mdp_lite.models.config import CLIPConfig
from train_tiny.optimizers import KernelMuon, make_optimizers, make_step


def named(model: nn.Module) -> dict[str, nn.Parameter]:
    return dict(model.named_parameters())


def test_muon_takes_matrices_and_kernels_and_adamw_the_rest() -> None:
    model = CLIPTextEncoder(CLIPConfig(50, 16, 48, 1, 4, max_position_embeddings=8))
    parameters = named(model)
    muon, adamw = make_optimizers(parameters, use_muon=True)
    assert isinstance(muon, KernelMuon)
    rest = {id(p) for group in adamw.param_groups for p in group["params"]}
    names = {name for name, p in parameters.items() if id(p) in rest}
    assert all(
        p.ndim == 1 or "embedding" in name for name, p in parameters.items() if name in names
    )
    assert len(muon.weights) + len(names) == len(parameters) and len(muon.weights) == 6
    (alone,) = make_optimizers(parameters, use_muon=False)
    assert len(alone.param_groups[0]["params"]) == len(parameters)


def test_a_step_of_muon_moves_a_kernel_along_an_orthogonal_matrix() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 8, 3)
    before = conv.weight.detach().clone()
    optimizers = make_optimizers(named(conv), use_muon=True)
    conv(torch.randn(2, 16, 8, 8)).square().mean().backward()
    make_step(optimizers, 1e-2)
    moved = (conv.weight.detach() - before * (1 - 1e-2 * 0.01)).flatten(1)
    singular = torch.linalg.svdvals(moved)
    # Five Newton-Schulz steps bring every singular value near one; 0.2 sqrt(144) of the rate is
    # what "match_rms_adamw" makes of it for 8 x 144 numbers.
    assert singular.max() / singular.min() < 2.0
    assert 0.6 < singular.mean() / (1e-2 * 0.2 * 12) < 1.2


def test_a_weight_without_a_gradient_stays() -> None:
    model = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    kept = model[1].weight.detach().clone()
    optimizers = make_optimizers(named(model), use_muon=True)
    model[0](torch.ones(1, 3)).sum().backward()
    make_step(optimizers, 1e-2)
    assert torch.equal(model[1].weight, kept)

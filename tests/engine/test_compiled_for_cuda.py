"""What torch's compilers make of our models for a GPU, as far as no GPU is needed.

Traces and generated code are looked at; nothing of it is run, and no AOTInductor package is built:
its compiler wants CUDA's headers and a GPU.
"""

import re

import pytest
import torch
from torch import nn

from mdp_lite.engine.aot import _ExportedUNet
from mdp_lite.engine.fusing import FusedGEGLU, FusedGroupNorm
from mdp_lite.models.layers import GroupNorm
from mdp_lite.models.transformer import GEGLU, SDPA
from mdp_lite_kernels import shapes
from support.compiled_for_cuda import (
    count_calls,
    export,
    fake_unet,
    generate_code,
    list_calls,
    list_devices,
)
from support.small_unets import CONFIGS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shapes.TRITON, reason="Triton is for Linux alone"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's own, as in aot.py
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
READS = {"aten.item", "aten._local_scalar_dense", "aten.equal", "aten.nonzero", "aten.is_nonzero"}
VERSION = ".".join(torch.__version__.split(".")[:2])


@pytest.mark.parametrize("family", CONFIGS)
def test_the_call_that_packages_hold_exports_for_a_gpu(family: str) -> None:
    """One graph, all on the GPU, that asks the host nothing."""
    with fake_unet(family) as (unet, call, _):
        exported = export(_ExportedUNet(unet, SDPA), call)
    calls = list_calls(exported)
    assert list_devices(exported) == {"cuda:0"} and not READS & set(calls)
    attentions = sum(hasattr(one, "to_q") for one in unet.modules())
    assert calls["aten.scaled_dot_product_attention"] == attentions > 0
    assert not any(name.startswith("mdp_lite") for name in calls)  # plain: Inductor fuses itself


def test_fused_modules_export_with_our_operators() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.gate = FusedGroupNorm(GroupNorm(4, 16)), FusedGEGLU(GEGLU(16, 32))

        def forward(self, x: torch.Tensor, shift: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return self.norm.activate(x, "silu", shift).mean() + self.gate(h).mean()

    from support.triton_launches import watch_launches

    with torch.device("meta"):
        model = Both().requires_grad_(False)
    with fake_unet("sd1"), watch_launches(lambda _: None):
        x = torch.empty(2, 16, 8, 8, device="cuda").to(memory_format=torch.channels_last)
        model.to_empty(device="cuda")
        rest = (torch.empty(2, 16, device="cuda"), torch.empty(2, 9, 16, device="cuda"))
        exported = export(model, (x, *rest))
    calls = list_calls(exported)
    assert calls["mdp_lite.group_norm_silu"] == calls["mdp_lite.geglu"] == 1
    assert list_devices(exported) == {"cuda:0"}


@pytest.mark.skipif(VERSION != "2.13", reason="calls parts of Inductor that are not public")
def test_inductor_writes_code_for_a_gpu_and_fuses_what_our_kernels_would() -> None:
    with fake_unet("sd1") as (unet, call, mode):
        exported = export(_ExportedUNet(unet, SDPA), call)
    code = generate_code(exported, mode)
    kernels, libraries = count_calls(code)
    print(f"{kernels} kernels of Inductor, {libraries} calls of libraries")
    assert kernels > 0 and libraries > 0
    names = set(re.findall(r"def (triton_\w+)\(", code))
    assert any("native_group_norm" in one and "silu" in one for one in names)
    assert any("gelu" in one and "mul" in one for one in names)

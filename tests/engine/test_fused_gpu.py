"""Fused models on a GPU: each switch against the plain model, with real kernels and real graphs."""

from copy import deepcopy
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from mdp_lite import Editor, Fused
from mdp_lite.engine.fusing import PLAIN, find_joined, fuse, to_bytes
from mdp_lite.engine.gpu import GpuSettings, lay_channels_last
from mdp_lite.names import VARIANTS
from mdp_lite.pictures import images
from support.small_unets import CONFIGS, random_call, random_unet

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
NEAR = {torch.float32: 5e-3, torch.float16: 3e-2, torch.bfloat16: 1e-1}  # TF32 in convolutions
ONE_BY_ONE = [field.name for field in fields(Fused) if field.name != "attention"]
N, TARGET = 8, "a blue house on the grass"


def far(a: Tensor, b: Tensor) -> float:
    a, b = a.cpu().double(), b.cpu().double()
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("dtype", NEAR, ids=str)
@pytest.mark.parametrize("switch", [*ONE_BY_ONE, "all"])
@pytest.mark.parametrize("family", CONFIGS)
def test_a_fused_call_is_the_plain_call(family: str, switch: str, dtype: torch.dtype) -> None:
    fused = Fused() if switch == "all" else replace(PLAIN, **{switch: True})
    plain = random_unet(family).to("cuda", dtype)
    call = [one.to("cuda") for one in random_call(plain, side=16)]
    own = deepcopy(plain)
    lay_channels_last(own)
    own = fuse(own, fused)
    with torch.no_grad():
        assert far(own(*call), plain(*call)) <= NEAR[dtype]


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("switch", [*ONE_BY_ONE, "attention", "none"])
def test_edits_without_a_switch_are_those_with_all(mode: str, switch: str) -> None:
    less = {name: False for name in ONE_BY_ONE if switch in (name, "none")}
    fused = Fused(**less, attention="torch" if switch in ("attention", "none") else "table")  # type: ignore[arg-type]
    latents = []
    for one in (Fused(), fused):
        own = Editor.from_pretrained(
            "tiny", "cuda", "float16", engine=mode, gpu=GpuSettings(fused=one)
        )
        source = own.generate("a red house on the grass", 7, N)
        latents.append([own.edit(source, TARGET, v, t_max=7, t_m=4).latent for v in VARIANTS])
    assert max(far(a, b) for a, b in zip(*latents, strict=True)) <= 5e-2


def test_weights_are_on_the_gpu_once() -> None:
    unet = random_unet("sd2").to("cuda")
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    fuse(unet, Fused())
    joined = [m.attn1 for m in unet.modules() if hasattr(m, "attn1")]
    assert all(find_joined(one) is not None for one in joined)  # type: ignore[arg-type]
    # Each tensor takes whole blocks of 512 bytes, so one for three may only save some.
    assert torch.cuda.memory_allocated() <= before + 512 * len(joined)


def test_bytes_on_the_gpu_are_those_of_the_pictures() -> None:

    pictures = 1.2 * torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    want = [images.to_image(one).tobytes() for one in pictures.split(1)]
    got = images.from_bytes(to_bytes(pictures.to("cuda")))
    assert [one.tobytes() for one in got] == want

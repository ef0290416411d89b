"""A lean VAE on a CPU gives the pictures of the plain one, whatever runs beside it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mdp_lite import Editor
from mdp_lite.checkpoint.load import load
from mdp_lite.engine import vae as engine
from mdp_lite.engine.engine import choose_attention
from mdp_lite.models.config import VAEConfig
from mdp_lite.models.conv import Conv2d
from mdp_lite.models.vae import VAE
from mdp_lite_kernels import attention, cpu_group_norm, packed_conv
from support.checkpoints import VAE_CONFIG
from support.tables import relative_error

needs_packing = pytest.mark.skipif(not packed_conv.is_available(), reason="nothing is packed")
needs_kernel = pytest.mark.skipif(
    cpu_group_norm.best_path() == 0, reason="no native group norm here"
)
pytestmark = needs_packing
CPU = torch.device("cpu")
EXACT = 1e-5  # of a result in float32, relative to its norm
LAST = torch.channels_last
MISH = VAEConfig((32, 64), act_fn="mish", mid_block_add_attention=False, use_quant_conv=False)


@pytest.fixture(autouse=True)
def no_gradient() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(params=[0, engine.LARGE], ids=["own pages", "small maps"])
def large(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LARGE", request.param)


def build(config: VAEConfig = VAE_CONFIG, dtype: torch.dtype = torch.float32) -> VAE:
    torch.manual_seed(0)
    with torch.inference_mode(False):
        vae = VAE(config).eval().requires_grad_(False)
        for name, weight in vae.named_parameters():
            if "norm" in name:
                weight.add_(torch.randn_like(weight), alpha=0.2)  # off 1 and 0
        return vae.to(dtype)


def inputs(vae: VAE, count: int = 2, y: int = 11, x: int = 7) -> dict[str, Tensor]:
    torch.manual_seed(1)
    f = vae.config.factor
    return {"encode": torch.randn(count, 3, y * f, x * f), "decode": torch.randn(count, 4, y, x)}


def run(vae: VAE, name: str, x: Tensor) -> Tensor:
    own = engine.lean(vae, choose_attention(CPU))
    return engine.run_channels_last(getattr(own, name), x)


@pytest.mark.parametrize("config", [VAE_CONFIG, MISH], ids=["silu", "mish"])
@pytest.mark.parametrize("name", ["encode", "decode"])
def test_float32_differs_by_rounding_alone(name: str, config: VAEConfig, large: None) -> None:
    vae = build(config)
    x = inputs(vae)[name]
    want, before = getattr(vae, name)(x), x.clone()
    for given in (x, x.contiguous(memory_format=LAST)):
        found = run(vae, name, given)
        assert found.is_contiguous() and relative_error(found, want) < EXACT
        assert torch.equal(given, before)  # only maps that nobody else has are written over


@pytest.mark.parametrize("name", ["encode", "decode"])
def test_bfloat16_is_as_near_to_float64_as_either_layout_of_torch(name: str, large: None) -> None:
    vae, wide = build(dtype=torch.bfloat16), build().to(torch.bfloat16).double()
    last: Any = deepcopy(vae)
    last = last.to(memory_format=LAST)
    x = inputs(vae)[name].bfloat16()
    want = getattr(wide, name)(x.double())
    layouts = getattr(vae, name)(x), getattr(last, name)(x.contiguous(memory_format=LAST))
    most = max(relative_error(one, want) for one in layouts)
    assert relative_error(run(vae, name, x), want) < 1.1 * most


@pytest.mark.parametrize("name", ["encode", "decode"])
def test_without_native_kernels(monkeypatch: pytest.MonkeyPatch, name: str, large: None) -> None:
    for kernel in (attention, cpu_group_norm):
        monkeypatch.setattr(kernel, "best_path", lambda: 0)
    vae = build()
    x = inputs(vae)[name]
    assert relative_error(run(vae, name, x), getattr(vae, name)(x)) < EXACT


@pytest.mark.parametrize("name", ["encode", "decode"])
def test_a_picture_is_the_same_in_a_batch_and_in_other_threads(name: str, large: None) -> None:
    vae = build()
    x = inputs(vae, 3)[name]
    own = getattr(engine.lean(vae, choose_attention(CPU)), name)
    want = own(x.contiguous(memory_format=LAST))
    for i in range(3):
        assert relative_error(own(x[i : i + 1].contiguous(memory_format=LAST)), want[i]) < EXACT

    def again(_: int) -> bool:
        with torch.inference_mode():
            return torch.equal(own(x.contiguous(memory_format=LAST)), want)

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(again, range(6)))


def test_gradients_pass() -> None:
    with torch.inference_mode(False), torch.enable_grad():
        vae = build()
        own = engine.lean(vae, choose_attention(CPU))
        for name, x in inputs(vae, 1).items():
            slopes = []
            for one in (vae, own):
                leaf = x.clone().requires_grad_()
                out = getattr(one, name)(leaf).square().mean()
                slopes.append(torch.autograd.grad(out, leaf)[0])
            assert relative_error(slopes[1], slopes[0]) < EXACT


def convolutions(vae: nn.Module) -> list[Conv2d]:
    return [one for one in vae.modules() if isinstance(one, Conv2d)]


def test_no_weight_is_in_memory_twice_and_all_come_back() -> None:
    vae = build()
    state = {key: one.clone() for key, one in vae.state_dict().items()}
    own = engine.lean(vae, choose_attention(CPU))
    x = inputs(vae, 1)
    first = {name: getattr(own, name)(one) for name, one in x.items()}
    shared = {id(one.weight) for one in convolutions(vae)}
    assert {id(one.weight) for one in convolutions(own)} == shared
    assert sum(one.weight.is_mkldnn for one in convolutions(vae)) > 0.8 * len(shared)
    assert all(torch.equal(one, state[key]) for key, one in vae.state_dict().items())
    for name, one in x.items():
        assert torch.equal(getattr(own, name)(one), first[name])


@needs_kernel
def test_eager_editors_run_it_lean_alone_and_in_batches() -> None:
    editor = Editor(load("tiny", CPU), CPU, engine="eager")
    vae, latents = editor.runner.vae, torch.randn(2, 4, 8, 8)
    plain = editor.models.vae.decode(latents)
    both = vae.run("decode", latents, "pictures")
    assert any(one.weight.is_mkldnn for one in convolutions(editor.models.vae))
    assert relative_error(both, plain) < EXACT
    assert relative_error(vae.run("decode", latents[:1], "a picture"), plain[:1]) < EXACT


@needs_kernel
def test_a_model_that_is_no_vae_or_a_machine_without_the_kernels_stays_plain() -> None:
    assert engine.is_lean(build()) and not engine.is_lean(build().to("meta"))
    assert not engine.is_lean(nn.Linear(2, 2))
    for kernel, name, lacking in (
        (packed_conv, "is_available", lambda: False),
        (cpu_group_norm, "best_path", lambda: 0),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernel, name, lacking)
            assert not engine.is_lean(build())


@needs_kernel
@pytest.mark.parametrize("act", ["silu", "gelu"])
def test_an_even_picture_loses_no_digits(act: str, large: None) -> None:
    """torch's group norm in channels last is off by a thousand times as much there."""
    vae = build(replace(VAE_CONFIG, act_fn=act))
    for value in (0.0, -1 / 255):
        x = torch.full((1, 3, 64, 64), value)
        want = deepcopy(vae).double().encode(x.double())
        assert (run(vae, "encode", x) - want).abs().max() < 1e-4

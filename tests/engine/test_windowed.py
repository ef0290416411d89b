"""A UNet that computes a window of its maps, and its layers, in float64 against the whole ones."""

from typing import Any

import pytest
import torch
from torch import Tensor

from mdp_lite.engine import flops
from mdp_lite.engine.engine import build_engine
from mdp_lite.engine.window_layers import (
    Tape,
    WindowedAttention,
    WindowedConv,
    WindowedDown,
    WindowedNorm,
    WindowedProduct,
    WindowedUp,
)
from mdp_lite.engine.windowed import WindowedUNet
from mdp_lite.engine.windows import Level, Window, list_levels
from mdp_lite.models.conv import Conv2d
from mdp_lite.models.layers import Downsample2D, GroupNorm, Upsample2D
from mdp_lite.models.transformer import SDPA, Attention
from support.small_unets import CONFIGS, random_call, random_unet

CPU = torch.device("cpu")
SIZE = (9, 8)
WINDOWS = [Window(3, 6, 1, 6), Window(0, 4, 0, 3), Window(4, 9, 5, 8), Window(0, 9, 0, 8)]


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    with torch.no_grad():
        yield


def widen(module: Any) -> Any:
    """A layer in float64 with random weights."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        parameter.copy_(torch.randn_like(parameter))
    return module.double().requires_grad_(False)


def replace_window(x: Tensor, new: Tensor, window: Window) -> Tensor:
    x = x.clone()
    x[window.cells] = new[window.cells]
    return x


def maps(*size: int) -> tuple[Tensor, Tensor]:
    """Two maps (2, 8, *size)."""
    torch.manual_seed(1)
    x, new = torch.randn(2, 2, 8, *size, dtype=torch.float64)
    return x, new


def assert_same(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def record_and_play(layer: Any, tape: Tape, x: Tensor, new: Tensor, *more: Any) -> Tensor:
    """The layer's result of a new window, after the whole map x was recorded."""
    tape.record()
    layer(x, *more)
    tape.play(tape.recorded)
    return layer(new, *more)


# Each layer is exact where the map around the window stays.


@pytest.mark.parametrize("window", WINDOWS)
def test_a_convolution(window: Window) -> None:
    tape, level, (x, new) = Tape(), Level(window, SIZE), maps(*SIZE)
    conv = widen(Conv2d(8, 5, 3, padding=1))
    got = record_and_play(WindowedConv(conv, level, tape, framed=False), tape, x, new[window.cells])
    assert_same(got, conv(replace_window(x, new, window))[window.cells])


@pytest.mark.parametrize("window", WINDOWS)
def test_a_product(window: Window) -> None:
    tape, (x, new) = Tape(), maps(*SIZE)
    conv = widen(Conv2d(8, 5, 1))
    got = record_and_play(WindowedProduct(conv, tape), tape, x, new[window.cells])
    assert_same(got, conv(new)[window.cells])


@pytest.mark.parametrize("window", WINDOWS)
def test_halving(window: Window) -> None:
    (level, smaller), (x, new) = list_levels(window, SIZE, 2), maps(*SIZE)
    tape, layer = Tape(), widen(Downsample2D(8, padding=1))
    got = record_and_play(WindowedDown(layer, level, tape), tape, x, new[window.cells])
    want = layer(replace_window(x, new, window))[smaller.window.cells]
    assert_same(got, want)


@pytest.mark.parametrize("window", WINDOWS)
def test_doubling(window: Window) -> None:
    """Also to an odd side, 9."""
    larger, level = list_levels(window, SIZE, 2)
    tape, layer, (x, new) = Tape(), widen(Upsample2D(8)), maps(*level.size)
    windowed = WindowedUp(layer, level, larger, tape)
    got = record_and_play(windowed, tape, x, new[level.window.cells], SIZE)
    want = layer(replace_window(x, new, level.window), SIZE)[window.cells]
    assert_same(got, want)


@pytest.mark.parametrize("window", WINDOWS)
def test_a_norm(window: Window) -> None:
    tape, norm, (x, new) = Tape(), widen(GroupNorm(4, 8)), maps(*SIZE)
    windowed = WindowedNorm(norm, Level(window, SIZE), tape)
    got = record_and_play(windowed, tape, x, new[window.cells])
    assert_same(got, norm(replace_window(x, new, window))[window.cells])


@pytest.mark.parametrize("window", WINDOWS)
def test_a_norm_an_activation_and_a_convolution(window: Window) -> None:
    tape, level, (x, new) = Tape(), Level(window, SIZE), maps(*SIZE)
    norm, conv = widen(GroupNorm(4, 8)), widen(Conv2d(8, 5, 3, padding=1))
    own = WindowedNorm(norm, level, tape), WindowedConv(conv, level, tape)
    shift = torch.randn(1, 8, dtype=torch.float64)

    def run(norm: Any, conv: Any, x: Tensor) -> Tensor:
        return conv(norm.activate(x, "silu", shift))

    got = record_and_play(lambda x: run(*own, x), tape, x, new[window.cells])
    want = run(norm, conv, replace_window(x, new, window))[window.cells]
    assert_same(got, want)


@pytest.mark.parametrize("window", WINDOWS)
def test_self_attention(window: Window) -> None:
    tape, layer, (x, new) = Tape(), widen(Attention(8, 8, heads=2)), maps(*SIZE)

    def to_cells(x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)

    windowed = WindowedAttention(layer, Level(window, SIZE), tape)
    got = record_and_play(
        lambda x: windowed.of_itself(to_cells(x), SDPA), tape, x, new[window.cells]
    )
    whole = layer.of_itself(to_cells(replace_window(x, new, window)), SDPA)
    want = whole.transpose(1, 2).unflatten(2, SIZE)[window.cells]
    assert_same(got, to_cells(want))


# The whole UNet


def build(unet: Any, window: Window, side: int) -> WindowedUNet:
    return WindowedUNet(unet, SDPA, lambda *_: None, window, (side, side))


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("window", [Window(2, 5, 1, 6), Window(0, 3, 4, 7)])
def test_the_recorded_inputs_give_the_recorded_result(family: str, window: Window) -> None:
    unet = random_unet(family).double()
    x, t, c = random_call(unet, side=7)
    windowed = build(unet, window, 7)
    recorded = windowed.record(x, t, c)
    assert_same(recorded[-1], unet(x, t, c))
    assert_same(windowed.recompute(recorded, x, t, c), recorded[-1])


@pytest.mark.parametrize("family", CONFIGS)
def test_a_window_of_the_whole_map_is_any_call(family: str) -> None:
    unet = random_unet(family).double()
    x, t, c = random_call(unet)
    windowed = build(unet, Window(0, 8, 0, 8), 8)
    recorded = windowed.record(x, t, c)
    new = x.flip(1), t, c.flip(0)
    assert_same(windowed.recompute(recorded, *new), unet(*new))


def test_outside_the_window_are_the_recorded_bits() -> None:
    unet, window = random_unet("sd1"), Window(2, 5, 1, 6)
    x, t, c = random_call(unet)
    windowed = build(unet, window, 8)
    recorded = windowed.record(x, t, c)
    got = windowed.recompute(recorded, x.flip(1), t, c)
    outside = torch.ones(8, 8, dtype=torch.bool)
    outside[window.cells] = False
    assert torch.equal(got[..., outside], recorded[-1][..., outside])
    assert not torch.equal(got[window.cells], recorded[-1][window.cells])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_recorded_call_has_the_bits_of_the_engine(dtype: torch.dtype) -> None:
    unet = random_unet("sd1").to(dtype)
    engine = build_engine(unet, "eager", CPU)
    assert engine.windowed is not None
    call = random_call(unet)
    want = engine.denoise(*call)
    windowed = engine.windowed(Window(2, 5, 1, 6), (8, 8))
    recorded = windowed.record(*call)
    assert torch.equal(recorded[-1], want)
    near = {torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    got = windowed.recompute(recorded, *call)
    assert (got - want).float().norm() <= near * want.float().norm()
    assert torch.equal(engine.denoise(*call), want)  # and the engine's own stay


def test_only_eager_on_a_cpu_has_windows() -> None:
    unet = random_unet("sd1")
    assert build_engine(unet, "compile", CPU).windowed is None
    assert build_engine(lambda x, t, c: x, "eager", CPU).windowed is None


def test_the_cost_is_that_of_the_call() -> None:
    unet, window = random_unet("sd1"), Window(2, 5, 1, 6)
    x, t, c = random_call(unet, rows=1)
    recorded = build(unet, window, 8).record(x, t, c)
    cost = flops.window(unet.config, window, (8, 8), c.shape[1])
    assert (
        sum(one.nbytes for one in recorded)
        <= cost.kept_bytes
        < 1.5 * sum(o.nbytes for o in recorded)
    )
    assert window.size[0] * window.size[1] / 64 < cost.share < 1
    assert flops.window(unet.config, Window(0, 8, 0, 8), (8, 8), c.shape[1]).share == 1

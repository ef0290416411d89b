"""Convolutions with pack_convolutions weights against torch's own, which are their reference."""

import weakref
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from mdp_lite_kernels.packed_conv import MAX_CELLS, PackedConv2d, pack_convolutions, takes, unpack

SHAPES = [  # pictures, channels in and out, height, width, kernel, stride, padding
    (1, 8, 16, 8, 8, 3, 1, 1), (2, 64, 96, 7, 5, 3, 1, 1), (3, 96, 64, 9, 8, 1, 1, 0),
    (2, 32, 32, 16, 16, 3, 2, 1), (2, 32, 40, 17, 15, 3, 2, 0), (1, 3, 5, 4, 4, 3, 1, 1),
    (2, 1280, 1280, 8, 8, 3, 1, 1),
]  # fmt: skip
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def case(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[nn.Conv2d, Tensor]:
    b, inp, out, y, x, kernel, stride, padding = shape
    torch.manual_seed(sum(shape))
    conv = nn.Conv2d(inp, out, kernel, stride, padding).requires_grad_(False).to(dtype)
    return conv, torch.randn(b, inp, y, x).to(dtype)


@pytest.mark.covering(1)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_same_as_torch_in_float64(
    shape: tuple[int, ...], dtype: torch.dtype, channels_last: bool
) -> None:
    conv, x = case(shape, dtype)
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    want = deepcopy(conv).double()(x.double())
    ours = PackedConv2d(conv)
    assert takes(conv, x)
    for _ in range(2):  # the call that packs, and one that finds it done
        far = (ours(x).double() - want).abs().max()
        assert far <= ROUNDING[dtype] * want.abs().max()
    assert ours(x).shape == want.shape and ours(x).dtype == dtype


def test_packed_for_one_shape_serves_others(dtype: torch.dtype = torch.float32) -> None:
    conv, x = case(SHAPES[1], dtype)
    ours = PackedConv2d(deepcopy(conv))
    for pictures, side in ((1, 4), (5, 16), (2, 1), (1, 45), (1, 46)):
        more = torch.randn(pictures, x.shape[1], side, side)
        assert (ours(more) - conv(more)).abs().max() <= 1e-5
    assert takes(conv, torch.empty(1, 64, 45, 45)) and not takes(conv, torch.empty(1, 64, 46, 46))
    assert 45 * 45 <= MAX_CELLS < 46 * 46


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_a_row_has_the_bits_that_it_has_alone_whatever_came_first(dtype: torch.dtype) -> None:
    for shape in SHAPES[1:4]:
        conv, x = case(shape, dtype)
        ours, other = PackedConv2d(deepcopy(conv)), PackedConv2d(conv)
        other(x[:1, :, :4, :4])
        alone = torch.cat([other(row[None]) for row in x])
        assert torch.equal(ours(x), alone)


def test_gradients_and_other_dtypes_are_torchs_own() -> None:
    conv, x = case(SHAPES[0], torch.float32)
    leaf = x.clone().requires_grad_()
    PackedConv2d(conv)(leaf).sum().backward()
    assert leaf.grad is not None and leaf.grad.abs().sum() > 0
    with torch.no_grad():
        assert takes(conv, leaf) and not takes(conv, leaf.double())


def test_a_model_keeps_its_weights_and_copies() -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Sequential(nn.Conv2d(8, 4, 1)))
    model.requires_grad_(False)
    weights, x = [w.data_ptr() for w in model.parameters()], torch.randn(1, 4, 6, 6)
    want, plain = model(x), deepcopy(model)
    pack_convolutions(model)
    assert [w.data_ptr() for w in model.parameters()] == weights
    assert (model(x) - want).abs().max() <= 1e-5
    assert torch.equal(deepcopy(model)(x), model(x))
    for one in convolutions(model):
        unpack(one)
    for ours, old in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, old)


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [one for one in model.modules() if isinstance(one, nn.Conv2d)]


def test_a_weight_is_in_memory_once_in_the_layout_that_was_needed_last() -> None:
    conv, x = case(SHAPES[3], torch.float32)
    plain = weakref.ref(conv.weight.untyped_storage())
    ours, size = PackedConv2d(conv), conv.weight.nbytes
    assert plain() is not None
    ours(x)
    assert plain() is None and conv.weight.is_mkldnn and conv.weight.nbytes == size
    packed = weakref.ref(conv.weight)
    ours(torch.cat([x, x]))
    assert conv.weight is packed()  # one for all sizes
    ours(x.clone().requires_grad_())
    assert packed() is None and not conv.weight.is_mkldnn


def test_a_weight_that_is_trained_is_never_packed() -> None:
    conv, x = case(SHAPES[0], torch.float32)
    weight = conv.requires_grad_().weight
    with torch.no_grad():
        PackedConv2d(conv)(x)
    assert conv.weight is weight and not weight.is_mkldnn


@pytest.mark.covering(1)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("shape", [
    (2, 64, 96, 64, 64, 3, 1, 1), (1, 96, 64, 46, 46, 1, 1, 0), (20, 32, 40, 17, 15, 3, 2, 0),
    (3, 640, 320, 32, 32, 3, 1, 1), (2, 4, 32, 64, 48, 3, 1, 1), (40, 64, 64, 8, 8, 1, 1, 0),
], ids=str)  # fmt: skip
def test_a_large_map_has_torchs_own_bits_packed_or_not(
    shape: tuple[int, ...], dtype: torch.dtype, threads: int
) -> None:
    conv, x = case(shape, dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        want, ours = conv(x), PackedConv2d(conv)
        ours(x[:1, :, :8, :8])
        assert conv.weight.is_mkldnn
        assert torch.equal(ours(x), want)
        assert torch.equal(ours(x.contiguous()), deepcopy(ours).conv(x.contiguous()))
    finally:
        torch.set_num_threads(before)


def test_a_weight_packed_in_inference_mode_lets_gradients_pass() -> None:
    conv, x = case(SHAPES[0], torch.float32)
    ours = PackedConv2d(conv)
    with torch.inference_mode():
        ours(x)
        unpack(conv)
        ours(x)
    assert conv.weight.is_mkldnn
    leaf = x.clone().requires_grad_()
    ours(leaf).sum().backward()
    assert leaf.grad is not None and leaf.grad.abs().sum() > 0

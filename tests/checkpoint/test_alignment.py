"""Where a file has its tensors changes no number, and loading does not read them.

The kind: the length of a header, which metadata or a tool's spaces change, moves all tensors.
Libraries sum in another order where memory is not aligned to their vectors, on some processors.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mdp_lite import Editor
from mdp_lite.checkpoint.assign import ANYWHERE, place_weight
from mdp_lite.checkpoint.load import load
from mdp_lite.checkpoint.models import Models
from mdp_lite.models.aligned import ALIGNMENT, APART, Linear
from mdp_lite.models.conv import Conv2d, lay_plain
from mdp_lite_kernels.packed_conv import PackedConv2d, is_available, unpack
from support import moved
from support.ldm import write_folder
from support.moved import compute, move_all
from support.places import ENVIRONMENT

CPU = torch.device("cpu")
OFFSETS = (0, 1, 2, 4, 8, 16, 20, 24, 32, 40, 48, 56, 63)
OLD = {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}  # as on an old processor: its sums depend on alignment


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aligned") / "model"
    write_folder(folder)
    return folder


@pytest.fixture
def unaligned(folder: Path) -> Models:
    move_all(folder, 8)
    return load(folder, CPU)


def list_weights(models: Models) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """Every weight, with its module and its name there."""
    for model in (models.text_encoder, models.unet, models.vae):
        for module in model.modules():
            for name, weight in module.named_parameters(recurse=False):
                yield module, name, weight


def list_unaligned(models: Models) -> list[nn.Module]:
    """The modules with a plain weight that lies unaligned, but not tables: no sum reads them."""
    return [
        module
        for module, _, weight in list_weights(models)
        if not isinstance(module, nn.Embedding)
        if not weight.is_mkldnn and weight.data_ptr() % ALIGNMENT
    ]


@pytest.mark.parametrize(
    "stored",
    ["bfloat16", *(pytest.param(k, marks=pytest.mark.slow) for k in ("float16", "float32"))],
)
def test_every_offset_gives_aligned_weights_of_the_same_bits(stored: str, folder: Path) -> None:
    kind = getattr(torch, stored)
    for path in folder.rglob("*.safetensors"):
        save_file({key: tensor.to(kind) for key, tensor in load_file(path).items()}, path)
    want = {k: t.clone() for k, t in load(folder, CPU, kind).unet.state_dict().items()}
    for offset in OFFSETS:
        move_all(folder, offset)
        models = load(folder, CPU, kind)
        state = models.unet.state_dict()
        assert all(torch.equal(state[key], want[key]) for key in want)
        for model in (models.unet, models.vae, models.text_encoder):
            lay_plain(model)
        assert not list_unaligned(models)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_whatever_computes_aligns_its_weights_before(dtype: str, folder: Path) -> None:
    found = []
    for offset in (0, 8):
        move_all(folder, offset)
        models = load(folder, CPU, getattr(torch, dtype))
        found.append(compute(Editor(models, CPU, engine="eager")))
        assert not list_unaligned(models)
    assert all(torch.equal(got, want) for got, want in zip(*found, strict=True))


@pytest.mark.slow
def test_a_processor_whose_sums_depend_on_alignment_gives_the_same_bits(folder: Path) -> None:
    command = [sys.executable, moved.__file__, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT | OLD)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    if not found["differ"]:
        pytest.skip("this processor gives equal sums even so")
    assert len(set(found["hashes"])) == 1


def test_loading_copies_no_weight_that_may_stay_mapped(unaligned: Models) -> None:
    for module, name, weight in list_weights(unaligned):
        stays = name == "weight" and isinstance(module, ANYWHERE)
        assert (weight.data_ptr() % ALIGNMENT > 0) == stays


def test_engines_of_the_same_models_share_what_they_align(unaligned: Models) -> None:
    first = compute(Editor(unaligned, CPU, engine="eager"))
    found = [id(weight) for _, _, weight in list_weights(unaligned)]
    again = compute(Editor(unaligned, CPU, engine="eager"))
    assert [id(weight) for _, _, weight in list_weights(unaligned)] == found
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_threads_that_align_the_same_weights_get_the_same_bits(unaligned: Models) -> None:
    want, found = compute(Editor(deepcopy(unaligned), CPU, engine="eager")), []
    editors = [Editor(unaligned, CPU, engine="eager") for _ in range(2)]
    threads = [
        threading.Thread(target=lambda one=one: found.append(compute(one))) for one in editors
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(found) == len(editors)
    for out in found:
        assert all(torch.equal(got, other) for got, other in zip(out, want, strict=True))


def test_a_compiler_finds_all_weights_aligned(unaligned: Models) -> None:
    for model in (unaligned.unet, unaligned.vae):
        lay_plain(model)
    left = list_unaligned(unaligned)
    assert left and all(one in list(unaligned.text_encoder.modules()) for one in left)


@pytest.mark.parametrize("layer", [Linear(64, 8), Conv2d(64, 8, 1)], ids=["linear", "conv"])
def test_a_weight_in_training_stays_the_same_parameter(layer: nn.Module) -> None:
    weight = nn.Parameter(torch.randn(layer.weight.numel() + 2)[2:].view(layer.weight.shape))
    layer.weight = weight
    x = torch.randn(1, 64, 1, 1) if isinstance(layer, Conv2d) else torch.randn(1, 64)
    layer(x).sum().backward()
    assert layer.weight is weight and weight.grad is not None
    weight.requires_grad_(False)
    assert torch.allclose(layer(x), layer(x)) and layer.weight is not weight
    assert torch.equal(layer.weight, weight) and layer.weight.data_ptr() % ALIGNMENT == 0


@pytest.mark.skipif(not is_available(), reason="nothing is packed")
def test_a_packed_convolution_that_computes_plainly_aligns_too() -> None:
    conv = nn.Conv2d(64, 8, 1).requires_grad_(False)
    conv.weight = nn.Parameter(torch.randn(64 * 8 + 2)[2:].view(8, 64, 1, 1), requires_grad=False)
    want = conv.weight.clone()
    PackedConv2d(conv)(torch.randn(1, 64, 64, 64, requires_grad=True))  # gradients: torch computes
    assert conv.weight.data_ptr() % ALIGNMENT == 0 and torch.equal(unpack(conv), want)


def test_an_aligned_tensor_is_not_copied() -> None:
    tensor = torch.ones(64)
    assert place_weight(tensor, CPU, torch.float32) is tensor
    odd = torch.ones(64)[2:]
    copy = place_weight(odd, CPU, torch.float32)
    assert copy is not odd and torch.equal(copy, odd)
    assert place_weight(odd, CPU, torch.float32, anywhere=True) is odd


@pytest.mark.parametrize("size", [100, APART // 2, APART])
@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_copies_apart_have_the_bits_of_others(
    size: int, stored: torch.dtype, dtype: torch.dtype
) -> None:
    tensor = torch.randn(size + 1).to(stored)[1:]
    copy = place_weight(tensor, CPU, dtype)
    assert copy.dtype == dtype and copy.data_ptr() % ALIGNMENT == 0
    assert torch.equal(copy, tensor.to(dtype)) and copy.data_ptr() != tensor.data_ptr()

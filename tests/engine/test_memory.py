"""Memory: no weight twice, and the figures that commands state against the system's count.

    python -m pytest -m slow -rP tests/engine/test_memory.py

writes checkpoints of SD 1.5's size (4.3 GB) and takes minutes.
"""

import copy
import json
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mdp_lite import Editor
from mdp_lite.checkpoint.assign import place_weight
from mdp_lite.checkpoint.load import examine, load
from mdp_lite.cli.info import estimate_edit
from mdp_lite.engine.estimate import estimate
from mdp_lite.method.plan import naive_plan
from mdp_lite.method.schedule import zero_weights
from mdp_lite.models.aligned import APART
from mdp_lite.models.conv import Conv2d
from mdp_lite_kernels import packed_conv
from mdp_lite_weights.tensors import LARGE, read_tensors
from support import memory
from support.places import ENVIRONMENT, ROOT

CPU = torch.device("cpu")
NEAR = 0.1  # of what the operating system counts
GIGABYTES = {"float32": 5.8e9, "bfloat16": 3.3e9}  # that SD 1.5 may take at 512x512

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
needs_packing = pytest.mark.skipif(not packed_conv.is_available(), reason="nothing is packed")


@pytest.fixture
def fresh() -> Editor:
    return Editor(load("tiny", CPU), CPU, engine="eager")


def convolutions(model: nn.Module) -> list[Conv2d]:
    return [one for one in model.modules() if isinstance(one, Conv2d)]


def inputs(editor: Editor) -> tuple[Tensor, Tensor, Tensor]:
    config, generator = editor.models.unet.config, torch.Generator().manual_seed(0)
    x = torch.randn(2, config.in_channels, 8, 8, generator=generator)
    return x, torch.tensor(5.0), torch.randn(2, 7, config.cross_attention_dim, generator=generator)


def call(editor: Editor) -> Tensor:
    with torch.no_grad():
        return editor.runner.engine.denoise(*inputs(editor))


@needs_packing
def test_no_weight_is_in_memory_twice(fresh: Editor) -> None:
    found = convolutions(fresh.models.unet)
    sizes = [one.weight.nbytes for one in found]
    plain = [weakref.ref(one.weight) for one in found]
    call(fresh)
    assert [one.weight.nbytes for one in found] == sizes
    packed = [one.weight.is_mkldnn for one in found]
    gone = [ref() is None for ref in plain]
    assert gone == packed and sum(packed) > 0.8 * len(packed)
    laid_out = [weakref.ref(one.weight) for one in found if one.weight.is_mkldnn]
    with torch.no_grad():
        fresh.models.unet(*inputs(fresh))  # plain again: the packed ones go
    assert not any(one.weight.is_mkldnn for one in found)
    assert all(ref() is None for ref in laid_out)


@needs_packing
def test_whatever_reads_the_weights_gets_the_bits_of_the_file(fresh: Editor) -> None:
    want = {key: tensor.clone() for key, tensor in load("tiny", CPU).unet.state_dict().items()}
    readers: dict[str, Callable[[nn.Module], nn.Module]] = {
        "state": lambda unet: unet, "copy": copy.deepcopy,
        "float": lambda unet: copy.deepcopy(unet).float(),
    }  # fmt: skip
    first = call(fresh)
    for read in readers.values():
        assert torch.equal(call(fresh), first)
        assert any(one.weight.is_mkldnn for one in convolutions(fresh.models.unet))
        state = read(fresh.models.unet).state_dict()
        assert all(torch.equal(state[key], want[key]) for key in want)


@needs_packing
def test_direct_calls_and_gradients_are_as_before_any_edit(fresh: Editor) -> None:
    def gradient() -> Tensor:
        x, t, c = inputs(fresh)
        leaf = c.clone().requires_grad_()
        return torch.autograd.grad(fresh.models.unet(x, t, leaf).square().sum(), leaf)[0]

    want, slope = fresh.models.unet(*inputs(fresh)), gradient()
    first = call(fresh)
    for _ in range(2):
        assert torch.equal(fresh.models.unet(*inputs(fresh)), want)
        assert torch.equal(call(fresh), first)
        assert torch.equal(gradient(), slope)
        with torch.inference_mode():
            assert torch.equal(fresh.runner.engine.denoise(*inputs(fresh)), first)
            assert torch.equal(fresh.models.unet(*inputs(fresh)), want)


@pytest.mark.slow
@needs_packing
def test_threads_that_want_both_layouts_at_once_get_their_bits(fresh: Editor) -> None:
    wrong: list[str] = []
    with torch.no_grad():
        want = {"direct": fresh.models.unet(*inputs(fresh)), "engine": call(fresh)}

    def work(name: str) -> None:
        with torch.no_grad():
            for _ in range(20):
                direct = name == "direct"
                out = fresh.models.unet(*inputs(fresh)) if direct else call(fresh)
                wrong.extend([] if torch.equal(out, want[name]) else [name])

    threads = [threading.Thread(target=work, args=(name,)) for name in (*want, *want)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong


@needs_packing
def test_engines_share_models_whatever_layout_the_others_want(fresh: Editor) -> None:
    first = call(fresh)
    other = Editor(fresh.models, CPU, engine="eager")
    assert torch.equal(call(other), first) and torch.equal(call(fresh), first)
    with torch.no_grad():
        fresh.models.unet(*inputs(fresh))
    assert torch.equal(call(other), first) and torch.equal(call(fresh), first)


@needs_linux
def test_a_large_tensor_of_a_file_leaves_memory_before_its_neighbours(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({name: torch.ones(LARGE // 4) for name in "abc"} | {"d": torch.ones(10)}, path)
    tensors = read_tensors(path)
    assert sum(float(one.sum()) for one in tensors.values()) == 3 * LARGE // 4 + 10
    before = memory.resident_bytes("RssFile")
    del tensors["b"]
    assert before - memory.resident_bytes("RssFile") > 0.9 * LARGE


@needs_linux
def test_a_large_copy_leaves_memory_at_once() -> None:
    odd = torch.ones(APART + 1)[1:]
    copies = [place_weight(odd, CPU, torch.float32) for _ in range(9)]
    before = memory.resident_bytes("RssAnon")
    del copies[4]
    assert before - memory.resident_bytes("RssAnon") > 0.9 * odd.nbytes


@pytest.mark.slow
@needs_linux
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_bundled_model_takes_what_commands_say(dtype: str) -> None:
    check_figures("tiny", dtype, memory.measure_in_process("tiny", dtype))


@needs_linux
@pytest.mark.parametrize(
    ("dtype", "side"),
    [
        pytest.param("float32", 256, marks=pytest.mark.slow),
        pytest.param("bfloat16", 256, marks=pytest.mark.slow),
        pytest.param("float32", 512, marks=pytest.mark.slow),
        pytest.param("bfloat16", 512, marks=pytest.mark.slow),
    ],
)
def test_larger_pictures_of_the_bundled_model_take_what_commands_say(dtype: str, side: int) -> None:
    found = memory.measure_in_process("tiny", dtype, side=side)
    editor = Editor.from_pretrained("tiny", "cpu", dtype)
    said = estimate(editor.models, naive_plan(zero_weights(found["steps"]), True), side, side)
    print(json.dumps({"said": said.peak_bytes} | found))
    assert abs(said.peak_bytes / found["peak"] - 1) <= NEAR, (said, found)
    assert found["peak"] > said.peak_bytes - said.malloc_bytes  # it is more than what is in use


def check_figures(name: str, dtype: str, found: dict[str, Any]) -> None:
    """What plan and info say, within NEAR of what was measured."""
    editor = Editor.from_pretrained(name, "cpu", dtype)
    width, height = editor.runner.size
    plan = naive_plan(zero_weights(found["steps"]), guided=True)
    said = {
        "info": estimate_edit(examine(name))["peak_bytes"][dtype],
        "plan": estimate(editor.models, plan, height, width).peak_bytes,
    }
    print(json.dumps(said | found))
    for command, size in said.items():
        assert abs(size / found["peak"] - 1) <= NEAR, (command, size, found)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("large") / "sd15"
    script = str(ROOT / "tests" / "support" / "full_size.py")
    command = [sys.executable, script, "sd15", str(folder), "float32"]
    subprocess.run(command, check=True, env=ENVIRONMENT)
    yield str(folder)


@needs_linux
@pytest.mark.slow
@pytest.mark.parametrize("dtype", GIGABYTES)
def test_stable_diffusion_takes_what_commands_say(dtype: str, large: str) -> None:
    found = memory.measure_in_process(large, dtype)
    assert found["peak"] <= GIGABYTES[dtype]
    check_figures(large, dtype, found)

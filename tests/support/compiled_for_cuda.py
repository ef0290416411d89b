"""torch's compilers at work for a GPU that is not there, on fake tensors that say cuda:0.

export needs only the device guard of the rehearsal. Inductor also asks what GPU it is, and gets the
answers of an H100; it then writes Triton code, which nothing here runs.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mdp_lite.models.unet import UNet
from support.rehearsing import add_guard
from support.small_unets import CONFIGS, random_call

H100 = SimpleNamespace(
    name="NVIDIA H100", major=9, minor=0, multi_processor_count=132, warp_size=32,
    total_memory=80 << 30, max_threads_per_multi_processor=2048, max_threads_per_block=1024,
    regs_per_multiprocessor=65536, shared_memory_per_block=48 << 10,
    shared_memory_per_block_optin=227 << 10, L2_cache_size=50 << 20, gcnArchName="",
)  # fmt: skip


@contextlib.contextmanager
def fake_unet(family: str) -> Iterator[tuple[UNet, tuple[Tensor, ...], FakeTensorMode]]:
    """A small UNet in float16 on a fake GPU, and the inputs of a call of it."""
    add_guard("cuda")
    with torch.device("meta"):
        unet = UNet(CONFIGS[family]).half().eval().requires_grad_(False)
    shapes = [one.shape for one in random_call(unet)]
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        unet.to_empty(device="cuda")
        half = {"device": "cuda", "dtype": torch.float16}
        x, c = torch.empty(shapes[0], **half), torch.empty(shapes[2], **half)
        yield unet, (x, torch.empty(len(x), device="cuda"), c), mode


def export(model: nn.Module, call: tuple[Tensor, ...]) -> Any:
    """The model as torch.export traces it."""
    return torch.export.export(model, call, strict=False)


def list_calls(exported: Any) -> Counter[str]:
    """How often each operator stands in the graph."""
    nodes = [node for node in exported.graph.nodes if node.op == "call_function"]
    return Counter(str(node.target).rpartition(".")[0] or str(node.target) for node in nodes)


def list_devices(exported: Any) -> set[str]:
    """The devices of all tensors in the graph."""
    values = (node.meta.get("val") for node in exported.graph.nodes)
    return {str(one.device) for one in values if isinstance(one, Tensor)}


def generate_code(exported: Any, mode: FakeTensorMode) -> str:
    """The program that Inductor writes for an H100: Triton kernels, and the calls of all."""
    from torch._inductor import compile_fx
    from torch._inductor.debug import DebugContext
    from torch._inductor.decomposition import select_decomp_table
    from torch._inductor.graph import GraphLowering
    from torch._inductor.virtualized import V

    with mode, torch.no_grad():
        graph = exported.run_decompositions(select_decomp_table()).graph_module
    inputs = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"]
    with _as_h100(), DebugContext(), torch.no_grad(), V.set_fake_mode(mode):
        compile_fx.view_to_reshape(graph)
        compile_fx.fake_tensor_prop(graph, inputs)
        compile_fx._recursive_post_grad_passes(graph, is_inference=True)
        lowering = GraphLowering(graph, example_inputs=inputs, is_inference=True)
        with V.set_graph_handler(lowering):
            lowering.run(*inputs)
            code = lowering.codegen()[0]
    return code if isinstance(code, str) else code.value  # type: ignore[attr-defined]


def count_calls(code: str) -> tuple[int, int]:
    """Launches of generated kernels, and calls of libraries, in generated code."""
    body = code[code.index("def call(") :]
    return len(re.findall(r"\.run\(", body)), len(re.findall(r"extern_kernels\.\w+\(", body))


@contextlib.contextmanager
def _as_h100() -> Iterator[None]:
    from torch._dynamo.device_interface import CudaInterface
    from torch.utils import _triton

    properties, yes = (lambda *_: H100), (lambda *_: True)
    patches: list[tuple[Any, str, Any]] = [
        (torch.cuda, "is_available", yes), (torch.cuda, "_lazy_init", yes),
        (torch.cuda, "device_count", lambda: 1), (torch.cuda, "current_device", lambda: 0),
        (torch.cuda, "get_device_properties", properties),
        (torch.cuda, "_get_device_properties", properties),
        (torch.cuda, "get_device_capability", lambda *_: (9, 0)),
        (CudaInterface, "is_available", staticmethod(yes)),
        (CudaInterface, "get_device_properties", staticmethod(properties)),
        (CudaInterface, "get_compute_capability", staticmethod(lambda *_: 90)),
        (CudaInterface.Worker, "get_device_properties", staticmethod(properties)),
        (CudaInterface.Worker, "current_device", staticmethod(lambda: 0)),
        (_triton, "triton_hash_with_backend", lambda: "no backend"),
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:
        for owner, name, stand_in in patches:
            stack.enter_context(mock.patch.object(owner, name, stand_in, create=True))
        yield

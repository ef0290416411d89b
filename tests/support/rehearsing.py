"""The context in which a rehearsed GPU is there: what torch answers about devices is patched."""

import contextlib
import ctypes
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from support.rehearsal import Rehearsal
from support.rehearsed_graphs import Stream, Tape

GUARDS = "_ZN3c104impl26device_guard_impl_registryE"  # c10's table of device guards by device type
PLACES = {"cuda": 1, "mps": 13, "meta": 14}  # c10::DeviceType


class Properties:
    """torch.cuda.get_device_properties of a data-centre GPU."""

    name, major, minor, total_memory = "a rehearsed GPU", 9, 0, 141 << 30
    multi_processor_count, warp_size, max_threads_per_multi_processor = 132, 32, 2048


class InThread(TorchDispatchMode):
    """The same device in another thread, as a mode belongs to one."""

    def __init__(self, gpu: Rehearsal) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.gpu.dispatch(func, args, kwargs or {})


@contextlib.contextmanager
def rehearsal(kind: str = "cuda", devices: int = 1) -> Iterator[Rehearsal]:
    """A rehearsed device for the block; kind is cuda or mps."""
    gpu, lifted = Rehearsal(kind, devices), torch._C._only_lift_cpu_tensors()
    add_guard(kind)
    with contextlib.ExitStack() as stack:
        for owner, name, stand_in in _list_patches(gpu):
            stack.enter_context(mock.patch.object(owner, name, stand_in, create=True))
        torch._C._set_only_lift_cpu_tensors(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, lifted)
        stack.enter_context(gpu)
        yield gpu


def _list_patches(gpu: Rehearsal) -> list[tuple[Any, str, Any]]:
    shared = [
        (torch.autograd, "grad", lambda *args, **_: _zero_gradients(gpu, *args)),
        (threading.Thread, "run", _enter_threads(gpu)),
    ]
    if gpu.kind == "mps":
        mps = {"is_available": lambda: True, "is_built": lambda: True}
        calls = {"synchronize": lambda: None, "empty_cache": lambda: None}
        return [
            *shared,
            *((torch.backends.mps, name, value) for name, value in mps.items()),
            *((torch.mps, name, value) for name, value in calls.items()),
        ]
    cuda = [(torch.cuda, name, value) for name, value in _describe_cuda(gpu).items()]
    more = [
        (torch._C, "_host_emptyCache", lambda: None),  # torch.cuda.graph calls it
        (torch.backends.cuda, "is_flash_attention_available", lambda: True),
    ]
    return [*shared, *cuda, *more, (torch.cuda.graphs.graph, "default_capture_stream", None)]


def _describe_cuda(gpu: Rehearsal) -> dict[str, Any]:
    nothing = lambda *_, **__: None  # noqa: E731
    return {
        "is_available": lambda: True, "device_count": lambda: gpu.devices, "_lazy_init": nothing,
        "is_initialized": lambda: True, "current_device": lambda: gpu.index,
        "set_device": lambda device: gpu.exchange(gpu.resolve(device).index),
        "_exchange_device": gpu.exchange, "_maybe_exchange_device": gpu.exchange,
        "synchronize": nothing, "empty_cache": nothing, "is_bf16_supported": lambda **_: True,
        "get_device_capability": lambda *_: (9, 0), "get_device_name": lambda *_: Properties.name,
        "get_device_properties": lambda *_: Properties(),
        "graph_pool_handle": lambda: (0, len(gpu.lost_pools) + 1),
        "Stream": lambda device=None, priority=0: Stream(gpu.resolve(device)),
        "current_stream": gpu.current_stream, "default_stream": gpu.default_stream,
        "set_stream": gpu.set_stream, "stream": lambda stream: _on_stream(gpu, stream),
        "CUDAGraph": lambda *_, **__: Tape(gpu), "is_current_stream_capturing": lambda: any(
            one.thread == threading.get_ident() for one in gpu.recording),
        "memory_allocated": lambda *_: gpu.live, "max_memory_allocated": lambda *_: gpu.peak,
        "memory_reserved": lambda *_: gpu.live, "max_memory_reserved": lambda *_: gpu.peak,
        "mem_get_info": lambda *_: (Properties.total_memory - gpu.live, Properties.total_memory),
        "reset_peak_memory_stats": nothing,
    }  # fmt: skip


@contextlib.contextmanager
def _on_stream(gpu: Rehearsal, stream: Stream | None) -> Iterator[None]:
    """torch.cuda.stream: also the stream's device is the current one."""
    if stream is None:
        yield
        return
    index, before = gpu.index, gpu.current_stream(stream.device)
    gpu.set_stream(stream)
    try:
        yield
    finally:
        gpu.set_stream(before)
        gpu.exchange(index)


def _enter_threads(gpu: Rehearsal) -> Any:
    started = threading.Thread.run

    def run(thread: threading.Thread) -> None:
        torch._C._set_only_lift_cpu_tensors(True)
        with InThread(gpu):
            started(thread)

    return run


def _zero_gradients(gpu: Rehearsal, outputs: Any, inputs: Any, *_: Any) -> Any:
    """Zeros: torch's engine needs a real accelerator to go backwards."""
    gpu.counts["gradients that are zeros"] += 1
    some = [inputs] if isinstance(inputs, torch.Tensor) else inputs
    return tuple(torch.zeros_like(one) for one in some)


def add_guard(kind: str) -> None:
    """Give a device type the guard of meta tensors, which does nothing, where torch has none."""
    if kind == "cuda" and torch.backends.cuda.is_built():
        torch._C._ensureCUDADeviceGuardSet()
        return
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * 21).in_dll(library, GUARDS)
    guards[PLACES[kind]] = guards[PLACES[kind]] or guards[PLACES["meta"]]

"""A GPU that is not there: tensors that say cuda:0 and hold their values in CPU memory.

    with rehearsal() as gpu:
        editor = Editor.from_pretrained("tiny", "cuda", "float32")
        editor.edit(editor.generate("a red house", 7, 12), "a tent")
    print(gpu.report())

Unlike FakeTensorMode it computes real values, so that loops, plans and finite checks go the way
they go on a GPU, and results can be compared with the CPU's. It watches every operator and counts,
with the project's own line,

    waits        where the host waits for the device: .item(), bool(), .cpu(), torch.equal, nonzero,
                 and copies from pageable memory
    mismatches   operands on two devices, which CUDA refuses
    violations   what a graph can't record: a wait, the value of a 0-d CPU tensor, unsafe calls of
                 other threads in the global mode, memory that is freed before a replay
    launches     operators that are kernels on a GPU, the bytes that they touch

It can't know time, rounding of real kernels, workspaces and the allocator; gradients are zeros.
With kind="mps" the device is Apple's, which refuses float64.
"""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map, tree_map_only

from support import rehearsed_ops as ops
from support.rehearsed_graphs import Stream, Tape, find_tape

CPU = torch.device("cpu")


class RehearsedTensor(torch.Tensor):
    """A tensor whose device is a rehearsed one and whose values are those of inner, on the CPU."""

    inner: Tensor
    gpu: "Rehearsal"

    @staticmethod
    def __new__(cls, inner: Tensor, device: torch.device, gpu: "Rehearsal") -> "RehearsedTensor":
        one = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, layout=inner.layout, device=device, requires_grad=False,
        )  # fmt: skip
        one.inner, one.gpu, one.holder = inner, gpu, Holder(gpu, inner)
        return one

    def tolist(self) -> Any:
        """As torch does: copied to the CPU first."""
        return self.cpu().tolist()

    def __repr__(self, **_: Any) -> str:
        return f"RehearsedTensor({self.inner!r}, device={self.device})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = ops.list_tensors((args, kwargs))
        gpu = next(one.gpu for one in tensors if isinstance(one, RehearsedTensor))
        return gpu.dispatch(func, args, kwargs or {})


class Holder:
    """Holds a tensor's memory for as long as the tensor lives; the rehearsal counts the bytes."""

    def __init__(self, gpu: "Rehearsal", inner: Tensor) -> None:
        storage = inner.untyped_storage()
        self.gpu, self.place = gpu, storage.data_ptr()
        with gpu.lock:
            count, size = gpu.held.get(self.place, (0, storage.nbytes()))
            gpu.held[self.place] = count + 1, size
            gpu.live += 0 if count else size
            gpu.peak = max(gpu.peak, gpu.live)

    def __del__(self) -> None:
        with self.gpu.lock:
            count, size = self.gpu.held.pop(self.place)
            if count > 1:
                self.gpu.held[self.place] = count - 1, size
            else:
                self.gpu.live -= size


class Call(NamedTuple):
    """One operator: its arguments, the tensors in them, and the device that it asks for."""

    func: Any
    name: str
    args: Any
    kwargs: dict[str, Any]
    ours: list[RehearsedTensor]
    others: list[Tensor]
    target: torch.device | None  # a rehearsed one
    leaves: bool  # for another device, as .cpu() does


class Rehearsal(TorchDispatchMode):
    """The device: sees every operator, see the module. on_launch(name, tape) may raise."""

    def __init__(self, kind: str, devices: int) -> None:
        super().__init__()
        self.kind, self.devices, self.lock = kind, devices, threading.RLock()
        self.waits, self.mismatches, self.violations = (Counter[Any]() for _ in range(3))
        self.launches, self.counts = Counter[str](), Counter[str]()
        self.bytes = self.live = self.peak = 0
        self.held = dict[int, tuple[int, int]]()
        self.tapes, self.recording, self.lost_pools = list[Tape](), list[Tape](), set[Any]()
        self.on_launch: Callable[[str, Tape | None], None] | None = None
        self._here, self._defaults = threading.local(), dict[int, Stream]()

    # --- devices and streams of a thread

    @property
    def index(self) -> int:
        """The current device of this thread."""
        return getattr(self._here, "index", 0)

    def exchange(self, index: int) -> int:
        """Make another device the current one of this thread; the one before."""
        before = self.index
        if index >= 0:
            self._here.index = index
        return before

    def resolve(self, device: Any) -> torch.device:
        """A device with its index; None is the current one."""
        if isinstance(device, int):
            return torch.device(self.kind, device)
        index = None if device is None else torch.device(device).index
        return torch.device(self.kind, self.index if index is None else index)

    def default_stream(self, device: Any = None) -> Stream:
        """The stream of a device where no other is chosen."""
        device = self.resolve(device)
        return self._defaults.setdefault(device.index, Stream(device))

    def current_stream(self, device: Any = None) -> Stream:
        """This thread's stream of a device."""
        device = self.resolve(device)
        chosen: dict[int, Stream] = self._here.__dict__.setdefault("streams", {})
        return chosen.get(device.index) or self.default_stream(device)

    def set_stream(self, stream: Stream) -> None:
        """Make it this thread's stream of its device, and the device the current one."""
        self._here.__dict__.setdefault("streams", {})[stream.device.index] = stream
        self.exchange(stream.device.index)

    # --- what is told

    def note(self, what: str, at: str | None = None) -> None:
        """Count a violation."""
        self.violations[what, at or ops.find_line()] += 1

    def reset(self) -> None:
        """Count from here."""
        counters: tuple[Counter[Any], ...] = (
            self.waits, self.mismatches, self.violations, self.launches, self.counts,
        )  # fmt: skip
        for counter in counters:
            counter.clear()
        self.bytes, self.peak = 0, self.live

    def report(self, most: int = 20) -> str:
        """All counts as text."""
        waits, launches = sum(self.waits.values()), sum(self.launches.values())
        lines = [f"{launches} launches, {self.bytes / 1e6:.1f} MB, {waits} waits, {self.counts}"]
        for name in ("violations", "mismatches", "waits"):
            counted = getattr(self, name).most_common(most)
            lines += [f"{name} {n:5d} {what} {at}" for (what, at), n in counted]
        return "\n".join(lines)

    # --- operators

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.dispatch(func, args, kwargs or {})

    def dispatch(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run an operator, on the rehearsed device if it concerns it."""
        call = self._read(func, args, kwargs)
        if not call.ours and call.target is None:
            return func(*args, **kwargs)
        with self.lock, torch._C._DisableTorchDispatch():
            return self._run(call)

    def _read(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Call:
        tensors = ops.list_tensors((args, kwargs))
        ours = [one for one in tensors if isinstance(one, RehearsedTensor)]
        others = [one for one in tensors if not isinstance(one, RehearsedTensor)]
        name, asked = func._schema.name.removeprefix("aten::"), kwargs.get("device")
        kind = None if asked is None else torch.device(asked).type
        # A device without an index is completed by the device guard, which here is meta's.
        bare = kind == "meta" and name == "_to_copy"
        target = self.resolve(None if bare else asked) if bare or kind == self.kind else None
        return Call(func, name, args, kwargs, ours, others, target, kind is not None and not target)

    def _run(self, call: Call) -> Any:
        device = call.target or call.ours[0].device
        tape = find_tape(self.recording, device, self.current_stream(device))
        self._check(call, device, tape)
        if call.name == "_fused_sdp_choice":
            q, mask = call.args[0], call.args[3] if len(call.args) > 3 else None
            return ops.choose_backend(q, mask)
        args, kwargs = tree_map_only(RehearsedTensor, lambda x: x.inner, (call.args, call.kwargs))
        if "device" in kwargs:
            kwargs = {k: v for k, v in kwargs.items() if k != "pin_memory"} | {"device": CPU}
        run = ops.STAND_INS.get(call.func._schema.name, call.func)
        out = run(*args, **kwargs)
        self._refuse_wide(out)  # nor does a copy to the CPU widen on its way
        if call.name in ops.READS or call.leaves:
            return out
        if tape and call.name not in ops.RESHAPING:
            tape.add(run, call._replace(args=args, kwargs=kwargs), out, ops.find_line())
        if call.func._schema.is_mutable:
            return _find_written(call)
        wrap = lambda x: RehearsedTensor(x, device, self) if isinstance(x, Tensor) else x  # noqa: E731
        return tree_map(wrap, out)

    def _refuse_wide(self, out: Any) -> None:
        if self.kind == "mps" and any(x.dtype == torch.float64 for x in ops.list_tensors(out)):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype: MPS has no float64")

    def _check(self, call: Call, device: torch.device, tape: Tape | None) -> None:
        """Count what an operator does to a GPU; raises what CUDA raises."""
        name = call.name
        enters = bool(call.target and call.others) or (
            name == "copy_" and bool(call.ours and call.others) and call.others[0].ndim > 0
        )
        tensors = [*call.ours, *call.others]
        masked = ops.selects_by_mask(name, tensors)
        if name in ops.READS | ops.SIZED_BY_VALUES or call.leaves or enters or masked:
            self._wait("to the CPU" if call.leaves else "from the CPU" if enters else name, tape)
        elif name not in ops.COPIES:
            self._match(call, device, tape)
        if name not in ops.FREE | ops.READS:
            self._launch(call, tape)

    def _wait(self, what: str, tape: Tape | None) -> None:
        self.waits[what, ops.find_line()] += 1
        if tape:
            self.note(f"{what} in a capture")
            tape.broken = what
            raise RuntimeError(f"CUDA error: operation not permitted when capturing: {what}")
        self._disturb(what)

    def _disturb(self, what: str) -> None:
        """An unsafe call breaks the captures of other threads in the global mode."""
        own = threading.get_ident()
        for other in self.recording:
            if other.thread != own and other.mode == "global":
                self.note(f"{what} of another thread in a capture")
                other.broken = what

    def _match(self, call: Call, device: torch.device, tape: Tape | None) -> None:
        """Raises if operands lie on two devices; a 0-d CPU tensor is passed by value."""
        large = [one for one in call.others if one.ndim]
        apart = [one for one in call.ours if one.device != device and one.ndim]
        if (large and call.name not in ops.INDEXING) or apart:
            self.mismatches[call.name, ops.find_line()] += 1
            raise RuntimeError(f"Expected all tensors to be on the same device: {call.name}")
        if large:
            self._wait(f"{call.name} by CPU indices", tape)
        elif call.others and tape:
            self.note(f"{call.name}: the value of a 0-d CPU tensor is recorded")

    def _launch(self, call: Call, tape: Tape | None) -> None:
        self.launches[call.name] += 1
        self.bytes += ops.count_bytes([*call.ours, *call.others])
        if not call.func._schema.is_mutable:
            self._disturb("an allocation")
        if self.on_launch:
            self.on_launch(call.name, tape)


def _find_written(call: Call) -> Any:
    """The arguments that an operator writes into, if it returns them."""
    specs = call.func._schema.arguments
    if not call.func._schema.returns:
        return None
    written = [one for one, spec in zip(call.args, specs, strict=False) if _is_written(spec)]
    written += [call.kwargs[s.name] for s in specs if s.name in call.kwargs and _is_written(s)]
    return written[0] if len(written) == 1 else tuple(written)


def _is_written(spec: Any) -> bool:
    return spec.alias_info is not None and spec.alias_info.is_write

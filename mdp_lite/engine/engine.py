"""How the denoiser is run: as it is read, compiled now or ahead, or recorded as CUDA graphs.

Every mode computes the same. What is compiled or recorded is the UNet's own forward and run's own
step; shapes are fixed for each, so rows are filled up to few counts.
"""

import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdp_lite.engine.graphs import Bucketed, Fixed, Function, Lifted, Lifting, Maker, Whole, Work
from mdp_lite.method.execute import Alone
from mdp_lite.method.mdp import Denoiser, update
from mdp_lite.models.transformer import SDPA, Attend
from mdp_lite.models.unet import UNet
from mdp_lite_kernels import attention, packed_conv

MODES = ("auto", "eager", "compile", "graph", "aot")
LEAST = 16_000_000  # operations of an attention: below, calling the kernel costs more than it saves
GPU_OPTIONS: dict[str, Any] = {  # graphs are recorded here, not by Inductor
    "max_autotune": True,
    "conv_1x1_as_mm": True,
    "coordinate_descent_tuning": True,
    "triton.cudagraphs": False,
}
MOST_SHAPES = 10_000  # of all compiled functions; torch gives up after 8 of one
WARM_UP = 3  # runs before a graph is recorded: libraries choose kernels and allocate in them
Ahead = Callable[[Attend], Denoiser]
log = logging.getLogger("mdp_lite")


def _as_it_is(function: Function) -> Function:
    return function


class Engine(NamedTuple):
    """A UNet in a mode: calls of it, whole steps of one edit (or None), other functions likewise.

    denoise takes x (b, 4, y, x), t () or (b,), c (b, l, d). maker is who makes graphs, if any are.
    """

    mode: str
    denoise: Denoiser
    alone: Alone | None = None
    wrap: Callable[[Function], Function] = _as_it_is
    maker: Maker | None = None


def engine(unet: Any, mode: str, device: torch.device, ahead: Ahead | None = None) -> Engine:
    """A UNet (or another denoiser, which is called as it is) in one of MODES.

    ahead opens the packages for "aot". Raises ValueError where the device or the machine has not
    got what the mode needs.
    """
    mode = chosen(mode, device, ahead is not None)
    if not isinstance(unet, UNet):
        return Engine("eager", unet)
    if mode == "aot" and ahead:
        return Engine(mode, ahead(attending(device, traced=True)))
    wrap = partial(Compiled, device=device) if mode == "compile" else _as_it_is
    here = _packed(unet) if (mode, device.type) == ("eager", "cpu") else unet
    run: Denoiser = wrap(partial(_call, here, attending(device, traced=mode == "compile")))
    lifted = Lifted(run, here.times, here.text)
    if device.type == "cuda" and mode != "eager":
        return _graphs(mode, lifted, wrap)
    denoise = Lifting(lifted) if device.type == "cpu" else partial(_lifting, lifted)
    return Engine(mode, denoise if mode == "eager" else Bucketed(denoise), wrap=wrap)


def _graphs(mode: str, unet: Lifted, wrap: Callable[[Function], Function]) -> Engine:
    """The same recorded as CUDA graphs, which share their memory."""
    maker = Maker(partial(recorded, torch.cuda.graph_pool_handle()))
    calls, function = Fixed(maker, partial(_lifting, unet)), lambda f: Fixed(maker, wrap(f))
    return Engine(mode, Bucketed(calls), Whole(maker, unet), function, maker)


def chosen(mode: str, device: torch.device, packages: bool = False) -> str:
    """The mode that is asked for; auto is aot by packages, else graph on a GPU, else eager."""
    if mode not in MODES:
        raise ValueError(f"engine must be one of {', '.join(MODES)}, got {mode!r}")
    if mode == "graph" and device.type != "cuda":
        raise ValueError(f"engine graph needs a CUDA device, got {device.type}")
    if mode == "compile" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise ValueError("engine compile needs a C++ compiler (g++), got none on the PATH")
    if (mode == "aot") > packages:
        raise ValueError("engine aot needs packages, the folder that mdp-lite compile wrote")
    by_device = "graph" if device.type == "cuda" else "eager"
    return mode if mode != "auto" else "aot" if packages else by_device


def attending(device: torch.device, traced: bool = False) -> Attend:
    """The attention for a device: on a CPU our own kernel where there is one, else torch's.

    Where it is traced, the kernel is one operator of the graph.
    """
    if device.type != "cpu":
        return SDPA
    if not attention.best_path():
        _say_once("no native attention for this machine: it runs by torch, several times slower")
        return SDPA
    return partial(_attend, attention.attention_op() if traced else attention.native_attention)


def _attend(native: Attend, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    large = 4 * q.numel() * k.shape[2] >= LEAST
    return native(q, k, v) if large and attention.fits(q, k, v) else SDPA(q, k, v)


def recorded(pool: Any, run: Work) -> tuple[Sequence[Tensor], Callable[[], None]]:
    """A CUDA graph of run: where its results lie after each replay, and the replay.

    Graphs of one pool share memory: results last until another of them is replayed.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        out = run()
    return out, graph.replay


def _packed(unet: UNet) -> UNet:
    """The same UNet, weights and all, whose convolutions lay their weights out once."""
    if not packed_conv.available():
        _say_once("this torch cannot pack weights for convolutions: they are somewhat slower")
        return unet
    copy = deepcopy(unet, {id(weight): weight for weight in unet.parameters()})
    packed_conv.packed(copy)
    return copy


def _lifting(unet: Lifted, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
    return unet.predict(x, unet.times(t), unet.text(c))


def _call(unet: UNet, attend: Attend, x: Tensor, times: Tensor, text: Tensor) -> Tensor:
    if x.device.type == "cpu":  # all layers but attention are faster so
        x = x.contiguous(memory_format=torch.channels_last)
    return unet.predict(x, times, text, attend)


class Compiled:
    """A function compiled for each shape that occurs: one trace for all steps and weights."""

    def __init__(self, function: Function, device: torch.device) -> None:
        from torch._dynamo import config as tracing
        from torch._inductor import config  # takes a second to import

        options = GPU_OPTIONS if device.type == "cuda" else {}
        self._run = torch.compile(function, fullgraph=True, dynamic=False, options=options)
        self._freezing = partial(config.patch, freezing=device.type == "cpu")
        self._unlimited = partial(
            tracing.patch, recompile_limit=MOST_SHAPES, accumulated_recompile_limit=MOST_SHAPES
        )
        self._known, self._lock = set[Any](), threading.Lock()

    def __call__(self, *given: Tensor) -> Tensor:
        """The function of these tensors."""
        shapes = tuple((one.shape, one.dtype) for one in given)
        if shapes in self._known:
            return self._run(*given)
        # Weights are packed for a CPU's convolutions where the trace takes them for constants,
        # which only this setting of the whole process says.
        with self._lock, self._freezing(), self._unlimited():
            out = self._run(*given)
        self._known.add(shapes)
        return out


def scripted() -> Any:
    """mdp.update as TorchScript, which torch itself has deprecated, for those who still need it."""
    return torch.jit.script(update)


@cache
def _say_once(what: str) -> None:
    log.warning(what)

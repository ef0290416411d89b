"""How the UNet is run: as it is read, compiled on first use or ahead of time, or as CUDA graphs.

Every mode computes the same. What is compiled or recorded is the UNet's own forward and the two
halves of the step that edits use; shapes are fixed, so calls are padded to a few row counts.
"""

import logging
import shutil
import threading
from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdp_lite.engine.attention import choose_cuda_attention
from mdp_lite.engine.capture import CudaCapture
from mdp_lite.engine.fusing import (
    FUSED,
    Fused,
    answer_contiguous,
    copy_around,
    fuse,
    fused_step_output,
    keep_working,
    take_step,
)
from mdp_lite.engine.graphs import GraphCache, GraphRecorder
from mdp_lite.engine.step_graphs import StepGraphs
from mdp_lite.engine.unet_calls import CachedUNet, Function, PaddedUNet, SplitUNet, list_blocks
from mdp_lite.engine.windowed import WindowedUNet
from mdp_lite.engine.windows import Size, Window
from mdp_lite.method.execute import SingleStep
from mdp_lite.method.mdp import Denoiser, step_output, update
from mdp_lite.models.aligned import align_linears
from mdp_lite.models.conv import lay_plain
from mdp_lite.models.transformer import SDPA, Attend
from mdp_lite.models.unet import UNet
from mdp_lite.names import ENGINES, BadInput
from mdp_lite_kernels import attention, packed_conv

MIN_KERNEL_WORK = 16_000_000  # operations of an attention; below that torch's own is faster
GPU_OPTIONS: dict[str, Any] = {  # graphs are recorded here, not by Inductor
    "max_autotune": True,
    "conv_1x1_as_mm": True,
    "coordinate_descent_tuning": True,
    "triton.cudagraphs": False,
}
MAX_SHAPES = 10_000  # of all compiled functions; torch's own limit is 8 for each
OpenPackages = Callable[[Attend], Denoiser]
BuildWindowed = Callable[[Window, Size], WindowedUNet]
log = logging.getLogger("mdp_lite")


def _identity(function: Function) -> Function:
    return function


class Engine(NamedTuple):
    """A UNet in a mode.

    denoise calls it with x (b, 4, y, x), t () or (b,), c (b, l, d). single_step computes a whole
    step of one edit, or is None. wrap runs another function the same way. recorder records the
    graphs, if the mode has any. fused is what the models run as kernels of ours, None if nothing.
    windowed builds the UNet that computes a window of a latent (y, x), where the mode can.
    """

    mode: str
    denoise: Denoiser
    single_step: SingleStep | None = None
    wrap: Callable[[Function], Function] = _identity
    recorder: GraphRecorder | None = None
    fused: Fused | None = None
    windowed: BuildWindowed | None = None


def build_engine(
    unet: Any, mode: str, device: torch.device, open_packages: OpenPackages | None = None,
    fused: Fused = FUSED,
) -> Engine:  # fmt: skip
    """A UNet in one of ENGINES; another denoiser is called as it is.

    open_packages gives the compiled packages for "aot"; fused is for a GPU. Raises BadInput if the
    device or the machine does not have what the mode needs.
    """
    mode = choose_mode(mode, device, open_packages is not None)
    if not isinstance(unet, UNet):
        return Engine("eager", unet)
    if mode == "aot" and open_packages:
        return Engine(mode, open_packages(choose_attention(device, traced=True)))
    wrap = partial(CompiledFunction, device=device) if mode == "compile" else _identity
    own, predict = unet, _predict
    if device.type == "cpu":
        own = _keep_plain(unet) if mode == "compile" else _pack_convolutions(unet)
        predict = _predict if mode == "compile" else _pack_and_predict
    if fuses := device.type == "cuda" and mode != "compile":
        fused = keep_working(fused, device)
        own, predict = fuse(unet, fused), partial(answer_contiguous, _predict)
    output = fused_step_output if fuses and fused.guided_step else step_output
    attend = choose_attention(device, mode == "compile", fused)
    forward = wrap(partial(predict, own, attend))
    split = SplitUNet(forward, own.times, own.text, own.config.extra_dim, output)
    if device.type == "cuda" and mode != "eager":
        recorded = _record_graphs(mode, split, device)
        recorded.recorder.models.append(own)  # type: ignore[union-attr]
        return recorded._replace(wrap=wrap, fused=fused if fuses else None)
    if fuses:
        call = partial(_call_split, split)
        return Engine(mode, call, partial(take_step, call, output), wrap, fused=fused)
    denoise = CachedUNet(split) if device.type == "cpu" else partial(_call_split, split)
    if mode != "eager":
        return Engine(mode, PaddedUNet(denoise), wrap=wrap)
    windowed = partial(WindowedUNet, own, attend, _pack_weights) if device.type == "cpu" else None
    return Engine(mode, denoise, wrap=wrap, windowed=windowed)


def _record_graphs(mode: str, unet: SplitUNet, device: torch.device) -> Engine:
    """The same as CUDA graphs, which share one memory pool.

    The VAE stays out: it is called once a picture, and a graph of it would keep gigabytes.
    """
    index = torch.cuda.current_device() if device.index is None else device.index
    recorder = GraphRecorder(CudaCapture(torch.device("cuda", index)))
    calls = GraphCache(recorder, partial(_call_split, unet), "a UNet call")
    denoise = PaddedUNet(partial(_call_rows, calls))
    return Engine(mode, denoise, StepGraphs(recorder, unet), recorder=recorder)


def choose_mode(mode: str, device: torch.device, packages: bool = False) -> str:
    """The mode that is asked for; "auto" is aot with packages, else graph on a GPU, else eager."""
    if mode not in ENGINES:
        raise BadInput(f"engine must be one of {', '.join(ENGINES)}, got {mode!r}", "engine")
    if mode == "graph" and device.type != "cuda":
        raise BadInput(f"engine graph needs a CUDA device, got {device.type}", "engine")
    if device.type == "mps" and (packages or mode in ("compile", "aot")):
        name = "compile" if mode == "compile" else "aot"
        raise BadInput(
            f"engine {name} is for cpu and cuda, got mps: want eager, without packages", "engine"
        )
    if mode == "compile" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise BadInput("engine compile needs a C++ compiler (g++), got none on the PATH", "engine")
    if (mode == "aot") > packages:
        want = "engine aot needs packages, the folder that mdp-lite compile wrote"
        raise BadInput(want, "engine", "packages")
    by_device = "graph" if device.type == "cuda" else "eager"
    return mode if mode != "auto" else "aot" if packages else by_device


def choose_attention(device: torch.device, traced: bool = False, fused: Fused = FUSED) -> Attend:
    """The attention for a device: on a CPU our own kernel if it runs there, else torch's.

    traced: the kernel is one operator of a graph that is compiled. fused says how a GPU chooses.
    """
    if device.type == "cuda" and not traced:
        return choose_cuda_attention(device, fused.attention)
    if device.type != "cpu":
        return SDPA
    if sentence := name_attention():
        _warn_once(sentence)
        return SDPA
    return partial(_attend, attention.attention_op() if traced else attention.native_attention)


def name_attention() -> str | None:
    """A sentence: why a CPU has torch's attention here, and how to get ours; None if it has it."""
    reason = attention.missing_reason()
    slower = "attention is torch's, several times slower than the native one"
    return reason and f"{slower}: {reason}"


def name_packing() -> str | None:
    """The same of the packed convolutions."""
    if packed_conv.is_available():
        return None
    return "this torch cannot pack the weights of convolutions: they are somewhat slower"


def list_missing(device: torch.device) -> list[str]:
    """Sentences on what makes edits slower here than they could be, each with its reason.

    list_missing(torch.device("cuda"))  # []
    """
    every = (name_attention(), name_packing()) if device.type == "cpu" else ()
    return [sentence for sentence in every if sentence]


def _attend(native: Attend, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    large = 4 * q.numel() * k.shape[2] >= MIN_KERNEL_WORK
    return native(q, k, v) if large and attention.fits(q, k, v) else SDPA(q, k, v)


def _pack_convolutions(unet: UNet) -> UNet:
    """The same UNet around the same layers, whose weights its first call packs or aligns.

    Both share each of them, so a packed or aligned weight replaces the plain one.
    """
    if sentence := name_packing():
        _warn_once(sentence)
        return unet
    around = copy_around(unet)
    packed_conv.pack_convolutions(around)
    return around


def _pack_weights(unet: UNet, height: int, width: int) -> None:
    """Pack the weights for a latent of height x width, or align them, unless that is done already.

    All at once: between packed weights activations would leave gaps that malloc keeps.
    """
    first: Any = unet.conv_in
    if not isinstance(first, packed_conv.PackedConv2d) or first.conv.weight.is_mkldnn:
        return
    for block, level in list_blocks(unet):
        packed_conv.pack_weights(block, [-(-side // 2**level) for side in (height, width)])
    align_linears(unet)


def _keep_plain(unet: UNet) -> UNet:
    """The same UNet around the same weights, which other engines of these models never pack."""
    lay_plain(unet)
    return deepcopy(unet, {id(weight): weight for weight in unet.parameters()})


def _call_split(unet: SplitUNet, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
    return unet.predict(x, unet.times(t, c), unet.text(c))


def _call_rows(unet: Denoiser, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
    """A call with a timestep for each row, so that calls of one row count have one shape."""
    return unet(x, t.expand(len(x)), c)


def _predict(unet: UNet, attend: Attend, x: Tensor, times: Tensor, text: Tensor) -> Tensor:
    if x.device.type == "cpu":  # all layers but attention are faster in this layout
        x = x.contiguous(memory_format=torch.channels_last)
    return unet.predict(x, times, text, attend)


def _pack_and_predict(unet: UNet, attend: Attend, x: Tensor, times: Tensor, text: Tensor) -> Tensor:
    _pack_weights(unet, *x.shape[2:])
    return _predict(unet, attend, x, times, text)


class CompiledFunction:
    """A function that is compiled for each combination of shapes: one trace serves all steps."""

    def __init__(self, function: Function, device: torch.device) -> None:
        from torch._dynamo import config as tracing
        from torch._inductor import config  # takes a second to import

        options = GPU_OPTIONS if device.type == "cuda" else {}
        self._run = torch.compile(function, fullgraph=True, dynamic=False, options=options)
        self._freezing = partial(config.patch, freezing=device.type == "cpu")
        self._unlimited = partial(
            tracing.patch, recompile_limit=MAX_SHAPES, accumulated_recompile_limit=MAX_SHAPES
        )
        self._compiled, self._lock = set[Any](), threading.Lock()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The function of these tensors."""
        shapes = tuple((one.shape, one.dtype) for one in inputs)
        if shapes in self._compiled:
            return self._run(*inputs)
        # Inductor packs weights for a CPU's convolutions only if the trace takes them as constants,
        # and only this process-wide setting makes it do so.
        with self._lock, self._freezing(), self._unlimited():
            out = self._run(*inputs)
        self._compiled.add(shapes)
        return out


def script_update() -> Any:
    """mdp.update as TorchScript, which torch has deprecated, for callers who still need it."""
    return torch.jit.script(update)


@cache
def _warn_once(what: str) -> None:
    log.warning(what)

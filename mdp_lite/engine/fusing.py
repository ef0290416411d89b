"""Fewer launches on a GPU: our kernels and joined weights in a model's path, each by a switch.

fuse builds the same modules around the same weights, with other classes in the places where one
kernel computes what otherwise several operators would. Such a class asks the kernel's `takes` in
each call; what the kernel does not take is torch's. Compiled modes keep the plain modules, because
Inductor fuses these operators itself, and a CPU has none of all this.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdp_lite.engine.unet_calls import StepOutput
from mdp_lite.files.atomic import warn_once
from mdp_lite.method.execute import EditTask
from mdp_lite.method.mdp import Denoiser, Reads, Step, StepTerms, step_inputs, step_output
from mdp_lite.models.layers import GroupNorm
from mdp_lite.models.transformer import GEGLU, Attend, Attention, BasicTransformerBlock
from mdp_lite.names import BadInput
from mdp_lite_kernels import geglu, group_norm_silu, guided_step, pixels

SILU = ("silu", "swish")  # the two names of it in configs
ATTENTIONS = ("table", "cudnn", "torch")
Swap = Callable[[nn.Module], nn.Module | None]  # another module in the place of one; None keeps it


@dataclass(frozen=True)
class Fused:
    """What a model on a GPU runs as one operation of ours, in the modes eager and graph.

    group_norm_silu, geglu, guided_step and pixels are kernels of mdp_lite_kernels; qkv computes
    queries, keys and values of a self-attention in one product, by joined weights that the three
    layers keep as views. The kernel of the group norm takes maps that lie channels last, as they do
    where the weights of convolutions do (GpuSettings). attention chooses its backend by our
    "table", by the table after "cudnn", or leaves it to "torch". Raises BadInput for another value.

    No GPU has measured any of it yet: counts of launches and bytes alone speak for the defaults.

    >>> Fused(geglu=False).geglu
    False
    """

    group_norm_silu: bool = True
    geglu: bool = True
    guided_step: bool = True
    pixels: bool = True
    qkv: bool = True
    attention: str = "table"

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name == "attention" and value not in ATTENTIONS:
                known = ", ".join(ATTENTIONS)
                raise BadInput(f"fused attention must be one of {known}, got {value!r}")
            if one.name != "attention" and not isinstance(value, bool):
                raise BadInput(f"fused {one.name} must be True or False, got {value!r}")


FUSED = Fused()
PLAIN = Fused(False, False, False, False, False, "torch")  # nothing of it


class FusedGroupNorm(nn.Module):
    """A group norm whose kernel also adds what stands before it and applies SiLU after it."""

    def __init__(self, norm: GroupNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """norm(x): (b, c, y, x) -> (b, c, y, x)."""
        arguments = self._list_arguments(x, False, None)
        if group_norm_silu.takes(*arguments):
            return group_norm_silu.triton_group_norm_silu(*arguments)
        return self.norm(x)

    def activate(self, x: Tensor, act: str, shift: Tensor | None = None) -> Tensor:
        """act(norm(x + shift)), as GroupNorm.activate."""
        arguments = self._list_arguments(x, True, shift)
        if act in SILU and group_norm_silu.takes(*arguments):
            return group_norm_silu.triton_group_norm_silu(*arguments)
        return self.norm.activate(x, act, shift)

    def _list_arguments(self, x: Tensor, silu: bool, shift: Tensor | None) -> tuple[Any, ...]:
        norm = self.norm
        return x, norm.num_groups, norm.weight, norm.bias, norm.eps, silu, shift


class FusedGEGLU(nn.Module):
    """GEGLU whose half without weights is one kernel."""

    def __init__(self, plain: GEGLU) -> None:
        super().__init__()
        self.proj = plain.proj

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, dim) -> (b, n, hidden)."""
        projection = self.proj(x)
        takes = geglu.takes(projection)
        return geglu.triton_geglu(projection) if takes else geglu.geglu(projection)


class FusedSelfAttention(nn.Module):
    """Self-attention whose queries, keys and values come from one product, if join_weights did."""

    def __init__(self, plain: Attention) -> None:
        super().__init__()
        self.plain = plain

    def of_itself(self, x: Tensor, attend: Attend) -> Tensor:
        """(b, n, h d) -> (b, n, h d)."""
        joined = find_joined(self.plain)
        needs_gradient = torch.is_grad_enabled() and x.requires_grad
        if joined is None or needs_gradient or (joined.device, joined.dtype) != (x.device, x.dtype):
            return self.plain.of_itself(x, attend)
        return self.plain.mix(F.linear(x, joined).chunk(3, dim=-1), attend)


def keep_working(fused: Fused, device: torch.device) -> Fused:
    """The same without the kernels of Triton if it can't build one here, with one warning."""
    kernels = (fused.group_norm_silu, fused.geglu, fused.guided_step, fused.pixels)
    reason = find_failure(device) if any(kernels) else None
    if reason is None:
        return fused
    warn_once(f"no kernels of ours on {device}, torch's are used: {reason}")
    return replace(fused, group_norm_silu=False, geglu=False, guided_step=False, pixels=False)


@cache
def find_failure(device: torch.device) -> str | None:
    """Why Triton can't build a kernel, as without a C compiler; None if it can, or is not there."""
    projection = torch.zeros(1, 2, dtype=torch.float16, device=device)
    try:
        if geglu.takes(projection):
            geglu.triton_geglu(projection)
    except Exception as error:  # of any kind: by Triton, its compiler or the driver
        return " ".join(str(error).split())[:200] or type(error).__name__
    return None


def fuse(model: Any, fused: Fused) -> Any:
    """The same model around the same weights, with the operations that fused names.

    Weights of self-attentions lie elsewhere afterwards, with the same numbers; none is in memory
    twice.
    """
    if fused.qkv:
        for module in model.modules():
            if isinstance(module, BasicTransformerBlock):
                join_weights(module.attn1)

    def swap(module: nn.Module) -> nn.Module | None:
        if isinstance(module, GroupNorm) and fused.group_norm_silu:
            return FusedGroupNorm(module)
        return FusedGEGLU(module) if isinstance(module, GEGLU) and fused.geglu else None

    around = copy_around(model, swap)
    for module in around.modules() if fused.qkv else ():
        if isinstance(module, BasicTransformerBlock):
            module.attn1 = FusedSelfAttention(module.attn1)  # type: ignore[assignment]
    return around


def copy_around(module: Any, swap: Swap = lambda module: None) -> Any:
    """The same modules around the same layers, with others where swap gives them.

    deepcopy would take as long as half of a load.
    """
    other = swap(module)
    if other is not None or isinstance(module, (nn.Conv2d, nn.Linear)):
        return module if other is None else other
    around = copy(module)
    children = module._modules.items()
    around._modules = {name: child and copy_around(child, swap) for name, child in children}
    return around


def join_weights(attention: Attention) -> None:
    """Move the weights of to_q, to_k and to_v into one tensor (3 h d, h d) and leave them views.

    What is joined already, what differs in shape and what is trained stays.
    """
    layers = (attention.to_q, attention.to_k, attention.to_v)
    weights = [layer.weight.detach() for layer in layers]
    equal = len({(one.shape, one.dtype, one.device) for one in weights}) == 1
    trained = any(layer.weight.requires_grad for layer in layers)
    if find_joined(attention) is not None or not equal or trained:
        return
    with torch.inference_mode(False):
        joined = torch.cat(weights)
        for layer, part in zip(layers, joined.chunk(3), strict=True):
            layer.weight = nn.Parameter(part, requires_grad=False)
            layer.weight.joined = joined  # type: ignore[attr-defined]


def find_joined(attention: Attention) -> Tensor | None:
    """The tensor that the three weights are views of, or None if they lie apart."""
    layers = (attention.to_q, attention.to_k, attention.to_v)
    joined = [getattr(layer.weight, "joined", None) for layer in layers]
    return joined[0] if all(one is joined[0] for one in joined) else None


def answer_contiguous(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """function of these, in torch's own layout.

    Latents would otherwise take on the layout of the weights, which no kernel of a step reads.
    """
    return function(*inputs).contiguous()


def fused_step_output(
    out: Tensor, x: Tensor, terms: StepTerms, reads: Reads, v_prediction: bool
) -> Step:
    """Second half of a step, as mdp.step_output, in one kernel if it takes these terms."""
    arguments = _list_step(out, x, terms, reads, v_prediction)
    if arguments is None or not guided_step.takes(*arguments):
        return step_output(out, x, terms, reads, v_prediction)
    return Step(*guided_step.triton_guided_step(*arguments))


def _list_step(
    out: Tensor, x: Tensor, terms: StepTerms, reads: Reads, v_prediction: bool
) -> tuple[Any, ...] | None:
    """The kernel's arguments, or None for a step that it does not know."""
    coeffs, guidance, source, w, d = terms
    other_sampler = (coeffs.skip, coeffs.direct, coeffs.via)
    if any(one is not None for one in (guidance.q, w.local, w.tilt, d, *other_sampler)):
        return None
    w_beta = w.beta if "c" in reads and "source" in reads else None
    levels = (guidance.g, coeffs.a, coeffs.b)
    rest = (w_beta, source.x0 if v_prediction else None, source.noise)
    mixed = (source.eps, source.x, w.eps, w.x)
    return out, x, *levels, *mixed, *rest, "null" in reads, v_prediction


def take_step(
    unet: Denoiser, output: StepOutput, task: EditTask, i: int, reads: Reads, x: Tensor,
    v_prediction: bool,
) -> Step | None:  # fmt: skip
    """Step i of one edit from x (1, 4, y, x), not recorded; None if it is not finite."""
    terms = task.select_step(i, x)
    rows, c = step_inputs(x, terms, reads)
    out = unet(rows, terms.coeffs.t, c)
    return output(out, x, terms, reads, v_prediction) if out.isfinite().all() else None


def to_bytes(pictures: Tensor) -> Tensor:
    """(b, 3, y, x), about [-1, 1] -> (b, y, x, 3) uint8 on the CPU; a quarter of it is copied."""
    run = pixels.triton_pixels if pixels.takes(pictures) else pixels.pixels
    return run(pictures).cpu()

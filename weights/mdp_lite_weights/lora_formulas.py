"""What a LoRA and its relatives add to a weight, from the formulas of their papers.

LoRA (arXiv 2106.09685), LoHa (2108.06098), LoKr and the decomposition of convolutions by a core
tensor (LyCORIS, 2309.14859), (IA)3 (2205.05638), DoRA (2402.09353).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Factors = dict[str, Tensor]  # by role: "down", "up", "hada_w1_a", ...

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
LOHA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
NEEDED = {  # what each kind must have, for LoKr without the halves that may be whole
    "LoRA": ("down", "up"),
    "LoHa": LOHA,
    "LoKr": (),
    "(IA)3": ("ia3",),
    "difference": ("diff",),
}
ALLOWED = {
    "LoRA": ("mid", "magnitude"),
    "LoHa": ("hada_t1", "hada_t2", "magnitude"),
    "LoKr": ("lokr_t2", "magnitude"),
    "(IA)3": (),
    "difference": (),
}


class Delta(NamedTuple):
    """The change of a weight: strength * scale * its formula of the factors, all in float32.

    With a magnitude (DoRA) or for (IA)3 it depends on the weight, see merge_deltas.
    """

    kind: str
    factors: Factors
    scale: float
    strength: float


def merge_deltas(weight: Tensor, deltas: Sequence[Delta]) -> Tensor:
    """A weight [out, in, ...] or bias [out] with deltas, in float32, one by one in their order.

    Strength 0 changes no bit. A DoRA of strength s moves the weight by s of its way, as in
    AUTOMATIC1111 and ComfyUI.
    """
    total = weight.float()
    for kind, factors, scale, strength in deltas:
        if not strength:
            continue
        if kind == "(IA)3":
            total = total * (1 + strength * factors["ia3"].float())
        elif "magnitude" in factors:
            changed = total + scale * build_change(kind, factors).view(total.shape)
            goal = changed * _scale_rows(changed, factors["magnitude"].float())
            total = total.lerp(goal, strength)
        elif not scale:  # the BLAS turns -0 + 0 into 0
            continue
        elif kind == "LoRA" and "mid" not in factors:
            down, up = (factors[role].float().flatten(1) for role in ("down", "up"))
            flat = torch.addmm(total.flatten(1), up, down, alpha=strength * scale)
            total = flat.view(total.shape)
        else:
            change = build_change(kind, factors).view(total.shape)
            total = torch.add(total, change, alpha=strength * scale)
    return total


def build_change(kind: str, factors: Factors) -> Tensor:
    """The change of a weight before its scale; its shape may have the kernel flattened."""
    f = {role: tensor.float() for role, tensor in factors.items()}
    if kind == "LoRA":
        down, up = f["down"].flatten(1), f["up"].flatten(1)
        return up @ down if "mid" not in f else _multiply_core(f["mid"], up.T, down)
    if kind == "LoHa":
        halves = [
            _multiply(f[f"hada_w{i}_a"], f[f"hada_w{i}_b"], f.get(f"hada_t{i}")) for i in (1, 2)
        ]
        return halves[0] * halves[1]
    if kind == "LoKr":
        one = f["lokr_w1"] if "lokr_w1" in f else f["lokr_w1_a"] @ f["lokr_w1_b"]
        if "lokr_w2" in f:
            two = f["lokr_w2"]
        else:
            two = _multiply(f["lokr_w2_a"], f["lokr_w2_b"], f.get("lokr_t2"))
        return torch.kron(one.view(*one.shape, *[1] * (two.ndim - 2)), two)
    return f["diff"]


def check_factors(what: str, kind: str, found: Factors, shape: torch.Size) -> None:
    """Raises ValueError unless the factors are those of their kind and fit a weight's shape."""
    needed = NEEDED[kind] or _list_halves(found)
    for role in needed:
        if role not in found:
            got = " and ".join(found) or "alpha"
            raise ValueError(f"{what} has no {role} factor, only {got}")
    if extra := [role for role in found if role not in (*needed, *ALLOWED[kind])]:
        raise ValueError(f"{what} is a {kind}, but has {' and '.join(extra)} too")
    for role, factor in found.items():
        _check_factor(f"{what}: {role}", factor, kind == "LoRA" and role in needed)
    if kind == "LoRA":
        _check_pair(what, found, shape)
    meta = {role: factor.to("meta") for role, factor in found.items()}
    sizes = ", ".join(f"{role} {list(factor.shape)}" for role, factor in found.items())
    try:
        got = merge_deltas(torch.empty(shape, device="meta"), [Delta(kind, meta, 1.0, 1.0)]).shape
    except (RuntimeError, IndexError):
        got = None
    if got != shape or not _fits_kernel(kind, meta, shape):
        raise ValueError(f"{what}: its {kind} does not fit the weight's {list(shape)}: {sizes}")


def find_rank(factors: Factors) -> int | None:
    """The rank that alpha is divided by; None if no factor has one."""
    for role in ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b"):
        if role in factors:
            return len(factors[role])
    return 1 if "diff" in factors else None


def _multiply(a: Tensor, b: Tensor, core: Tensor | None) -> Tensor:
    """a @ b, b with a kernel or flat; with a core (r, r, k, k) a is (r, out), b (r, in)."""
    if core is not None:
        return _multiply_core(core, a, b)
    return (a.flatten(1) @ b.flatten(1)).view(len(a), *b.shape[1:])


def _multiply_core(core: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.einsum("ij...,io,jn->on...", core, a, b).contiguous()  # kron views it


def _scale_rows(weight: Tensor, magnitude: Tensor) -> Tensor:
    """magnitude / norm, for each output, or for each input if the magnitude is (1, in, ...).

    The second is what LyCORIS and OneTrainer wrote first, the first their later form, and peft's.
    """
    axis = 1 if magnitude.ndim > 1 and len(magnitude) == 1 < weight.shape[0] else 0
    others = [i for i in range(weight.ndim) if i != axis]
    norm = torch.linalg.vector_norm(weight, dim=others, keepdim=True)
    return magnitude.view(norm.shape) / (norm + torch.finfo(norm.dtype).eps)


def _list_halves(found: Factors) -> tuple[str, ...]:
    """What a LoKr must have: each half whole or as a product."""
    halves = ((f"lokr_w{i}", f"lokr_w{i}_a", f"lokr_w{i}_b") for i in (1, 2))
    return tuple(role for whole, *pair in halves for role in ([whole] if whole in found else pair))


def _check_factor(what: str, factor: Tensor, matrix: bool) -> None:
    bad = factor.ndim not in (2, 4) if matrix else not 0 < factor.ndim < 5
    if bad or factor.dtype not in FLOATS or not factor.numel():
        got = f"{factor.dtype} {list(factor.shape)}"
        want = "a matrix of 16 or 32-bit floats" if matrix else "16 or 32-bit floats"
        raise ValueError(f"{what} must be {want}, got {got}")
    if not factor.isfinite().all():
        raise ValueError(f"{what} has values that are not finite")


def _check_pair(what: str, found: Factors, shape: torch.Size) -> None:
    """The commonest faults of a LoRA, each with a sentence: another width, kernel or rank."""
    down, up, mid = found["down"], found["up"], found.get("mid")
    kernel = [*(down if mid is None else mid).shape[2:]]
    width = down.shape[1] if kernel or shape[2:].numel() == 1 else shape[1]
    if (width, len(up)) != (shape[1], shape[0]):
        got, want = f"{width} to {len(up)}", f"{shape[1]} to {shape[0]}"
        raise ValueError(f"{what}: the LoRA is for a model of another width, {got}, want {want}")
    if down.flatten(1).shape[1] != shape[1:].numel() and mid is None:
        sizes = [" x ".join(map(str, one)) or "1" for one in (kernel, shape[2:])]
        raise ValueError(f"{what}: the LoRA is for a kernel of {sizes[0]}, want {sizes[1]}")
    if len(down) != up.flatten(1).shape[1]:
        raise ValueError(f"{what}: down has rank {len(down)}, up has rank {up[0].numel()}")


def _fits_kernel(kind: str, factors: Factors, shape: torch.Size) -> bool:
    """Whether a change with a kernel has the weight's: as many values are not enough."""
    if kind == "(IA)3":
        return True
    got = build_change(kind, factors).shape
    return got == shape or (len(got) != len(shape) and got[:1] == shape[:1])

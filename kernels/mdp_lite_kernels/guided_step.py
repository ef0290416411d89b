"""The second half of a step: guidance, the manipulations and DDIM or DDPM, in one pass.

It computes what guide and update of mdp_lite/method/mdp.py do, without proximal guidance, for both
prediction types. A weight that depends on the predictions is a map that the caller computes first.
All that changes from step to step is read from tensors on the device, so one captured graph serves
every step. Shapes: b pictures; a level or weight is 0-d or (b, 1, 1, 1), a
weight also a map.
"""

import torch
from torch import Tensor, lerp

from mdp_lite_kernels.shapes import SMALL, fits


def guided_step(
    out: Tensor, x: Tensor, g: Tensor, a: Tensor, b: Tensor,
    eps_a: Tensor, x_a: Tensor, w_eps: Tensor, w_x: Tensor,
    w_beta: Tensor | None = None, x0_a: Tensor | None = None, noise: Tensor | None = None,
    guided: bool = True, v_prediction: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """x (b, 4, y, x) at level b and the noise in it, from the denoiser's rows out.

    out holds the rows of null (if guided), of c, and of the source (if w_beta is given). eps_a, x_a
    and x0_a (for v_prediction only) are path A's; noise is sigma z if path A goes by DDPM.
    """
    a_x, a_eps = a.sqrt().to(x), (1 - a).sqrt().to(x)
    rows = list(out.to(x.dtype).chunk(1 + guided + (w_beta is not None)))
    null = rows.pop(0) if guided else None
    e = rows[0] if w_beta is None else lerp(rows[0], rows[1], w_beta.to(x))
    e = e if null is None else null + g.to(x) * (e - null)
    eps = lerp(a_x * e + a_eps * x if v_prediction else e, eps_a, w_eps.to(x))
    x0 = (x - a_eps * eps) / a_x
    if x0_a is not None and v_prediction:  # at a = 0 the prediction is -x_0
        x0 = torch.where(a > 0, x0, lerp(-e, x0_a, w_eps.to(x)))
    if noise is None:
        onward = b.sqrt().to(x) * x0 + (1 - b).sqrt().to(x) * eps
    else:
        onward = b.sqrt().to(x) * x0 + ((1 - b) * (a / (b * (1 - a))).sqrt()).to(x) * eps + noise
    return lerp(onward, x_a, w_x.to(x)), lerp(eps, eps_a, w_x.to(x))


def takes(
    out: Tensor, x: Tensor, g: Tensor, a: Tensor, b: Tensor,
    eps_a: Tensor, x_a: Tensor, w_eps: Tensor, w_x: Tensor,
    w_beta: Tensor | None = None, x0_a: Tensor | None = None, noise: Tensor | None = None,
    guided: bool = True, v_prediction: bool = False,
) -> bool:  # fmt: skip
    """Whether Triton takes these: latents in 32 or 64 bits, all on one GPU, no gradient."""
    others = [t for t in (w_beta, x0_a, noise) if t is not None]
    return (
        fits(out, x, g, a, b, eps_a, x_a, w_eps, w_x, *others)
        and x.dtype in (torch.float32, torch.float64)
        and all(t.dtype == x.dtype for t in (eps_a, x_a, x0_a, noise) if t is not None)
        and x.ndim == 4
        and x.is_contiguous()
        and out.shape == (x.shape[0] * (1 + guided + (w_beta is not None)), *x.shape[1:])
        and (out.is_contiguous() or out.is_contiguous(memory_format=torch.channels_last))
        and out.numel() <= SMALL
        and (x0_a is not None or not v_prediction)
        and all(t.numel() == 1 or t.shape == (len(x), 1, 1, 1) for t in (g, a, b))
    )


def triton_guided_step(
    out: Tensor, x: Tensor, g: Tensor, a: Tensor, b: Tensor,
    eps_a: Tensor, x_a: Tensor, w_eps: Tensor, w_x: Tensor,
    w_beta: Tensor | None = None, x0_a: Tensor | None = None, noise: Tensor | None = None,
    guided: bool = True, v_prediction: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The same by Triton: levels in their dtype, all else in that of x (float32 or float64)."""
    from mdp_lite_kernels import guided_step_jit  # on demand: it imports triton and Inductor

    return guided_step_jit.guided_step_op(
        out, x, g, a, b, eps_a, x_a, w_eps, w_x, w_beta, x0_a, noise, guided, v_prediction
    )

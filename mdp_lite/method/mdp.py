"""One step of an edit by manipulating the diffusion path (MDP, arXiv 2303.16765).

Path A is the source, path B the edit, * the path that is steered between them. A weight is the
source's share: 0 = edit, 1 = source. A step has two halves: step_inputs is what the UNet is asked,
step_output is where its answer leads. Sampling, inversion, edits, sweeps and recorded graphs all
call these two functions. Shapes: b batch, y x latent height and width, l tokens, d width of c.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, lerp
from torch.nn.functional import avg_pool2d

from mdp_lite.method.ddim import eps_to_x0, noisy_mean, renoise, v_to_eps, x0_to_eps
from mdp_lite.method.schedule import StepCoefficients, StepIndex, Weights, select_step

Denoiser = Callable[[Tensor, Tensor, Tensor], Tensor]  # x (b, 4, y, x), t (), c (b, l, d)
TAU = 0.5  # of keep_map: half is kept where a change is half the picture's largest
BLUR = 3 / 16  # of keep_map: the width of its blur, as a share of the latent's shorter side
Reads = tuple[str, ...]  # the rows of a UNet call: some of "null", "c" and "source", in this order


class Guidance(NamedTuple):
    """What steers a path: c and null (b or 1, l, d), and the scale g ().

    null is None for guidance 1. If both prompts are equal, null is the same object as c. Then
    e_null = e and guidance changes nothing, so the null row is left out; but only while MDP-c does
    not mix c. null may also be a table (N, b or 1, l, d) with a row for each step, as null-text
    inversion makes it. q () is the quantile of proximal guidance, or None for plain guidance; of
    shape (1,) it masks whole cells, as LEDITS++ does.
    channels (b or 1, k, y, x) are what an inpainting UNet reads beside the latent in every row of
    every step: a mask, and the latent of the picture without what the mask covers; else None.
    """

    c: Tensor
    null: Tensor | None
    g: Tensor
    q: Tensor | None = None
    channels: Tensor | None = None

    @property
    def reads(self) -> Reads:
        """The UNet rows of a step without a source; a null row that changes nothing is left out."""
        return ("c",) if self.null is None or self.null is self.c else ("null", "c")

    def select_step(self, i: StepIndex) -> "Guidance":
        """The guidance of step i."""
        if self.null is None or self.null.ndim == 3:
            return self
        return self._replace(null=select_step(self.null, i))


class SourceStep(NamedTuple):
    """Step i of path A; all zeros where there is no source.

    c (b, l, d) is its condition, eps (b, 4, y, x) its guided noise, x0 the clean latent that it
    predicted, x where it arrived: x_A,{i+1}. noise is what a path by DDPM or LCM added: an edit
    of it adds the same.
    """

    c: Tensor
    eps: Tensor
    x0: Tensor
    x: Tensor
    noise: Tensor | None = None


class StepTerms(NamedTuple):
    """All that one step reads beside the latent; weights are 0-d, or maps of the latent's shape.

    d (b, 4, y, x) stands for the null row of a step that does not ask it: see move_direction.
    """

    coeffs: StepCoefficients
    guidance: Guidance
    source: SourceStep
    w: Weights
    d: Tensor | None = None


class Step(NamedTuple):
    """The result of a step: x (b, 4, y, x) at the next noise level, and the noise eps in it.

    d (b, 4, y, x) is its guidance direction, if somebody needs that.
    """

    x: Tensor
    eps: Tensor
    d: Tensor | None = None


def add_channels(x: Tensor, channels: Tensor | None) -> Tensor:
    """Latents x (b, 4, y, x), with the constant channels (b or 1, k, y, x) after them if any."""
    if channels is None:
        return x
    return torch.cat([x, channels.to(x).expand(len(x), -1, -1, -1)], dim=1)


def model_inputs(
    x: Tensor, *conditions: Tensor | None, channels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Latents and conditions of one UNet call: a row of x for each condition that is not None.

    channels are the constant ones of Guidance, which every row reads too.
    """
    rows = [row for row in conditions if row is not None]
    c = torch.cat([row.expand(x.shape[0], -1, -1) for row in rows])
    return torch.cat([add_channels(x, channels)] * len(rows)).to(c.dtype), c


def proximal(d: Tensor, q: Tensor) -> Tensor:
    """d where |d| is above its quantile q in that picture, else 0 (Han et al., arXiv 2306.05414).

    The hard threshold of their Eq. 8: guidance acts where the two predictions differ most. With q
    (1,) it is over the sums of |d| over channels, as in LEDITS++ (Brack et al., arXiv 2311.16711).
    """
    size = d.abs() if q.ndim == 0 else d.abs().sum(1, keepdim=True)
    least = size.flatten(1).quantile(q.to(d).reshape(()), dim=1)
    return torch.where(size > least[:, None, None, None], d, 0)


def change_map(d: Tensor) -> Tensor:
    """Where two predictions differ by d (b, 4, y, x): from 0 to 1 in each picture, (b, 1, y, x).

    The mean over channels, with its sign, between its smallest and largest value: the mask of
    Uni-Edit (Jiao et al., arXiv 2504.13109). The 1e-7 is its code's.
    """
    m = d.mean(1, keepdim=True)
    least = m.amin((2, 3), keepdim=True)
    return (m - least) / (m.amax((2, 3), keepdim=True) - least + 1e-7)


def find_direction(out: Tensor, reads: Reads) -> Tensor | None:
    """The guidance direction d = e - e_null of a UNet's answer, or None without a null row.

    e is the row after null. Of MDP-beta that is the edit's own, so d does not depend on w_beta.
    """
    if "null" not in reads:
        return None
    e_null, e, *_ = out.chunk(len(reads))
    return e - e_null


def move_direction(d: Tensor, source: Tensor | None, i: int) -> Tensor:
    """d_i ~ d_{i-1} + (d_A,i - d_A,{i-1}): the direction moves as the recorded source's own does.

    source (N, b, 4, y, x) is d_A; without it d is only kept. The step then takes e_null = e - d and
    asks no null row. That directions of neighbouring steps are alike is known
    (Castillo et al. 2023, arXiv 2312.12487; FasterCache, Lv et al. 2024, arXiv 2410.19355). To move
    them by a recorded path is ours: noise and level change alike on both paths.
    """
    return d if source is None else d + (source[i] - source[i - 1])


def guide(
    out: Tensor, guided: bool, g: Tensor, w_beta: Tensor | None = None, q: Tensor | None = None,
    tilt: Tensor | None = None, d: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The guided prediction from a UNet's answer.

    out holds one block of b rows for each condition, in this order: null if guided, c, and c_A if
    w_beta is given. Both guidances of MDP-beta share the null row: three rows, not four. q asks for
    proximal guidance, tilt for a weight of MDP-beta that depends on the predictions. d stands for
    the null row.
    """
    rows = list(out.chunk(1 + guided + (w_beta is not None)))
    e_null = rows.pop(0) if guided else None if d is None else rows[0] - d
    if w_beta is not None and tilt is not None:
        w_beta = w_beta + tilt * change_map(rows[0] - rows[1])
    e = rows[0] if w_beta is None else lerp(rows[0], rows[1], w_beta)  # MDP-beta
    if e_null is None:
        return e
    d = e - e_null if q is None else proximal(e - e_null, q)
    return e_null + g * d  # classifier-free guidance


def keep_map(x0: Tensor, source_x0: Tensor, tau: float = TAU, blur: float = BLUR) -> Tensor:
    """What an edit that predicts x0 (b, 4, y, x) keeps of its source, (b, 1, y, x) in 0..1.

    keep = tau^2 / (s^2 + tau^2), where s = blur(mean over channels |x0* - x0_A|), divided by its
    largest value in that picture. So a change that covers the picture is let go everywhere, and a
    small one is held outside its place. tau and blur are parameters because TorchScript, which the
    engine compiles this with, reads no global numbers.
    """
    d = (x0 - source_x0).abs().mean(1, keepdim=True)
    side = int((blur * min(d.size(2), d.size(3)) - 1) / 2)  # cells on each side of the middle one
    s = avg_pool2d(d, 2 * side + 1, 1, side, count_include_pad=False)
    s = s / s.amax((2, 3), keepdim=True).clamp(min=1e-30)  # without a difference all is kept
    return tau**2 / (s**2 + tau**2)


def pull_weight(x0: Tensor, source_x0: Tensor, w: Weights) -> Tensor:
    """The weight of MDP-x that a step uses: w_x + local keep."""
    local = w.local
    return w.x if local is None else w.x + local * keep_map(x0, source_x0)


def update(
    e: Tensor, x: Tensor, coeffs: StepCoefficients, source: SourceStep, w: Weights,
    v_prediction: bool,
) -> Step:  # fmt: skip
    """x_i* -> x_{i+1}* along a guided prediction e, with MDP-epsilon and MDP-x at their weights."""
    eps = lerp(v_to_eps(e, x, coeffs.a) if v_prediction else e, source.eps, w.eps)  # MDP-epsilon
    x0 = eps_to_x0(eps, x, coeffs.a)  # DDIM Eq. 12, "predicted x_0"
    if v_prediction:  # where abar = 0, x is noise alone and the prediction itself is -x_0
        x0 = torch.where(coeffs.a > 0, x0, lerp(-e, source.x0, w.eps))
    noise = source.noise
    if noise is None:
        x = renoise(x0, eps, coeffs.b)  # DDIM Eq. 12
    else:
        x = noisy_mean(x0, eps, x, coeffs) + noise  # DDPM or LCM
    w_x = pull_weight(x0, source.x0, w)
    return Step(lerp(x, source.x, w_x), lerp(eps, source.eps, w_x))  # MDP-x


def step_inputs(x: Tensor, terms: StepTerms, reads: Reads) -> tuple[Tensor, Tensor]:
    """First half of a step: what the UNet is asked at x, a latent and a condition for each row."""
    _, guidance, source, w, _ = terms
    c = lerp(guidance.c, source.c, w.c.to(guidance.c))  # MDP-c
    conditions = {"null": guidance.null, "c": c, "source": source.c}
    rows = (conditions[name] for name in reads)
    return model_inputs(x, *rows, channels=guidance.channels)


def step_output(out: Tensor, x: Tensor, terms: StepTerms, reads: Reads, v_prediction: bool) -> Step:
    """Second half of a step: from the UNet's answer out (rows, 4, y, x) to x_{i+1}*.

    Everything that changes from step to step is a tensor, so one trace serves all steps.
    """
    coeffs, guidance, source, w, d = terms
    w_beta = w.beta if "c" in reads and "source" in reads else None
    e = guide(out.to(x.dtype), "null" in reads, guidance.g, w_beta, guidance.q, w.tilt, d)
    e = e if coeffs.direct is None else x0_to_eps(e, x, coeffs.a)
    return update(e, x, coeffs, source, w, v_prediction)

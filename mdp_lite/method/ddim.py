"""One step of DDIM, in both directions, and of DDPM (Song et al. 2021, arXiv 2010.02502, Eq. 12).

a and b are 0-d tensors: the values of abar at the two ends of a step. e is a prediction of the
noise eps, or of v (Salimans & Ho 2022, arXiv 2202.00512). Here x_0 is the predicted clean latent,
in docs/method.md with a hat; elsewhere it is the noise where a path starts.
"""

from torch import Tensor

from mdp_lite.method.schedule import StepCoefficients


def v_to_eps(v: Tensor, x: Tensor, a: Tensor) -> Tensor:
    """eps = sqrt(a) v + sqrt(1 - a) x (Salimans & Ho 2022, Appendix D)."""
    return a.sqrt() * v + (1 - a).sqrt() * x


def v_to_x0(v: Tensor, x: Tensor, a: Tensor) -> Tensor:
    """x_0 = sqrt(a) x - sqrt(1 - a) v; unlike eps_to_x0 it also holds where a = 0."""
    return a.sqrt() * x - (1 - a).sqrt() * v


def split_prediction(e: Tensor, x: Tensor, a: Tensor, v_prediction: bool) -> tuple[Tensor, Tensor]:
    """x_0 and eps that a prediction e implies for x at level a."""
    return (v_to_x0(e, x, a), v_to_eps(e, x, a)) if v_prediction else (eps_to_x0(e, x, a), e)


def x0_to_eps(x0: Tensor, x: Tensor, a: Tensor) -> Tensor:
    """eps = (x - sqrt(a) x_0) / sqrt(1 - a), the inverse of eps_to_x0; a < 1."""
    return (x - a.sqrt() * x0) / (1 - a).sqrt()


def eps_to_x0(eps: Tensor, x: Tensor, a: Tensor) -> Tensor:
    """x_0 = (x - sqrt(1 - a) eps) / sqrt(a), the predicted clean latent; a > 0."""
    return (x - (1 - a).sqrt() * eps) / a.sqrt()


def renoise(x0: Tensor, eps: Tensor, b: Tensor) -> Tensor:
    """x_b = sqrt(b) x_0 + sqrt(1 - b) eps."""
    return b.sqrt() * x0 + (1 - b).sqrt() * eps


def ddpm_mean(x0: Tensor, eps: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Eq. 12 without its noise sigma z: sqrt(b) x_0 + sqrt(1 - b - sigma^2) eps.

    sigma^2 = (1 - b) / (1 - a) (1 - a / b) (Eq. 16, eta = 1), so the root is the product below; it
    is 0 both where a = 0 and where b = 1.
    """
    return b.sqrt() * x0 + (1 - b) * (a / (b * (1 - a))).sqrt() * eps


def noisy_mean(x0: Tensor, eps: Tensor, x: Tensor, coeffs: StepCoefficients) -> Tensor:
    """Where a step that adds noise leads without it: by LCM if it has a skip, TCD by via, or DDPM.

    TCD goes by DDIM to level via; its noise leads from there up to b (Zheng et al., arXiv
    2402.19159, strategic stochastic sampling).
    """
    _, a, b, skip, _, via = coeffs
    if via is not None:
        return (b / via).sqrt() * renoise(x0, eps, via)
    return ddpm_mean(x0, eps, a, b) if skip is None else b.sqrt() * join_boundary(x0, x, skip)


def join_boundary(x0: Tensor, x: Tensor, skip: Tensor) -> Tensor:
    """c_skip x + c_out x_0, LCM's prediction of x_0, which is x itself at t = 0 (Eq. 9 there)."""
    return skip * x + (1 - skip).sqrt() * x0


def carry_scale(a: Tensor, b: Tensor, skip: Tensor | None) -> Tensor:
    """d x_b / d x_a of a step along one noise eps, a > 0: by LCM if it has a skip, else DDIM."""
    if skip is None:
        return (b / a).sqrt()
    return b.sqrt() * (skip + ((1 - skip) / a).sqrt())


def ddim(x: Tensor, eps: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """From level a > 0 to level b along eps; with a and b exchanged it is its own inverse."""
    return renoise(eps_to_x0(eps, x, a), eps, b)


def step_gain(a: Tensor, b: Tensor, v_prediction: bool) -> Tensor:
    """d x_b / d e: how much a change of the prediction e moves the end of a DDIM step."""
    if v_prediction:
        return (1 - b).sqrt() * a.sqrt() - b.sqrt() * (1 - a).sqrt()
    return (1 - b).sqrt() - (b / a).sqrt() * (1 - a).sqrt()


def eps_between(x: Tensor, onward: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The eps along which DDIM leads from x at level a > 0 to onward at another level b."""
    return (onward / b.sqrt() - x / a.sqrt()) / (((1 - b) / b).sqrt() - ((1 - a) / a).sqrt())


def x0_between(x: Tensor, onward: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The x_0 that DDIM predicted as it led from x at level a to onward at level b.

    If a = b the step is the identity and says nothing of x_0: onward stands in for it.
    """
    apart = (a * (1 - b)).sqrt() - (b * (1 - a)).sqrt()
    return (x * (1 - b).sqrt() - onward * (1 - a).sqrt()) / apart if apart != 0 else onward

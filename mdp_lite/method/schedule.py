"""The DDIM grid, and the tables of weights that describe an edit.

A path has N steps; step i reads x_i and writes x_{i+1}. x_0, where it starts, is noise (not DDIM's
predicted clean x_0), x_N the clean latent. An edit is a table of N rows of four weights; variant,
window, schedule and strength only fill that table.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdp_lite.models.config import SchedulerConfig
from mdp_lite.names import VARIANTS, BadInput

StepIndex = int | Tensor  # a number, or an index tensor (1,) on the device of the table
# The authors' window at N = 50 (MDP.ipynb): t_max = 47, t_m = 26.
T_MAX, T_M = 0.94, 0.52
# Of an edit in at most FEW_STEPS steps by a model made for them: the source's share of the noise at
# every step, and the rate of the pull. `python -m benchmarks.few_steps edits` compares them with
# others: best at 1, 2 and 4 steps, at 8 within the interval of the best.
FEW_STEPS, FEW_PULL = 8, 1.0
FEW_SHARES = {1: 0.75, 2: 0.5, 4: 0.75}  # from so many steps on
STEPS, PREDICTION = "num_inference_steps", "prediction_type"  # arguments, as errors name them


class DefaultWindow(NamedTuple):
    """The window of an edit that gives none: t_max and t_m, and the schedule."""

    t_max: float
    t_m: float
    schedule: str


# As shares of N, tuned on synthetic edits (`mdp-lite bench edits --split tune`). Several windows
# had scores within each other's intervals; these need the fewest UNet rows.
DEFAULT_WINDOWS = {
    "c": DefaultWindow(T_MAX, 0.27, "leash"),
    "epsilon": DefaultWindow(T_MAX, 0.34, "leash"),
    "x": DefaultWindow(1.0, 0.34, "leash"),
    "beta": DefaultWindow(T_MAX, 0.27, "leash"),
}

# Of an edit that names the schedule local-leash and no window: it begins with the path.
LOCAL_WINDOW = DefaultWindow(1.0, 0.34, "local-leash")


class StepCoefficients(NamedTuple):
    """Timestep t of a step, abar a that it leaves and abar b that it reaches; all 0-d.

    skip, direct and via are those of the grid.
    """

    t: Tensor
    a: Tensor
    b: Tensor
    skip: Tensor | None = None
    direct: Tensor | None = None
    via: Tensor | None = None


class Grid(NamedTuple):
    """N steps, sampled forwards and inverted backwards: step i goes from level a_i to level b_i.

    t (N,) int64 timesteps, descending; a, b (N,) float64 values of abar (Song et al. 2021's
    alpha). DDIM's b_i is abar at t_i - T // N, as in diffusers. With leading spacing that is
    a_{i+1}; with trailing and linspace it may differ from it. Of other samplers see samplers.py.
    skip (N,) is c_skip of a consistency model, whose steps with noise predict x_0 by it, else None.
    direct (N,) is 1 where the model's answer is x_0 itself, which no step converts before; or None.
    via (N,) is abar of the level that a TCD step reaches before it adds noise, else None.
    """

    t: Tensor
    a: Tensor
    b: Tensor
    skip: Tensor | None = None
    direct: Tensor | None = None
    via: Tensor | None = None

    def select_step(self, i: StepIndex) -> StepCoefficients:
        """The coefficients of step i."""
        return StepCoefficients(*self._each(lambda column: select_step(column, i)))

    def to(self, device: torch.device, dtype: torch.dtype = torch.float64) -> "Grid":
        """The grid on a device, all but whole timesteps in a dtype."""
        kind = lambda column: dtype if column.is_floating_point() else column.dtype  # noqa: E731
        return Grid(*self._each(lambda column: column.to(device, kind(column))))

    def cut(self, start: int, stop: int) -> "Grid":
        """The steps start to stop - 1 alone."""
        return Grid(*self._each(lambda column: column[start:stop]))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Iterator[Any]:
        """Each column changed; those that the grid does not have stay None."""
        return (None if column is None else change(column) for column in self)


class Weights(NamedTuple):
    """The source's share in each quantity, 1 = source, 0 = edit; 0-d, or tables (N,) of steps.

    Any finite number is a weight. Below 0 an edit goes further from its source than the target
    prompt leads, above 1 further than the source itself. A table may also hold maps (N, 1, 1, y, x)
    of eps, x and beta, a weight for each latent cell.

    Two columns depend on what a step predicts. local is added to x's weight where the edit is like
    its source (times mdp.keep_map), tilt to beta's where the predictions for the two conditions
    differ (times mdp.change_map). None is 0 everywhere.

    >>> zeros = torch.zeros(4)
    >>> table = Weights(c=zeros, eps=torch.tensor([1.0, 1.0, 0.5, 0.0]), x=zeros, beta=zeros)
    >>> editor.edit(source, "a blue house", weights=table).cost.unet_calls
    2
    """

    c: Tensor
    eps: Tensor
    x: Tensor
    beta: Tensor
    local: Tensor | None = None
    tilt: Tensor | None = None

    @property
    def mixes_predictions(self) -> bool:
        """Whether MDP-beta has a weight, so that the source's condition is asked for, too."""
        return bool(self.beta.any() or (self.tilt is not None and self.tilt.any()))

    def select_step(self, i: StepIndex, x: Tensor) -> "Weights":
        """The weights of step i, in the dtype and on the device of x."""
        return self.change(lambda column: select_step(column, i).to(x))

    def change(self, change: Callable[[Tensor], Tensor]) -> "Weights":
        """Each column changed; those that the table does not have stay None."""
        return Weights._make(None if one is None else change(one) for one in self)


def select_step(table: Tensor, i: StepIndex) -> Tensor:
    """Entry i of a table (N, ...). A graph that is captured for all steps gives i as a tensor."""
    return table[i] if isinstance(i, int) else table.index_select(0, i)[0]


def zero_weights(n: int) -> Weights:
    """The table (n,) of plain sampling: nothing comes from a source."""
    return Weights(*torch.zeros(4, n, dtype=torch.float64))


def alphas_cumprod(config: SchedulerConfig) -> Tensor:
    """abar_t = prod_{s <= t} (1 - beta_s), (T,) float64."""
    lo, hi, steps = config.beta_start, config.beta_end, config.num_train_timesteps
    if config.beta_schedule == "scaled_linear":
        betas = torch.linspace(lo**0.5, hi**0.5, steps, dtype=torch.float64) ** 2
    else:
        betas = torch.linspace(lo, hi, steps, dtype=torch.float64)
    abar = (1 - betas).cumprod(0)
    return zero_terminal_snr(abar) if config.rescale_betas_zero_snr else abar


def zero_terminal_snr(abar: Tensor) -> Tensor:
    """Shift and scale sqrt(abar) so that its last value is 0 (Lin et al. 2023, Algorithm 1)."""
    root = abar.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    return ((root - last) * first / (first - last)) ** 2


def timesteps(config: SchedulerConfig, n: int) -> Tensor:
    """n descending timesteps, (n,) int64 (the three spacings of Lin et al. 2023, Table 2)."""
    total = config.num_train_timesteps
    if config.timestep_spacing == "leading":
        return torch.arange(n).flip(0) * (total // n) + config.steps_offset
    if config.timestep_spacing == "trailing":
        # In the order of numpy's arange, so that x.5 rounds to the same timestep as in diffusers.
        stride = (total - total / n) - total
        return (total + torch.arange(n, dtype=torch.float64) * stride).round().long() - 1
    stride = (total - 1) / max(n - 1, 1)
    return (torch.arange(n, dtype=torch.float64) * stride).round().long().flip(0)


def check_count(config: SchedulerConfig, n: int) -> None:
    """Raises BadInput unless a grid can have n steps."""
    total = config.num_train_timesteps
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= total:
        raise BadInput(f"{STEPS} must be a whole number from 1 to {total}, got {n}", STEPS)


def ddim_grid(config: SchedulerConfig, n: int) -> Grid:
    """DDIM's grid of n steps, by the spacing and the end of a scheduler config.

    Raises BadInput for n outside 1..T, and for an epsilon prediction at abar = 0: there x is noise
    alone, and a prediction of noise says nothing of the picture.
    """
    check_count(config, n)
    total = config.num_train_timesteps
    abar, t = alphas_cumprod(config), timesteps(config, n)
    if t[0] >= total:
        most = next(m for m in range(n, 0, -1) if timesteps(config, m)[0] < total)
        raise BadInput(f"{STEPS} must be at most {most} with this model, got {n}", STEPS)
    final = abar.new_ones(()) if config.set_alpha_to_one else abar[0]
    after = t - total // n
    a, b = abar[t], torch.where(after >= 0, abar[after.clamp(min=0)], final)
    if a[0] == 0 and config.prediction_type == "epsilon":
        raise BadInput(
            f"zero terminal SNR needs {PREDICTION} v_prediction, got epsilon", PREDICTION
        )
    return Grid(t, a, b)


def check_reach(config: SchedulerConfig, n: int) -> str | None:
    """A warning if a grid of n steps leaves out the noisiest tenth of the levels, or more.

    Leading spacing has whole strides T // n, so n steps end short of T if n does not divide it:
    334 steps of 1000 have stride 2 and start at t = 667. Numbers below 10 start low too, because
    their strides are wide; there is no warning then.
    """
    total, own = config.num_train_timesteps, config.sampler in ("lcm", "tcd")
    if own or config.timestep_spacing != "leading" or 10 * (total % n) <= total:
        return None
    fitting = [m for m in range(1, total + 1) if 50 * (total % m) <= total]
    good, start = min(fitting, key=lambda m: abs(m - n)), int(timesteps(config, n)[0])
    return (
        f"{n} steps start at timestep {start} of {total - 1}, which is not pure noise: this "
        f"checkpoint's leading spacing suits {good} steps better"
    )


CURVES: dict[str, Callable[[float], float]] = {
    "constant": lambda u: 1.0,
    "linear": lambda u: 1.0 - u,
    # cos(u pi / 2) as a sine: exactly 0 at u = 1. A cos gives 6e-17: the step would count as mixed
    "cosine": lambda u: math.sin((1 - u) * math.pi / 2),
    "exp": lambda u: math.exp(-5.0 * u),
    "leash": lambda u: 1.0,  # within the window; leash.py says what follows it
    "local-leash": lambda u: 1.0,  # and around it: see leash.py
}


def window(n: int, t_max: float, t_m: float, schedule: str = "constant") -> Tensor:
    """Weights (n,) that follow a schedule on steps [n - t_max, n - t_min), t_min = t_max - t_m.

    They are 0 outside. Edges may be fractions: the weight of a step that an edge cuts is multiplied
    by the part of the step that is inside, so that strength is continuous. Whole edges give the
    authors' table (MDP.ipynb).
    """
    _check_window(n, t_max, t_m, schedule)
    start, end = n - t_max, n - (t_max - t_m)
    w = torch.zeros(n, dtype=torch.float64)
    for i in range(math.floor(start), math.ceil(end)):
        share = min(i + 1, end) - max(i, start)
        u = max(i - start, 0) / max(t_m - 1, 1)
        w[i] = share * CURVES[schedule](min(u, 1))
    return w


def few_steps_table(n: int, strength: float = 0.5) -> Weights:
    """The default table (n,) of a model of few steps; a window has too few steps to be one.

    Every step takes a share of its noise from the source, and all but the last pull x to it.
    strength 0 is the source, 0.5 the default, 1 the prompt alone.
    """
    fade, left = max(0.0, 1 - 2 * strength), min(1.0, 2 - 2 * strength)
    usual = FEW_SHARES[max(steps for steps in FEW_SHARES if steps <= n)]
    share = fade + (1 - fade) * usual * left
    pull = torch.full((n,), -math.expm1(-left * FEW_PULL / n), dtype=torch.float64)
    pull[-1] = 0
    return zero_weights(n)._replace(eps=torch.full_like(pull, share), x=pull)


def paper_window(n: int) -> tuple[int, int]:
    """(t_max, t_m) in steps: the authors' 47 and 26 of 50, scaled to n."""
    return round(T_MAX * n), round(T_M * n)


def variant_table(variant: str, w: Tensor) -> Weights:
    """The table of one variant: w (N,) in its column, 0 in the other three."""
    if not isinstance(variant, str) or variant not in VARIANTS:
        raise BadInput(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}", "variant")
    columns = dict.fromkeys(("c", "eps", "x", "beta"), torch.zeros_like(w))
    columns["eps" if variant == "epsilon" else variant] = w
    return Weights(**columns)


def _check_window(n: int, t_max: float, t_m: float, schedule: str) -> None:
    if schedule not in CURVES:
        raise BadInput(f"schedule must be one of {', '.join(CURVES)}, got {schedule!r}", "schedule")
    for name, value in (("t_max", t_max), ("t_m", t_m)):
        if not math.isfinite(value) or value < 0:
            raise BadInput(f"{name} must be a number of steps, 0 or more, got {value}", name)
    if t_max > n:
        raise BadInput(f"t_max must be at most the {n} steps of the path, got {t_max}", "t_max")
    if t_m > t_max:
        raise BadInput(f"t_m must be at most t_max = {t_max}, got {t_m}", "t_m", "t_max")

"""What each inversion promises, on every kind of grid; null-text is in test_null_text.py."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from mdp_lite.editor import Editor
from mdp_lite.method.ddim import ddim
from mdp_lite.method.inversion import invert, replay
from mdp_lite.method.mdp import Guidance, update
from mdp_lite.method.sample import sample, source_step
from mdp_lite.method.schedule import Grid, Weights, ddim_grid
from mdp_lite.models.config import SchedulerConfig
from mdp_lite.pipeline.inversion_methods import METHODS, Inversion
from mdp_lite.pipeline.result import Source
from support.inverting import PROMPT, SETUPS, G, N, double, noise_in, picture, prediction
from support.tables import NOISE
from support.toy import C_A, toy

ALL = [method for method in METHODS if method != "null-text"]
EXACT = [method for method in ALL if METHODS[method].exact]
ALONG = Weights(*torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64))
PICTURE = picture()


@pytest.fixture(scope="module")
def editor(any_editor: Editor) -> Editor:
    """All of this file is for each family of models."""
    return any_editor


class Case(NamedTuple):
    """A model in float64, and what it predicts."""

    editor: Editor
    name: str

    @property
    def v_prediction(self) -> bool:
        return self.editor.runner.v_prediction

    @property
    def zero(self) -> bool:
        return self.name == "v-zero-snr"

    def invert(self, method: str | Inversion, n: int = N, g: float | None = G) -> Source:
        return self.editor.invert(PICTURE, PROMPT, method, n, g)


@pytest.fixture(scope="module", params=SETUPS)
def case(request: pytest.FixtureRequest, editor: Editor) -> Case:
    return Case(double(editor, request.param), request.param)


@pytest.fixture(scope="module")
def epsilon(editor: Editor) -> Case:
    return Case(double(editor), "epsilon")


# --- replay ------------------------------------------------------------------------------------

schedulers = st.builds(
    SchedulerConfig,
    beta_start=st.just(0.00085),
    beta_end=st.just(0.012),
    beta_schedule=st.just("scaled_linear"),
    prediction_type=st.sampled_from(["epsilon", "v_prediction"]),
    timestep_spacing=st.sampled_from(["leading", "trailing", "linspace"]),
    rescale_betas_zero_snr=st.booleans(),
    steps_offset=st.integers(0, 1),
    set_alpha_to_one=st.booleans(),
)


def grid_of(config: SchedulerConfig, n: int) -> Grid:
    """Settings that have no grid of n steps (see test_grid.py) are passed over."""
    try:
        return ddim_grid(config, n)
    except ValueError:
        reject()


@given(config=schedulers, n=st.integers(5, 100), seed=st.integers(0, 2**32), g=st.floats(1, 10))
@settings(deadline=None, derandomize=True, max_examples=80)
def test_replay_ends_at_the_picture(config: SchedulerConfig, n: int, seed: int, g: float) -> None:
    """In the precision that the library has: a denoiser in float32, latents in float64."""
    on, v_prediction = grid_of(config, n), config.prediction_type != "epsilon"
    x = torch.randn(NOISE.shape, generator=torch.Generator().manual_seed(seed)).double()
    guidance = Guidance(C_A.float(), 0 * C_A.float(), torch.tensor(g))
    path = replay(x, list(invert(toy, on, x, guidance, v_prediction)), guidance.c)
    latent, start = path.x[0], 0
    if on.a[0] == 0:  # noise alone leads nowhere: the first step is taken from the source
        latent, start = path.x[1], 1
    for i in range(start, n):
        latent = ddim(latent, path.eps[i], on.a[i], on.b[i])
    assert (latent - x).abs().max() <= 1e-5
    column, zero = torch.ones(n).double(), torch.zeros(n).double()
    weights = Weights(zero, column, zero, zero)
    *_, edit = sample(toy, on, path.x[0], guidance, v_prediction, path, weights)
    assert (edit.x - x).abs().max() <= 1e-5


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("n", [5, 50, pytest.param(100, marks=pytest.mark.slow)])
def test_replay_of_a_model_ends_at_the_picture(editor: Editor, spacing: str, n: int) -> None:
    source = editor.invert(PICTURE, PROMPT, "replay", num_inference_steps=n)
    x = source.path.x[0]
    for eps, a, b in zip(source.path.eps, source.grid.a, source.grid.b, strict=True):
        x = ddim(x, eps, a, b)
    assert (x - editor.runner.encode(PICTURE)).abs().max() <= 1e-5


# --- all methods -------------------------------------------------------------------------------


@pytest.mark.covering(1)
@pytest.mark.parametrize("method", ALL)
def test_a_path_is_whole_and_finite(case: Case, method: str) -> None:
    if case.zero and method == "direct":
        return
    source, shape = case.invert(method), (1, 4, 8, 8)
    path = source.path
    assert path.x.shape == (N + 1, *shape) and path.eps.shape == (N, *shape)
    assert path.null is None and (path.noise is None) == (method != "edit-friendly")
    assert path.noise is None or path.noise.shape == (N, *shape)
    assert all(one.isfinite().all() for one in path if one is not None)
    assert path.x.dtype == path.eps.dtype == torch.float64
    assert torch.equal(path.c, case.editor.runner.condition(PROMPT))
    assert source.method == method and source.tuning == () and source.prompt == PROMPT
    other = case.editor.invert(PICTURE, "a blue boat", method, N, G)
    assert not torch.equal(path.eps, other.path.eps)  # the prompt is read


def test_direct_refuses_to_start_from_noise_alone(case: Case) -> None:
    if case.zero:
        with pytest.raises(ValueError, match=r"direct can't start from noise alone .*take replay"):
            case.invert("direct")
    else:
        assert case.invert("direct").method == "direct"


@pytest.mark.parametrize("method", EXACT)
def test_steps_along_the_noise_lead_along_the_path(case: Case, method: str) -> None:
    source = case.invert(method)
    path, on = source.path, source.grid
    for i in range(N):
        e, coeffs = torch.randn_like(path.x[i]), on.select_step(i)
        source_i = source_step(path, on, i)
        step = update(e, path.x[i], coeffs, source_i, ALONG, case.v_prediction)
        assert (step.x - path.x[i + 1]).abs().max() <= 1e-10
        if coeffs.a > 0:  # Eq. 12 once more, with the noise of eta = 1 where there is any
            x0 = (path.x[i] - (1 - coeffs.a).sqrt() * path.eps[i]) / coeffs.a.sqrt()
            noisy = path.noise is not None
            var = (1 - coeffs.b) / (1 - coeffs.a) * (1 - coeffs.a / coeffs.b) if noisy else 0
            want = coeffs.b.sqrt() * x0 + (1 - coeffs.b - var).sqrt() * path.eps[i]
            want = want + path.noise[i] if path.noise is not None else want
            assert (want - path.x[i + 1]).abs().max() <= 1e-10


@pytest.mark.covering(1)
@pytest.mark.parametrize("method", ["replay", "fixed-point", "direct", "edit-friendly"])
def test_these_end_at_the_picture_and_the_others_drift(case: Case, method: str) -> None:
    x = case.editor.runner.encode(PICTURE)
    if not (case.zero and method == "direct"):
        assert torch.equal(case.invert(method).path.x[-1], x)
    for drifting in ("ddim", "negative-prompt"):
        assert (case.invert(drifting).path.x[-1] - x).abs().max() > 1e-3


@pytest.mark.covering(1)
@pytest.mark.parametrize("g", [1.0, G])
def test_ddim_ends_where_sampling_from_its_noise_does(case: Case, g: float) -> None:
    source, runner = case.invert("ddim", g=g), case.editor.runner
    to = runner.guidance(PROMPT, "", g)
    with torch.no_grad():
        steps = list(sample(runner.unet, source.grid, source.path.x[0], to, case.v_prediction))
    assert torch.equal(steps[-1].x, source.path.x[-1])
    assert torch.equal(source.path.x[0], case.invert("replay", g=None).path.x[0])


# --- fixed-point -------------------------------------------------------------------------------


def residual(case: Case, source: Source) -> float:
    """How far x_i is from where the noise that is predicted at it leads up from x_{i+1}."""
    far = []
    for i in range(N):
        x, below, (t, a, b, *_) = source.path.x[i], source.path.x[i + 1], source.grid.select_step(i)
        if a == 0:
            continue  # all of x_0 is noise: any one is where it leads
        _, eps = noise_in(prediction(case.editor, x, t, PROMPT, "", 1.0), x, a, case.v_prediction)
        x0 = (below - (1 - b).sqrt() * eps) / b.sqrt()
        far.append(float((a.sqrt() * x0 + (1 - a).sqrt() * eps - x).norm()))
    return max(far)


def drift(case: Case, source: Source) -> float:
    """How far from the picture sampling without guidance ends."""
    runner = case.editor.runner
    to = runner.guidance(PROMPT, "", 1.0)
    with torch.no_grad():
        *_, end = sample(runner.unet, source.grid, source.path.x[0], to, case.v_prediction)
    return float((end.x - runner.encode(PICTURE)).norm())


@pytest.mark.representative("SD-v")
def test_more_iterations_come_nearer_to_the_fixed_point(case: Case) -> None:
    sources = [case.invert(Inversion("fixed-point", iterations=k), g=None) for k in (1, 2, 4, 20)]
    for far in (residual, drift):
        first, second, third, last = (far(case, source) for source in sources)
        assert first > second > third > last
    assert residual(case, sources[-1]) < 1e-2 * residual(case, sources[0])


def test_one_iteration_is_replay(case: Case) -> None:
    for g in (None, G):
        one = case.invert(Inversion("fixed-point", iterations=1), g=g)
        other = case.invert("replay", g=g)
        assert torch.equal(one.path.x, other.path.x) and torch.equal(one.path.eps, other.path.eps)
        assert one.cost == other.cost


# --- negative-prompt, direct, edit-friendly ----------------------------------------------------


def test_the_prompt_as_the_negative_one_needs_no_guidance(case: Case) -> None:
    source, runner = case.invert("negative-prompt"), case.editor.runner
    assert source.guidance_scale == G and source.negative_prompt == PROMPT
    assert source.cost == (2 * N, 2 * N, 0)
    to = runner.guidance(PROMPT, "", 1.0)
    with torch.no_grad():
        plain = list(sample(runner.unet, source.grid, source.path.x[0], to, case.v_prediction))
    assert torch.equal(plain[-1].x, source.path.x[-1])


def test_edits_take_the_source_prompt_for_the_negative_one(case: Case) -> None:
    source, edit = case.invert("negative-prompt"), case.editor.edit
    free = edit(source, PROMPT, t_max=0, t_m=0)
    assert free.cost.unet_rows == 0 and torch.equal(free.latent, source.path.x[-1])
    made = edit(source, "a blue boat", t_max=0, t_m=0)
    asked = edit(source, "a blue boat", t_max=0, t_m=0, guidance_scale=G, negative_prompt=PROMPT)
    assert made.guidance_scale == G and torch.equal(made.latent, asked.latent)
    bare = edit(source, "a blue boat", t_max=0, t_m=0, negative_prompt="")
    assert not torch.equal(bare.latent, made.latent)


def test_direct_is_algorithm_1_of_pnp_inversion(case: Case) -> None:
    """Ju et al., arXiv 2310.01506: offsets put the source branch back onto the inversion's path."""
    if case.zero:
        return
    source, pivots = case.invert("direct"), case.invert("replay", g=None).path.x
    z = pivots[0]
    for i in range(N):
        t, a, b, *_ = source.grid.select_step(i)
        x0, eps = noise_in(prediction(case.editor, z, t, PROMPT, "", G), z, a, case.v_prediction)
        assert (source.path.eps[i] - eps).abs().max() <= 1e-10
        z = b.sqrt() * x0 + (1 - b).sqrt() * eps
        offset = pivots[i + 1] - z
        assert offset.norm() > 1e-3  # there is something to put right
        z = z + offset
        assert (source.path.x[i + 1] - z).abs().max() <= 1e-10
    assert source.cost == (3 * N, 2 * N, 0)


def test_an_edit_is_not_given_the_offset_of_direct(case: Case) -> None:
    if case.zero:
        return
    source, edit = case.invert("direct"), case.editor.edit
    zero, one = torch.zeros(N).double(), torch.ones(N).double()
    along = edit(source, "a blue boat", weights=Weights(zero, one, zero, zero))
    assert {one.kind for one in along.plan.segments} == {"along"} and along.cost.unet_rows == 0
    x, (path, on) = source.path.x[0], (source.path, source.grid)
    for i in range(N):
        x = ddim(x, path.eps[i], on.a[i], on.b[i])
    assert (along.latent - x).abs().max() <= 1e-10
    assert (along.latent - path.x[-1]).abs().max() > 1e-3
    put_back = edit(source, "a blue boat", weights=Weights(zero, one, one, zero))
    assert torch.equal(put_back.latent, path.x[-1])


def test_edit_friendly_noise_is_the_papers(case: Case) -> None:
    """Huberman-Spiegelglas et al., arXiv 2304.06140, Eqs. 3 to 6: DDPM's posterior, eta = 1."""
    source = case.invert("edit-friendly")
    path, x = source.path, case.editor.runner.encode(PICTURE)
    noises = torch.randn(N, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    assert path.noise is not None
    for i in range(N):
        t, a, b, *_ = source.grid.select_step(i)
        at = a.sqrt() * x + (1 - a).sqrt() * noises[i]  # noises that know nothing of each other
        assert (path.x[i] - at).abs().max() <= 1e-10
        x0, eps = noise_in(prediction(case.editor, at, t, PROMPT, "", G), at, a, case.v_prediction)
        assert (path.eps[i] - eps).abs().max() <= 1e-10
        sigma = ((1 - b) / (1 - a) * (1 - a / b)).sqrt()
        z = (path.x[i + 1] - b.sqrt() * x0 - (1 - b - sigma**2).sqrt() * eps) / sigma
        assert (path.noise[i] / sigma - z).abs().max() <= 1e-8
    assert torch.equal(path.x[-1], x)
    assert source.cost == (2 * N, N, 0)

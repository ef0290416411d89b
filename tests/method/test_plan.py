"""Plans lead where all N steps lead, in fewer rows: what is saved, and that it is the same."""

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mdp_lite.method.execute import EditTask, build_tree, tree_cost
from mdp_lite.method.mdp import Guidance
from mdp_lite.method.plan import EditFacts, naive_plan, plan
from mdp_lite.method.sample import Trajectory
from mdp_lite.method.schedule import (
    CURVES,
    Grid,
    Weights,
    ddim_grid,
    variant_table,
    window,
    zero_weights,
)
from mdp_lite.models.config import SchedulerConfig
from mdp_lite.models.unet import UNet
from mdp_lite.names import VARIANTS
from mdp_lite.pipeline.plan_text import describe_plan
from support.tables import (
    KINDS,
    NOISE,
    RandomEdits,
    count_rows,
    edits,
    final_latents,
    guidance_of,
    naive,
    relative_error,
    source,
)
from support.toy import C_A, C_B, NULL, SETUPS, grid, random_unet, toy

BOUND = 1e-10
predictions = pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
quiet = settings(
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # a failure is shown as it is: no time to shrink it
    max_examples=12,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
many = settings(quiet, max_examples=400, derandomize=False)


def compare(random: RandomEdits, unet: object, max_rows: int) -> None:
    """Plans against loops: equal latents, as many rows as stated, never more."""
    rows: list[int] = []
    got = final_latents(count_rows(unet, rows), random.tasks, random.v_prediction, max_rows)
    planned: list[int] = []
    for task, x in zip(random.tasks, got, strict=True):
        every_row: list[int] = []
        want = naive(count_rows(unet, every_row), task, random.v_prediction)
        assert x.isfinite().all()
        assert relative_error(x, want) <= BOUND
        assert task.plan.unet_rows <= sum(every_row)
        planned.append(task.plan.unet_rows)
    assert sum(rows) == tree_cost(build_tree(random.tasks))[0] <= sum(planned)
    assert not max_rows or max([0, *rows]) <= max(max_rows, 3)


@pytest.mark.covering(1)
@predictions
@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@quiet
def test_a_plan_leads_where_all_steps_lead(prediction: str, kind: str, data: st.DataObject) -> None:
    random = data.draw(edits(toy, NOISE, 8, 2, prediction, kind))
    compare(random, toy, data.draw(st.sampled_from([0, 4, 64])))


@pytest.mark.slow
@predictions
@given(data=st.data())
@many
def test_many_plans_lead_where_all_steps_lead(prediction: str, data: st.DataObject) -> None:
    random = data.draw(edits(toy, NOISE, 25, 4, prediction))
    compare(random, toy, data.draw(st.sampled_from([0, 4, 64])))


@pytest.fixture(scope="module")
def unet() -> UNet:
    return random_unet().double()


@predictions
@given(data=st.data())
@settings(quiet, max_examples=8)
def test_so_do_plans_on_a_unet(unet: UNet, prediction: str, data: st.DataObject) -> None:
    compare(data.draw(edits(unet, NOISE, 5, 2, prediction)), unet, data.draw(st.sampled_from([0])))


@pytest.mark.slow
@predictions
@given(data=st.data())
@settings(many, max_examples=60)
def test_so_do_many_plans_on_a_unet(unet: UNet, prediction: str, data: st.DataObject) -> None:
    random = data.draw(edits(unet, NOISE, 12, 3, prediction))
    compare(random, unet, data.draw(st.sampled_from([0, 16])))


def ends_on_itself(n: int = 50) -> Grid:
    """A grid whose last step is the identity, as the published code's."""
    config = SchedulerConfig(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=0,
        set_alpha_to_one=False,
    )  # fmt: skip
    return ddim_grid(config, n)


def rows_of(tasks: list[EditTask]) -> list[int]:
    """UNet rows of each call, counted by the denoiser."""
    rows: list[int] = []
    final_latents(count_rows(toy, rows), tasks, False)
    return rows


def task(weights: Weights, facts: EditFacts, path: Trajectory, g: float = 7.5) -> EditTask:
    on = ends_on_itself(len(weights.eps))
    return EditTask(on, guidance_of(C_B, g), path, weights, plan(weights, on, facts))


def epsilon_task(path: Trajectory, to: Guidance, t_max: float, t_m: float) -> EditTask:
    """An edit with a window, of 50 steps; edits with the same object as guidance share steps."""
    weights = variant_table("epsilon", window(50, t_max, t_m))
    return task(weights, EditFacts(), path)._replace(guidance=to)


@pytest.mark.parametrize(
    ("variant", "own", "rows"),
    [("epsilon", 0, 46), ("x", 0, 40), ("c", 0, 98), ("beta", 0, 98)]
    + [("epsilon", 1, 46), ("x", 1, 40), ("c", 1, 98), ("beta", 1, 98)],
)
def test_the_default_edit_costs_what_it_must(variant: str, own: bool, rows: int) -> None:
    """Counted by the denoiser, at N = 50, g = 7.5 and the authors' window 47/26."""
    path = source(toy, ends_on_itself(), NOISE, guidance_of(C_A, 7.5), own, False)
    one = task(variant_table(variant, window(50, 47, 26)), EditFacts(own_noise=own), path)
    assert sum(rows_of([one])) == one.plan.unet_rows == rows
    assert one.plan.unet_calls == rows // 2


def test_a_sweep_of_the_authors_windows() -> None:
    """Six windows of MDP.ipynb: t_max 49, 48, 47 with t_m 25, 26."""
    path = source(toy, ends_on_itself(), NOISE, guidance_of(C_A, 7.5), False, False)
    to = guidance_of(C_B, 7.5)
    pairs = [(t_max, t_m) for t_max in (49, 48, 47) for t_m in (25, 26)]
    tasks = [epsilon_task(path, to, *pair) for pair in pairs]
    assert len(rows_of(tasks)) <= 138


def test_a_grid_of_77_windows() -> None:
    path = source(toy, ends_on_itself(), NOISE, guidance_of(C_A, 7.5), False, False)
    to = guidance_of(C_B, 7.5)
    pairs = [(t_max, t_m) for t_max in range(44, 51) for t_m in range(20, 31)]
    tasks = [epsilon_task(path, to, *pair) for pair in pairs]
    assert len(tasks) == 77
    rows: list[int] = []
    latents = final_latents(count_rows(toy, rows), tasks, False)
    assert sum(rows) <= 3250
    for one, x in list(zip(tasks, latents, strict=True))[::11]:
        assert relative_error(x, naive(toy, one, False)) <= BOUND


@pytest.mark.parametrize("own", [False, True])
def test_the_sources_own_prompt_is_the_source_for_free(own: bool) -> None:
    weights = zero_weights(50)
    path = source(toy, ends_on_itself(), NOISE, guidance_of(C_A, 7.5), own, False)
    same = task(weights, EditFacts(same_condition=True, own_noise=own), path)
    same = same._replace(guidance=guidance_of(C_A, 7.5))
    assert same.plan.unet_rows == (0 if own else 98)
    if own:
        assert torch.equal(final_latents(toy, [same], False)[0], path.x[-1])


@pytest.mark.parametrize("variant", ["c", "beta"])
def test_a_null_row_that_is_the_target_still_guides_away_from_it(variant: str) -> None:
    """The target's prompt is the negative one, but what is asked for is a mixture."""
    path = source(toy, ends_on_itself(), NOISE, guidance_of(C_A, 7.5), False, False)
    weights = variant_table(variant, 0.5 * window(50, 50, 25))
    one = task(weights, EditFacts(null_is_c=True), path)._replace(guidance=guidance_of(NULL, 7.5))
    assert [len(step.reads) for step in one.plan.segments[:25]] == [2 if variant == "c" else 3] * 25
    assert [step.reads for step in one.plan.segments[25:-1]] == [("c",)] * 24
    assert relative_error(final_latents(toy, [one], False)[0], naive(toy, one, False)) <= BOUND


def test_maps_of_the_same_numbers_and_other_shapes_are_not_equal() -> None:
    """Shares of the rows of a square latent, and of its columns, are one row of bytes."""
    path = source(toy, ends_on_itself(6), NOISE, guidance_of(C_A, 7.5), False, False)
    shares, to = torch.linspace(0.1, 0.9, 4).double(), guidance_of(C_B, 7.5)
    tasks = []
    for shape in ((1, 1, 4, 1), (1, 1, 1, 4), (1, 4, 1, 1)):
        eps = shares.reshape(shape).expand(6, *shape)
        one = task(zero_weights(6)._replace(eps=eps), EditFacts(), path)
        tasks.append(one._replace(guidance=to))
    for one, x in zip(tasks, final_latents(toy, tasks, False), strict=True):
        assert relative_error(x, naive(toy, one, False)) <= BOUND


def test_a_thousand_steps_of_carrying_are_one_segment() -> None:
    weights = variant_table("epsilon", window(1000, 990, 980))
    copies = (Weights(*(w.clone() for w in weights[:4])) for _ in "ab")
    one, other = (plan(copy, ends_on_itself(1000)) for copy in copies)
    assert len(one.segments) == 21 and one.unet_rows == 38
    assert one.segments == other.segments and len({*one.segments, *other.segments}) == 21


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("schedule", CURVES)
@pytest.mark.parametrize("n", [1, 2])
def test_the_shortest_grids(variant: str, schedule: str, n: int) -> None:
    for t_max in (0, 0.5, 1, n):
        for g in (1.0, 7.5):
            path = source(toy, grid(SETUPS["epsilon"], n), NOISE, guidance_of(C_A, g), True, False)
            weights = variant_table(variant, window(n, t_max, t_max / 2, schedule))
            on, to = grid(SETUPS["epsilon"], n), guidance_of(C_B, g)
            one = EditTask(
                on, to, path, weights, plan(weights, on, EditFacts(g != 1, own_noise=True))
            )
            assert (
                relative_error(final_latents(toy, [one], False)[0], naive(toy, one, False)) <= BOUND
            )


def test_no_source_is_all_calls() -> None:
    weights = zero_weights(5)
    assert naive_plan(weights, True).unet_rows == 10 and naive_plan(weights, False).unet_rows == 5
    assert naive_plan(weights, True).unet_calls == 5
    assert [one.start for one in naive_plan(zero_weights(3), False).segments] == [0, 1, 2]


def test_a_plan_is_described_in_lines() -> None:
    one = plan(variant_table("epsilon", window(50, 47, 26)), ends_on_itself())
    assert describe_plan(one) == [
        "steps 0 to 2: 3 calls of 2 UNet rows each (null + c)",
        "steps 3 to 28: the difference from the source is scaled, no UNet call",
        "steps 29 to 48: 20 calls of 2 UNet rows each (null + c)",
        "step 49: the difference from the source is scaled, no UNet call",
        "46 UNet rows in 23 calls",
    ]

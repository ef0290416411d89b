"""Guidance directions that move from step to step: the equation, the rows, every kind of edit."""

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from mdp_lite.method.execute import EditTask, build_tree, tree_cost
from mdp_lite.method.inversion import predict_along
from mdp_lite.method.mdp import Denoiser, guide, move_direction
from mdp_lite.method.plan import EditFacts, Plan, Segment, plan
from mdp_lite.method.sample import Trajectory, record, sample
from mdp_lite.method.schedule import Weights, variant_table, window, zero_weights
from mdp_lite.names import VARIANTS
from mdp_lite.pipeline.plan_text import describe_plan
from support.tables import (
    NOISE,
    count_rows,
    edits,
    final_latents,
    guidance_of,
    naive,
    relative_error,
)
from support.toy import C_A, C_B, NULL, SETUPS, Setup, grid, random, toy

N, G = 10, 7.5
EPSILON = SETUPS["epsilon"]
UNKNOWN = EditFacts()
setups = pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
quiet = settings(
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def sampled(setup: Setup = EPSILON, c: Tensor = C_A) -> Trajectory:
    """A sampled source of N steps with its directions."""
    to, v_prediction = guidance_of(c, G), setup[0] != "epsilon"
    steps = list(sample(toy, grid(setup, N), NOISE, to, v_prediction))
    return record(NOISE, steps, c, directed=True)


def task(
    path: Trajectory, weights: Weights, every: int, setup: Setup = EPSILON,
    facts: EditFacts = UNKNOWN, c: Tensor = C_B,
) -> EditTask:  # fmt: skip
    on = grid(setup, N)
    return EditTask(on, guidance_of(c, G), path, weights, plan(weights, on, facts, every))


def reads_of(made: Plan) -> list[tuple[str, ...]]:
    return [one.reads for one in made.segments if one.kind == "call"]


def end_of(one: EditTask, v_prediction: bool = False) -> Tensor:
    return final_latents(toy, [one], v_prediction)[0]


def test_a_direction_moves_as_the_sources_does() -> None:
    d, own = random(20, 1, 4, 3, 5), random(22, 3, 1, 4, 3, 5)
    assert torch.equal(move_direction(d, None, 2), d)
    assert (move_direction(d, own, 2) - (d + own[2] - own[1])).abs().max() <= 1e-15


def test_the_null_row_follows_from_the_direction() -> None:
    e, e_source, d = random(21, 3, 1, 4, 3, 5)
    g, w, q = torch.tensor([G, 0.3, 0.7], dtype=torch.float64)
    plain = guide(e, False, g, d=d)
    assert (plain - (e + (G - 1) * d)).abs().max() <= 1e-13
    mixed = guide(torch.cat([e, e_source]), False, g, w, d=d)  # d is that of e, whatever w is
    want = e - d + G * (0.7 * e + 0.3 * e_source - (e - d))
    assert (mixed - want).abs().max() <= 1e-13
    three = torch.cat([e - d, e, e_source])
    for rest in ((None, q), (w, None), (w, q), (w, q, w)):
        kept = three[1:] if rest[0] is not None else three[1:2]
        want = guide(three[: 1 + len(kept)], True, g, *rest)
        tilt = rest[2] if len(rest) > 2 else None
        assert (guide(kept, False, g, *rest[:2], tilt, d) - want).abs().max() <= 1e-13


def test_every_second_step_by_hand() -> None:
    """DDIM written out: odd steps ask one row."""
    path, on = sampled(), grid(EPSILON, N)
    assert path.direction is not None
    x, d = NOISE, torch.zeros_like(NOISE)
    for i in range(N):
        t, a, b = on.t[i], on.a[i], on.b[i]
        e = toy(x, t, C_B)
        if i % 2 == 0:
            d = e - toy(x, t, NULL)
        else:
            d = d + path.direction[i] - path.direction[i - 1]
        eps = e + (G - 1) * d
        x = b.sqrt() * (x - (1 - a).sqrt() * eps) / a.sqrt() + (1 - b).sqrt() * eps
    one = task(path, zero_weights(N), 2)
    assert relative_error(end_of(one), x) <= 1e-13
    assert reads_of(one.plan) == [("null", "c"), ("c",)] * 5
    assert relative_error(end_of(task(path, zero_weights(N), 1)), x) > 1e-3


@setups
def test_recorded_directions_are_those_along_the_path(setup: Setup) -> None:
    path, v_prediction, on = sampled(setup), setup[0] != "epsilon", grid(setup, N)
    along = list(predict_along(toy, on, path.x, guidance_of(C_A, G), v_prediction))
    assert path.direction is not None and path.direction.shape == path.eps.shape
    again = record(NOISE, along, C_A, directed=True).direction
    assert again is not None and (again - path.direction).abs().max() <= 1e-14
    for i in range(N):
        want = toy(path.x[i], on.t[i], C_A) - toy(path.x[i], on.t[i], NULL)
        assert (path.direction[i] - want).abs().max() <= 1e-14
    assert record(NOISE, along, C_A).direction is None  # recorded only if asked for


@setups
@pytest.mark.parametrize("every", [2, 3, N])
def test_towards_the_sources_own_prompt_nothing_is_lost(setup: Setup, every: int) -> None:
    """Where the edit is the source, its direction moves exactly as the source's does."""
    path, v_prediction = sampled(setup), setup[0] != "epsilon"
    one = task(path, zero_weights(N), every, setup, c=C_A)
    assert one.plan.unet_rows == 2 * N - (N - -(-N // every))
    assert relative_error(end_of(one, v_prediction), path.x[-1]) <= 1e-12
    kept = one._replace(source=path._replace(direction=None))
    assert relative_error(end_of(kept, v_prediction), path.x[-1]) > 1e-3


@pytest.mark.parametrize(
    ("every", "want"), [(1, "2222222222"), (2, "2121212121"), (3, "2112112112"), (99, "2111111111")]
)
def test_every_kth_call_asks_the_null_row(every: int, want: str) -> None:
    made = plan(zero_weights(N), grid(EPSILON, N), UNKNOWN, every)
    assert "".join(str(len(reads)) for reads in reads_of(made)) == want
    assert made.unet_rows == sum(map(int, want)) and made.unet_calls == N


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_call_after_a_closed_form_or_another_condition_asks_all(variant: str) -> None:
    """Steps 0 to 2 are before the window, 3 to 5 in it, 6 to 9 after it."""
    on, w = grid(EPSILON, N), 0.5 if variant == "beta" else 1.0
    weights = variant_table(variant, w * window(N, 7, 3))
    got = [(one.start, one.reads) for one in plan(weights, on, UNKNOWN, 2).segments]
    guided = ("null", "c"), ("c",), ("null", "c")
    after = [(6, guided[0]), (7, guided[1]), (8, guided[0]), (9, guided[1])]
    if variant == "beta":  # the edit's own direction goes on through the window
        inside = [(3, ("c", "source")), (4, ("null", "c", "source")), (5, ("c", "source"))]
    elif variant == "c":
        inside = [(3, ("null", "source")), (4, ("source",)), (5, ("null", "source"))]
    elif variant == "x":
        assert got == [(0, ()), *after]  # nothing before its end matters
        return
    else:
        inside = [(3, ())]
    assert got == [*enumerate(guided), *inside, *after]


def test_a_mixture_of_conditions_that_changes_asks_all() -> None:
    weights = zero_weights(N)._replace(c=torch.linspace(0.1, 0.9, N).double())
    assert plan(weights, grid(EPSILON, N), UNKNOWN, 2).unet_rows == 2 * N
    weights.c[4:7] = 0.5
    reads = reads_of(plan(weights, grid(EPSILON, N), UNKNOWN, 2))
    assert [i for i, one in enumerate(reads) if len(one) == 1] == [5]


def test_without_a_null_row_there_is_nothing_to_leave_out() -> None:
    for facts in (EditFacts(guided=False), EditFacts(null_is_c=True)):
        made = [plan(zero_weights(N), grid(EPSILON, N), facts, every) for every in (1, 2, 5)]
        assert made[0] == made[1] == made[2] and made[0].unet_rows == N


def test_plans_that_reuse_are_described_in_one_line_each_run() -> None:
    weights = variant_table("epsilon", window(N, 7, 3))
    assert describe_plan(plan(weights, grid(EPSILON, N), UNKNOWN, 2)) == [
        "steps 0 to 2: 3 calls of 2 UNet rows each (null + c), 1 of them without null",
        "steps 3 to 5: the difference from the source is scaled, no UNet call",
        "steps 6 to 9: 4 calls of 2 UNet rows each (null + c), 2 of them without null",
        "11 UNet rows in 7 calls",
    ]


def reusing(unet: Denoiser, one: EditTask) -> Denoiser:
    """The UNet with every null row that the plan leaves out replaced by e - d, in all its steps."""
    calls = {s.start: s for s in one.plan.segments if s.kind == "call"}
    last: list[Tensor] = []

    def call(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        i = int((one.grid.t == t).nonzero()[0])
        out = unet(x, t, c)
        segment = calls.get(i)
        if segment is None or not (segment.reuses or "null" in segment.reads):
            return out
        rows, own = list(out.chunk(len(x))), one.source.direction
        towards = segment.reads[0 if segment.reuses else 1]
        e = rows[2] if towards == "source" and len(rows) == 3 else rows[1]
        if segment.reuses:
            moved = 0 if own is None else own[i] - own[i - 1]
            rows[0] = e - (last[0] + moved)
        last[:] = [e - rows[0]]
        return torch.cat(rows)

    return call


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@given(data=st.data())
@quiet
def test_plans_lead_where_all_steps_lead_with_that_null_row(
    prediction: str, data: st.DataObject
) -> None:
    """Of every kind of source and table, alone and as one tree: to the bit the same."""
    drawn = data.draw(edits(toy, NOISE, 8, 3, prediction))
    every, directed = data.draw(st.integers(2, 4)), data.draw(st.booleans())
    tasks = [reuse(one, every, directed, drawn.v_prediction) for one in drawn.tasks]
    shared = [one._replace(source=tasks[0].source) for one in tasks]
    rows: list[int] = []
    together = final_latents(count_rows(toy, rows), shared, drawn.v_prediction)
    assert sum(rows) == tree_cost(build_tree(shared))[0]
    for one, x in zip(shared, together, strict=True):
        assert torch.equal(x, final_latents(toy, [one], drawn.v_prediction)[0])
        want = naive(reusing(toy, one), one, drawn.v_prediction)
        assert relative_error(x, want) <= 1e-9
    batched = final_latents(count_rows(toy, []), shared, drawn.v_prediction, 64)
    assert all(relative_error(a, b) <= 1e-10 for a, b in zip(batched, together, strict=True))


def reuse(one: EditTask, every: int, directed: bool, v_prediction: bool) -> EditTask:
    """The task on a source with directions or without, by a plan that leaves null rows out."""
    source, segments = one.source, one.plan.segments
    if directed:
        along = predict_along(toy, one.grid, source.x, guidance_of(source.c, G), v_prediction)
        found = record(source.x[0], list(along), source.c, directed=True)
        source = source._replace(direction=found.direction)
    facts = EditFacts(guided=one.guidance.null is not None, exact=False)  # true of every source
    made = plan(one.weights, one.grid, facts, every)
    assert isinstance(segments[0], Segment) and made.n == one.plan.n
    return one._replace(source=source, plan=made)

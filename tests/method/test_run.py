"""Running plans as a tree: what is shared, in which order, how much is held, and whose memory."""

import gc
import time
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from mdp_lite.method.execute import Reached, Task, cost, run, tree
from mdp_lite.method.plan import Known, plan
from mdp_lite.method.sample import Path, record, walk, zero_weights
from mdp_lite.names import VARIANTS, Grid, Weights, table, window
from support.tables import (
    KINDS,
    NOISE,
    apart,
    conditions,
    counted,
    naive,
    nulls,
    reached,
    source,
    source_of,
)
from support.toy import C_A, C_B, NULL, SETUPS, grid, random, toy

setups = pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)


@pytest.fixture(scope="module")
def path() -> Path:
    """A sampled source of ten steps."""
    return source(toy, grid(SETUPS["epsilon"], 10), NOISE, conditions(C_A, 7.5), True, False)


def task(path: Path, weights: Weights, to: object = None, own: bool = False) -> Task:
    on, to = grid(SETUPS["epsilon"], len(weights.eps)), to or conditions(C_B, 7.5)
    return Task(on, to, path, weights, plan(weights, on, Known(own=own)))


@setups
@pytest.mark.parametrize("g", [1.0, 7.5])
def test_no_weight_is_plain_sampling_to_the_bit(setup: tuple[str, bool], g: float) -> None:
    on, v = grid(setup, 10), setup[0] != "epsilon"
    sampled, to = source(toy, on, NOISE, conditions(C_A, g), True, v), conditions(C_B, g)
    plain = record(NOISE, list(walk(toy, on, NOISE, to, v=v)), to.c)
    known = Known(guided=g != 1, own=True)
    edit = Task(on, to, sampled, zero_weights(10), plan(zero_weights(10), on, known))
    steps = [legs[0].step for legs in run(toy, tree([edit]), v)]
    assert torch.equal(torch.stack([step.x for step in steps]), plain.x[1:])
    assert torch.equal(torch.stack([step.eps for step in steps]), plain.eps)


@setups
def test_so_it_is_with_a_null_row_for_every_step(setup: tuple[str, bool]) -> None:
    on, v = grid(setup, 10), setup[0] != "epsilon"
    tuned = source_of("tuned", toy, on, NOISE, conditions(C_A, 7.5), v)
    to, x = conditions(C_B, 7.5)._replace(null=nulls(10)), NOISE
    edit = Task(on, to, tuned, zero_weights(10), plan(zero_weights(10), on, Known(own=True)))
    steps = [legs[0].step for legs in run(toy, tree([edit]), v)]
    for i, step in enumerate(steps):  # each step is sampling's with that null row alone
        one = to._replace(null=nulls(10)[i])
        x = next(walk(toy, Grid(*(column[i : i + 1] for column in on)), x, one, v=v)).x
        assert torch.equal(step.x, x)
    plain = conditions(C_B, 7.5)
    assert apart(steps[-1].x, list(walk(toy, on, NOISE, plain, v=v))[-1].x) > 1e-3


@setups
@pytest.mark.parametrize("kind", KINDS)
def test_the_source_latent_at_the_end_is_the_source_and_free(
    setup: tuple[str, bool], kind: str
) -> None:
    on, v, rows = grid(setup, 10), setup[0] != "epsilon", []
    kind = "inverted" if kind == "direct" and on.a[0] == 0 else kind
    sampled = source_of(kind, toy, on, NOISE, conditions(C_A, 7.5), v)
    to = conditions(C_B, 7.5)
    weights = Weights(*torch.rand(4, 10, generator=torch.Generator().manual_seed(0)).double())
    weights.x[-1] = 1
    edit = Task(on, to, sampled, weights, plan(weights, on))
    assert torch.equal(reached(counted(toy, rows), [edit], v)[0], sampled.x[-1])
    assert rows == [] and edit.plan.unet_rows == 0


@setups
def test_from_the_first_step_on_the_four_variants_are_one_and_cost_one(
    setup: tuple[str, bool],
) -> None:
    """At t_max = N all follow the source until the window ends: to the bit, and computed once."""
    on, v, rows = grid(setup, 10), setup[0] != "epsilon", []
    sampled, to = source(toy, on, NOISE, conditions(C_A, 7.5), True, v), conditions(C_B, 7.5)
    tables = [table(variant, window(10, 10, 6)) for variant in VARIANTS]
    tasks = [Task(on, to, sampled, w, plan(w, on, Known(own=True))) for w in tables]
    first, *others = reached(counted(toy, rows), tasks, v)
    assert all(torch.equal(first, other) for other in others)
    assert sum(rows) == 8
    for one in tasks:
        assert apart(first, naive(toy, one, v)) <= 1e-10


def test_what_edits_have_in_common_is_computed_once(path: Path) -> None:
    to = conditions(C_B, 7.5)
    tasks = [task(path, table("epsilon", window(10, 8, m)), to) for m in (3, 3, 5)]
    alone = [one.plan.unet_rows for one in tasks]
    rows: list[int] = []
    got = reached(counted(toy, rows), tasks, False)
    # Twice the same edit; the third shares the two steps before the window.
    assert sum(rows) == cost(tree(tasks))[0] == alone[0] + alone[2] - 4
    for one, x in zip(tasks, got, strict=True):
        assert torch.equal(x, reached(toy, [one], False)[0])


def test_edits_towards_other_prompts_or_from_other_sources_share_nothing(path: Path) -> None:
    weights = table("epsilon", window(10, 8, 3))
    other = source(toy, grid(SETUPS["epsilon"], 10), -NOISE, conditions(C_A, 7.5), True, False)
    tasks = [
        task(path, weights, conditions(C_B, 7.5)),
        task(path, weights, conditions(NULL, 7.5)),
        task(other, weights, conditions(C_B, 7.5)),
    ]
    assert cost(tree(tasks))[0] == sum(one.plan.unet_rows for one in tasks)
    for one, x in zip(tasks, reached(toy, tasks, False), strict=True):
        assert apart(x, naive(toy, one, False)) <= 1e-10


@pytest.mark.parametrize("most", [0, 1, 2, 5, 6, 100])
def test_calls_are_filled_up_to_the_most(path: Path, most: int) -> None:
    """Unlike edits go together, of unlike sizes too: those between them don't end a call."""
    small = source(
        toy, grid(SETUPS["epsilon"], 10), random(1, 1, 4, 3, 2), conditions(C_A, 7.5), True, False
    )
    tasks = [
        task([path, small][i % 2], table(variant, 0.5 * window(10, 8, 3)), conditions(C_B, 7.5))
        for i, variant in enumerate((*VARIANTS, *VARIANTS))
    ]
    rows: list[int] = []
    got = reached(counted(toy, rows), tasks, False, most)
    assert max(rows) <= max(most, 3) and sum(rows) == cost(tree(tasks))[0]
    if most == 100:
        assert len(rows) == 20  # two sizes, in step
    for one, x in zip(tasks, got, strict=True):
        assert apart(x, naive(toy, one, False)) <= 1e-10


def held(steps: Iterator[list[Reached]], count: list[int]) -> None:
    """Note after every tick how many of all steps so far are still alive."""
    seen: list[weakref.ref[Tensor]] = []
    for legs in steps:
        seen += [weakref.ref(one.step.x) for one in legs]
        del legs
        count.append(sum(ref() is not None for ref in seen))


def test_a_step_is_let_go_when_no_leg_starts_from_it(path: Path) -> None:
    count: list[int] = []
    held(run(toy, tree([task(path, zero_weights(10))])), count)
    assert len(count) == 10 and max(count) == 1
    tasks = [task(path, table("x", 0.5 * window(10, 8, m))) for m in (3, 4, 5)]
    count = []
    held(run(toy, tree(tasks)), count)
    assert max(count) <= 4  # where each of three edits is, and the step just taken
    assert count[-1] == 1


def test_a_loop_that_is_left_holds_nothing(path: Path) -> None:
    steps = run(toy, tree([task(path, zero_weights(10)), task(path, table("c", window(10, 9, 3)))]))
    alive = [weakref.ref(next(steps)[0].step.x) for _ in range(5)]
    steps.close()
    gc.collect()
    assert [ref() for ref in alive] == [None] * 5


def test_the_result_is_not_the_sources_memory(path: Path) -> None:
    weights = table("x", window(10, 10, 10))
    kept = path.x.clone()
    reached(toy, [task(path, weights)], False)[0].zero_()
    assert torch.equal(path.x, kept)


def test_thousands_of_legs_take_no_time_of_their_own(path: Path) -> None:
    """A call that costs nothing: 500 branches of 10 steps in seconds."""

    def idle(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        return x

    to, on = conditions(C_B, 1.0), grid(SETUPS["epsilon"], 10)
    steps = plan(zero_weights(10), on, Known(guided=False))
    tasks = []
    for i in range(500):
        weights = zero_weights(10)
        weights.eps[0] = (i + 1) / 2000
        tasks.append(Task(on, to, path, weights, plan(weights, on, Known(guided=False))))
    nodes = tree(tasks)
    assert len(nodes) == 5000 and steps.unet_rows == 10
    started = time.process_time()
    ticks = sum(1 for _ in run(idle, nodes, most=1000))
    assert ticks == 10
    assert time.process_time() - started < 10

"""Executing plans as a tree: what edits share, in which order, and what memory stays in use."""

import gc
import time
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from mdp_lite.method.execute import EditTask, SegmentEnd, build_tree, execute, tree_cost
from mdp_lite.method.mdp import Guidance
from mdp_lite.method.plan import EditFacts, plan
from mdp_lite.method.sample import Trajectory, record, sample
from mdp_lite.method.schedule import Weights, variant_table, window, zero_weights
from mdp_lite.names import VARIANTS
from support.tables import (
    KINDS,
    NOISE,
    count_rows,
    final_latents,
    guidance_of,
    naive,
    nulls,
    relative_error,
    source,
    source_of,
)
from support.toy import C_A, C_B, NULL, SETUPS, grid, random, toy

setups = pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)


@pytest.fixture(scope="module")
def path() -> Trajectory:
    """A sampled source of ten steps."""
    return source(toy, grid(SETUPS["epsilon"], 10), NOISE, guidance_of(C_A, 7.5), True, False)


def task(
    path: Trajectory, weights: Weights, to: Guidance | None = None, own: bool = False
) -> EditTask:
    on, to = grid(SETUPS["epsilon"], len(weights.eps)), to or guidance_of(C_B, 7.5)
    return EditTask(on, to, path, weights, plan(weights, on, EditFacts(own_noise=own)))


@setups
@pytest.mark.parametrize("g", [1.0, 7.5])
def test_no_weight_is_plain_sampling_to_the_bit(setup: tuple[str, bool], g: float) -> None:
    on, v_prediction = grid(setup, 10), setup[0] != "epsilon"
    sampled, to = (
        source(toy, on, NOISE, guidance_of(C_A, g), True, v_prediction),
        guidance_of(C_B, g),
    )
    plain = record(NOISE, list(sample(toy, on, NOISE, to, v_prediction)), to.c)
    facts = EditFacts(guided=g != 1, own_noise=True)
    edit = EditTask(on, to, sampled, zero_weights(10), plan(zero_weights(10), on, facts))
    steps = [ends[0].step for ends in execute(toy, build_tree([edit]), v_prediction)]
    assert torch.equal(torch.stack([step.x for step in steps]), plain.x[1:])
    assert torch.equal(torch.stack([step.eps for step in steps]), plain.eps)


@setups
def test_so_it_is_with_a_null_row_for_every_step(setup: tuple[str, bool]) -> None:
    on, v_prediction = grid(setup, 10), setup[0] != "epsilon"
    tuned = source_of("tuned", toy, on, NOISE, guidance_of(C_A, 7.5), v_prediction)
    to, x = guidance_of(C_B, 7.5)._replace(null=nulls(10)), NOISE
    steps = plan(zero_weights(10), on, EditFacts(own_noise=True))
    edit = EditTask(on, to, tuned, zero_weights(10), steps)
    steps = [ends[0].step for ends in execute(toy, build_tree([edit]), v_prediction)]
    for i, step in enumerate(steps):  # each step is sampling's with that null row alone
        one, short = to._replace(null=nulls(10)[i]), on.cut(i, i + 1)
        x = next(sample(toy, short, x, one, v_prediction)).x
        assert torch.equal(step.x, x)
    plain = guidance_of(C_B, 7.5)
    *_, other = sample(toy, on, NOISE, plain, v_prediction)
    assert relative_error(steps[-1].x, other.x) > 1e-3


@setups
@pytest.mark.parametrize("kind", KINDS)
def test_the_source_latent_at_the_end_is_the_source_and_free(
    setup: tuple[str, bool], kind: str
) -> None:
    on, v_prediction, rows = grid(setup, 10), setup[0] != "epsilon", []
    kind = "inverted" if kind == "direct" and on.a[0] == 0 else kind
    sampled = source_of(kind, toy, on, NOISE, guidance_of(C_A, 7.5), v_prediction)
    to = guidance_of(C_B, 7.5)
    weights = Weights(*torch.rand(4, 10, generator=torch.Generator().manual_seed(0)).double())
    weights.x[-1] = 1
    edit = EditTask(on, to, sampled, weights, plan(weights, on))
    assert torch.equal(final_latents(count_rows(toy, rows), [edit], v_prediction)[0], sampled.x[-1])
    assert rows == [] and edit.plan.unet_rows == 0


@setups
def test_from_the_first_step_on_the_four_variants_are_one_and_cost_one(
    setup: tuple[str, bool],
) -> None:
    """At t_max = N all follow the source until the window ends: to the bit, and computed once."""
    on, v_prediction, rows = grid(setup, 10), setup[0] != "epsilon", []
    sampled, to = (
        source(toy, on, NOISE, guidance_of(C_A, 7.5), True, v_prediction),
        guidance_of(C_B, 7.5),
    )
    tables = [variant_table(variant, window(10, 10, 6)) for variant in VARIANTS]
    tasks = [EditTask(on, to, sampled, w, plan(w, on, EditFacts(own_noise=True))) for w in tables]
    first, *others = final_latents(count_rows(toy, rows), tasks, v_prediction)
    assert all(torch.equal(first, other) for other in others)
    assert sum(rows) == 8
    for one in tasks:
        assert relative_error(first, naive(toy, one, v_prediction)) <= 1e-10


def test_what_edits_have_in_common_is_computed_once(path: Trajectory) -> None:
    to = guidance_of(C_B, 7.5)
    tasks = [task(path, variant_table("epsilon", window(10, 8, m)), to) for m in (3, 3, 5)]
    alone = [one.plan.unet_rows for one in tasks]
    rows: list[int] = []
    got = final_latents(count_rows(toy, rows), tasks, False)
    # Twice the same edit; the third shares the two steps before the window.
    assert sum(rows) == tree_cost(build_tree(tasks))[0] == alone[0] + alone[2] - 4
    for one, x in zip(tasks, got, strict=True):
        assert torch.equal(x, final_latents(toy, [one], False)[0])


def test_edits_towards_other_prompts_or_from_other_sources_share_nothing(path: Trajectory) -> None:
    weights = variant_table("epsilon", window(10, 8, 3))
    other = source(toy, grid(SETUPS["epsilon"], 10), -NOISE, guidance_of(C_A, 7.5), True, False)
    tasks = [
        task(path, weights, guidance_of(C_B, 7.5)),
        task(path, weights, guidance_of(NULL, 7.5)),
        task(other, weights, guidance_of(C_B, 7.5)),
    ]
    assert tree_cost(build_tree(tasks))[0] == sum(one.plan.unet_rows for one in tasks)
    for one, x in zip(tasks, final_latents(toy, tasks, False), strict=True):
        assert relative_error(x, naive(toy, one, False)) <= 1e-10


@pytest.mark.parametrize("max_rows", [0, 1, 2, 5, 6, 100])
def test_calls_are_filled_up_to_max_rows(path: Trajectory, max_rows: int) -> None:
    """Unlike edits go together, of unlike sizes too: those between them don't end a call."""
    small = source(
        toy, grid(SETUPS["epsilon"], 10), random(1, 1, 4, 3, 2), guidance_of(C_A, 7.5), True, False
    )
    tasks = [
        task(
            [path, small][i % 2],
            variant_table(variant, 0.5 * window(10, 8, 3)),
            guidance_of(C_B, 7.5),
        )
        for i, variant in enumerate((*VARIANTS, *VARIANTS))
    ]
    rows: list[int] = []
    got = final_latents(count_rows(toy, rows), tasks, False, max_rows)
    assert max(rows) <= max(max_rows, 3) and sum(rows) == tree_cost(build_tree(tasks))[0]
    if max_rows == 100:
        assert len(rows) == 20  # two sizes, in step
    for one, x in zip(tasks, got, strict=True):
        assert relative_error(x, naive(toy, one, False)) <= 1e-10


def count_alive(rounds: Iterator[list[SegmentEnd]], count: list[int]) -> None:
    """Append after every round how many of all steps so far are still in memory."""
    refs: list[weakref.ref[Tensor]] = []
    for ends in rounds:
        refs += [weakref.ref(one.step.x) for one in ends]
        del ends
        count.append(sum(ref() is not None for ref in refs))


def test_a_step_is_freed_when_no_segment_starts_from_it(path: Trajectory) -> None:
    count: list[int] = []
    count_alive(execute(toy, build_tree([task(path, zero_weights(10))])), count)
    assert len(count) == 10 and max(count) == 1
    tasks = [task(path, variant_table("x", 0.5 * window(10, 8, m))) for m in (3, 4, 5)]
    count = []
    count_alive(execute(toy, build_tree(tasks)), count)
    assert max(count) <= 4  # where each of three edits is, and the step just taken
    assert count[-1] == 1


def test_a_loop_that_is_left_holds_nothing(path: Trajectory) -> None:
    steps = execute(
        toy,
        build_tree(
            [task(path, zero_weights(10)), task(path, variant_table("c", window(10, 9, 3)))]
        ),
    )
    alive = [weakref.ref(next(steps)[0].step.x) for _ in range(5)]
    steps.close()
    gc.collect()
    assert [ref() for ref in alive] == [None] * 5


def test_the_result_is_not_the_sources_memory(path: Trajectory) -> None:
    weights = variant_table("x", window(10, 10, 10))
    before = path.x.clone()
    final_latents(toy, [task(path, weights)], False)[0].zero_()
    assert torch.equal(path.x, before)


def test_thousands_of_segments_take_little_time(path: Trajectory) -> None:
    """A call that costs nothing: 500 branches of 10 steps in seconds."""

    def idle(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        return x

    to, on = guidance_of(C_B, 1.0), grid(SETUPS["epsilon"], 10)
    steps = plan(zero_weights(10), on, EditFacts(guided=False))
    tasks = []
    for i in range(500):
        weights = zero_weights(10)
        weights.eps[0] = (i + 1) / 2000
        tasks.append(EditTask(on, to, path, weights, plan(weights, on, EditFacts(guided=False))))
    nodes = build_tree(tasks)
    assert len(nodes) == 5000 and steps.unet_rows == 10
    started = time.process_time()
    rounds = sum(1 for _ in execute(idle, nodes, max_rows=1000))
    assert rounds == 10
    assert time.process_time() - started < 10

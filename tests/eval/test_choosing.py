"""Choosing without the true answer: known agreements and losses, and the model's own comparison."""

from functools import partial

import torch

from mdp_lite.editor import Editor
from mdp_lite.eval.choosing import (
    MIDDLE,
    NOISE_LEVELS,
    choose,
    compare_texts,
    list_windows,
    mean_change,
    pick_best,
)
from mdp_lite.eval.sweep import EvalCell, run_cells
from support.rival_tasks import SOURCE, TARGET, build_single_task, run


def test_the_edit_that_lost_the_least_of_those_that_agree_is_taken() -> None:
    agreements = torch.tensor([[0.0, 1.0], [0.8, 0.2], [1.0, 0.9]])
    lost = torch.tensor([[0.0, 5.0], [2.0, 0.0], [3.0, 4.0]])
    assert pick_best(agreements, lost, 0.7).tolist() == [1, 2]
    assert pick_best(agreements, lost, 1.0).tolist() == [2, 0]
    assert pick_best(agreements, lost, 0.0).tolist() == [0, 1]


def test_changes_inside_do_not_count() -> None:
    change, outside = torch.zeros(2, 4, 2, 2), torch.zeros(2, 2, 2, dtype=torch.bool)
    change[:, :, 0] = 3.0
    outside[0, 1] = True
    assert mean_change(change, outside).tolist() == [0, 0]
    outside[0, 0, 0] = True
    assert mean_change(change, outside).tolist() == [3, 0]  # 9 in one of three cells


def test_two_equal_texts_do_not_differ(wide: Editor) -> None:
    task = build_single_task(wide, SOURCE)
    z = torch.ones_like(task.source.x[0])
    both = run(partial(compare_texts, x=task.source.x[-1], z=z), task)
    assert both.agreement.abs().max() < 1e-12 and both.difference.max() < 1e-12


def test_the_chosen_edit_is_one_of_the_candidates(wide: Editor) -> None:
    task, cells = build_single_task(wide), [EvalCell("x", 8, 2), EvalCell("x", 8, 6)]
    z = torch.ones_like(task.source.x[0])
    found = run(partial(choose, cells=cells, own_noise=True, z=z), task)
    with torch.no_grad():
        tried, rows = run_cells(
            task.unet, task.grid, task.source, task.guidance, cells, True, task.v_prediction
        )
    assert any(torch.equal(found.x, x) for x in tried.values())
    assert found.rows == rows + 2 * 3 * len(NOISE_LEVELS)
    cheap = run(partial(choose, cells=cells, own_noise=True, z=z, levels=MIDDLE), task)
    assert cheap.rows == rows + 2 * 3
    assert TARGET != SOURCE and len({cell.label for cell in list_windows(50)}) == 7

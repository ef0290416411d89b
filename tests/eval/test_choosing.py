"""Choosing without the true answer: by known agreements and losses, and by what the model sees."""

from functools import partial

import pytest
import torch
from test_rivals import SOURCE, TARGET, one, run

from mdp_lite.editor import Editor
from mdp_lite.eval.choosing import LOOKS, choose, handful, left_out, look, picked
from mdp_lite.eval.sweep import Cell, swept
from support.inverting import double


@pytest.fixture(scope="module")
def wide(editor: Editor) -> Editor:
    return double(editor)


def test_the_edit_that_lost_the_least_of_those_that_agree_is_taken() -> None:
    agreements = torch.tensor([[0.0, 1.0], [0.8, 0.2], [1.0, 0.9]])
    lost = torch.tensor([[0.0, 5.0], [2.0, 0.0], [3.0, 4.0]])
    assert picked(agreements, lost, 0.7).tolist() == [1, 2]
    assert picked(agreements, lost, 1.0).tolist() == [2, 0]
    assert picked(agreements, lost, 0.0).tolist() == [0, 1]


def test_what_changed_inside_is_not_lost() -> None:
    change, outside = torch.zeros(2, 4, 2, 2), torch.zeros(2, 2, 2, dtype=torch.bool)
    change[:, :, 0] = 3.0
    outside[0, 1] = True
    assert left_out(change, outside).tolist() == [0, 0]
    outside[0, 0, 0] = True
    assert left_out(change, outside).tolist() == [3, 0]  # 9 in one of three cells


def test_two_equal_texts_agree_alike(wide: Editor) -> None:
    edits = one(wide, SOURCE)
    z = torch.ones_like(edits.source.x[0])
    seen = run(partial(look, x=edits.source.x[-1], z=z), edits)  # type: ignore[arg-type]
    assert seen.agreement.abs().max() < 1e-12 and seen.apart.max() < 1e-12  # type: ignore[attr-defined]


def test_what_is_chosen_is_one_of_those_tried(wide: Editor) -> None:
    edits, cells = one(wide), [Cell("x", 8, 2), Cell("x", 8, 6)]
    z = torch.ones_like(edits.source.x[0])
    found = run(partial(choose, cells=cells, sampled=True, z=z), edits)
    with torch.no_grad():
        tried, rows = swept(edits.unet, edits.grid, edits.source, edits.to, cells, True, edits.v)
    assert any(torch.equal(found.x, x) for x in tried.values())
    assert found.rows == rows + 2 * 3 * len(LOOKS)
    assert TARGET != SOURCE and len({cell.label for cell in handful(50)}) == 7

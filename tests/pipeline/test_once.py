"""once() gives the edit of a generated source in fewer UNet calls."""

import pytest
import torch

from mdp_lite import Editor
from mdp_lite.names import VARIANTS
from mdp_lite.pipeline.once import once

N, SOURCE, TARGET, SEED = 10, "a red house", "a blue boat", 3


@pytest.fixture(scope="module")
def editor(every_editor: Editor) -> Editor:
    """All of this file is for each kind of model."""
    return every_editor


@pytest.mark.covering(1)
@pytest.mark.parametrize("schedule", ["constant", "linear"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_bits_as_a_source_and_its_edit(
    editor: Editor, variant: str, schedule: str
) -> None:
    how = {"t_max": 9, "t_m": 5, "schedule": schedule}
    source = editor.generate(SOURCE, SEED, N)
    edit = editor.edit(source, TARGET, variant, **how)
    result = once(editor, SOURCE, TARGET, SEED, variant, N, **how)
    assert torch.equal(result.latent, edit.latent)
    assert result.image.tobytes() == edit.image.tobytes()
    assert result.plan == edit.plan
    assert result.cost.unet_rows < source.cost.unet_rows + edit.cost.unet_rows


@pytest.mark.parametrize(("variant", "rows"), [("epsilon", 6), ("x", 6), ("c", 0), ("beta", 0)])
def test_the_source_ends_where_the_window_does(editor: Editor, variant: str, rows: int) -> None:
    """c and beta read only the source's condition: no step of its path is computed."""
    result = once(editor, SOURCE, TARGET, SEED, variant, N, t_max=9, t_m=5)
    assert result.cost.unet_rows - result.plan.unet_rows == 2 * rows
    assert result.cost.unet_calls - result.plan.unet_calls == rows


@pytest.mark.covering(1)
@pytest.mark.parametrize(
    ("source", "target", "g", "negative"),
    [(SOURCE, SOURCE, 3.0, ""), (SOURCE, TARGET, 1.0, ""), ("", TARGET, 3.0, ""),
     (SOURCE, "", 3.0, ""), (SOURCE, TARGET, 3.0, TARGET)],
)  # fmt: skip
def test_equal_rows_are_left_out_as_the_editor_does(
    editor: Editor, source: str, target: str, g: float, negative: str
) -> None:
    for variant in VARIANTS:
        path = editor.generate(source, SEED, N, g, negative)
        edit = editor.edit(path, target, variant, t_max=9, t_m=5)
        result = once(editor, source, target, SEED, variant, N, g, negative, t_max=9, t_m=5)
        assert torch.equal(result.latent, edit.latent) and result.plan == edit.plan


def test_bad_input_is_refused(editor: Editor) -> None:
    with pytest.raises(ValueError, match="seed must be"):
        once(editor, SOURCE, TARGET, -1)
    with pytest.raises(ValueError, match="variant"):
        once(editor, SOURCE, TARGET, variant="y")

"""An edit at once is the edit of a generated source, for less."""

import pytest
import torch

from mdp_lite import Editor
from mdp_lite.names import VARIANTS
from mdp_lite.pipeline.once import once

N, SOURCE, TARGET, SEED = 10, "a red house", "a blue boat", 3


@pytest.mark.parametrize("schedule", ["constant", "linear"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_bits_as_a_source_and_its_edit(
    editor: Editor, variant: str, schedule: str
) -> None:
    how = {"t_max": 9, "t_m": 5, "schedule": schedule}
    source = editor.generate(SOURCE, SEED, N)
    edit = editor.edit(source, TARGET, variant, **how)
    made = once(editor, SOURCE, TARGET, SEED, variant, N, **how)
    assert torch.equal(made.latent, edit.latent)
    assert made.image.tobytes() == edit.image.tobytes()
    assert made.plan == edit.plan
    assert made.cost.unet_rows < source.cost.unet_rows + edit.cost.unet_rows


@pytest.mark.parametrize(("variant", "rows"), [("epsilon", 6), ("x", 6), ("c", 0), ("beta", 0)])
def test_the_source_ends_where_the_window_does(editor: Editor, variant: str, rows: int) -> None:
    """c and beta read the source's condition alone: it has no path at all."""
    made = once(editor, SOURCE, TARGET, SEED, variant, N, t_max=9, t_m=5)
    assert made.cost.unet_rows - made.plan.unet_rows == 2 * rows
    assert made.cost.unet_calls - made.plan.unet_calls == rows


@pytest.mark.parametrize(
    ("source", "target", "g", "negative"),
    [(SOURCE, SOURCE, 3.0, ""), (SOURCE, TARGET, 1.0, ""), ("", TARGET, 3.0, ""),
     (SOURCE, "", 3.0, ""), (SOURCE, TARGET, 3.0, TARGET)],
)  # fmt: skip
def test_rows_that_are_equal_are_told_as_the_editor_tells_them(
    editor: Editor, source: str, target: str, g: float, negative: str
) -> None:
    for variant in VARIANTS:
        path = editor.generate(source, SEED, N, g, negative)
        edit = editor.edit(path, target, variant, t_max=9, t_m=5)
        made = once(editor, source, target, SEED, variant, N, g, negative, t_max=9, t_m=5)
        assert torch.equal(made.latent, edit.latent) and made.plan == edit.plan


def test_bad_input_is_refused(editor: Editor) -> None:
    with pytest.raises(ValueError, match="seed must be"):
        once(editor, SOURCE, TARGET, -1)
    with pytest.raises(ValueError, match="variant"):
        once(editor, SOURCE, TARGET, variant="y")

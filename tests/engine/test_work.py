"""The work of calls of any size is what the meter counts."""

import pytest

from mdp_lite.editor import Editor
from mdp_lite.engine import flops
from mdp_lite.engine.work import Polynomial, count_work


@pytest.mark.parametrize(("y", "x"), [(8, 8), (16, 24), (40, 64), (128, 128)])
def test_the_work_of_a_size_is_what_is_counted(editor: Editor, y: int, x: int) -> None:
    models = editor.models
    work, f, tokens = count_work(models), models.vae.config.factor, models.c_shape[0]
    row = flops.unet(models.unet.config, y, x, 1, tokens).flops
    encode = flops.encode(models.vae.config, f * y, f * x).flops
    decode = flops.decode(models.vae.config, f * y, f * x).flops
    found = (work.row(y * x), work.encode(y * x), work.decode(y * x))
    assert found == pytest.approx((row, encode, decode), rel=1e-6)


def test_rows_add_up(editor: Editor) -> None:
    """Nearly: what depends on the timestep alone is computed once for all rows of a call."""
    models = editor.models
    three = flops.unet(models.unet.config, 8, 8, 3, models.c_shape[0]).flops
    assert 3 * count_work(models).row(64) == pytest.approx(three, rel=0.01)


def test_a_polynomial() -> None:
    assert [Polynomial(1, 2, 3)(cells) for cells in (0, 1, 10)] == [1, 6, 321]

"""One guided step of an edit of the bundled model with the map of a local pull, and without it.

    python -m pytest benchmarks/test_map.py --benchmark-enable -s -m ""

The UNet's work is the same, so the ratio is the cost of the map. The gate: without a share, the map
changes no bit.
"""

from collections.abc import Callable

import pytest
import torch

from benchmarks.record import Recorder
from mdp_lite.editor import Editor
from mdp_lite.method.mdp import Step
from mdp_lite.method.sample import all_reads, edit_terms, step
from mdp_lite.method.schedule import Weights

AT, SHARE = 6, 0.39  # a step after the look, and its share of the pull in an edit of 12 steps


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor.from_pretrained("tiny", device="cpu")


def build_step(editor: Editor, pull: Weights) -> Callable[[], Step]:
    """Step AT of an edit of 12 steps from the source's latent, with this pull."""
    source = editor.generate("a red house on the grass", 7, 12, record_noise=True)
    runner, x = editor.runner, source.path.x[AT]
    guidance = runner.guidance("a blue house on the grass", "", 4.0)
    reads = all_reads(guidance, beta=False)
    terms = edit_terms(source.grid, guidance, source.path, pull, AT, x)
    return lambda: step(runner.unet, x, terms, reads, runner.v_prediction)


def test_map(benchmark, recorder: Recorder, editor: Editor) -> None:
    """A pull that looks where the edit is, and one by the same share everywhere."""
    zeros = torch.zeros(12, dtype=torch.float64)
    even = Weights(zeros, zeros, zeros + SHARE, zeros)
    sides = {
        "mdp_lite even pull": build_step(editor, even),
        "local pull": build_step(editor, even._replace(x=zeros, local=zeros + SHARE)),
    }
    none = [build_step(editor, even._replace(x=zeros, local=local)) for local in (None, zeros)]
    assert torch.equal(*(run().x for run in none))
    assert not torch.equal(*(run().x for run in sides.values()))
    recorder.store("map of the local pull", recorder.compare(sides, rounds=300))
    benchmark.pedantic(sides["local pull"], rounds=1)

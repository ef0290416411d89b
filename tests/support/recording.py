"""Recorded graphs without a GPU: a stand-in runs the work again, as a replay does."""

from collections.abc import Callable, Sequence

from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.engine import engine
from mdp_lite.engine.graphs import GraphRecorder, Work
from mdp_lite.engine.step_graphs import StepGraphs
from mdp_lite.engine.unet_calls import SplitUNet


def record_again(run: Work) -> tuple[Sequence[Tensor], Callable[[], None]]:
    """The results of run, and a replay that writes new ones into the same memory."""
    for _ in range(3):
        run()
    out = run()

    def replay() -> None:
        for place, new in zip(out, run(), strict=True):
            place.copy_(new)

    return out, replay


def recording_editor(editor: Editor) -> Editor:
    """The same models in an editor whose edits are whole recorded steps."""
    recorder, unet = GraphRecorder(record_again), editor.models.unet
    halves = lambda *terms: engine.step_output(*terms)  # noqa: E731  looked up at each call
    parts = SplitUNet(unet.predict, unet.times, unet.text, step_output=halves)
    graphs = StepGraphs(recorder, parts)
    own = Editor(editor.models, editor.device)
    own.runner.engine = own.runner.engine._replace(single_step=graphs, recorder=recorder)
    return own

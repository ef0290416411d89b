"""A loaded model of the service: its editor, its limits in its own units, its preparation."""

import time

import torch

from mdp_lite.batcher.client import make_unet_model
from mdp_lite.editor import Editor
from mdp_lite.engine.unet_calls import BUCKETS
from mdp_lite.engine.work import count_work
from mdp_lite.method.mdp import add_channels
from mdp_lite.model_pool.keys import ModelKey, ModelSlot
from mdp_lite.pipeline.sweep import rows_in_budget
from mdp_lite.pipeline.warm_up import warm_up
from mdp_lite.serve.settings import Limits, ServiceSettings

EDIT_ROWS = 3  # UNet rows of the largest step of one edit


class ServedModel:
    """A model that requests can use now.

    row_work are the FLOPs of a UNet row at the model's own size: limits are given in these.
    max_rows is how many rows a call may have, max_side the longest side in pixels.
    """

    def __init__(
        self, editor: Editor, settings: ServiceSettings, key: ModelKey, slot: ModelSlot
    ) -> None:
        self.editor, self.key, self.slot, limits = editor, key, slot, settings.limits
        self.max_rows = choose_max_rows(editor, settings.max_rows)
        self.max_side = choose_max_side(editor, limits)
        width, height = editor.runner.size
        self.row_work = count_work(editor.models).row(width * height // editor.runner.factor**2)
        self.unet = make_unet_model(editor, self.max_rows)

    def unload(self) -> None:
        """Let go of the weights, also if an answer that is not sent yet still has this object."""
        del self.editor, self.unet


@torch.no_grad()
def prepare_models(editor: Editor, max_rows: int) -> None:
    """Fit the preview map, and record graphs of all row counts that a call may have.

    From then on nothing more is recorded: other sizes run eagerly, and nobody waits for a capture.
    """
    runner, recorder = editor.runner, editor.runner.engine.recorder
    if recorder:
        warm_up(runner, [rows for rows in BUCKETS if rows <= max(max_rows, EDIT_ROWS)])
        recorder.new_shapes = "eager"
    else:
        runner.encode(runner.decode(0 * runner.noise(0, *runner.size)))
    _ = runner.preview_map


@torch.no_grad()
def time_row(editor: Editor) -> float:
    """Seconds of a UNet row at the model's own size, once the models are warm."""
    runner = editor.runner
    x, c, t = runner.noise(0, *runner.size), runner.condition(""), runner.grid(None).t[:1]
    latent = add_channels(x, runner.blank_channels()).to(c)
    seconds = 0.0
    for _ in range(2):  # the first call also prepares what later ones have
        started = time.monotonic()
        bool(runner.engine.denoise(latent, t, c).isfinite().all())  # waits for a GPU
        seconds = time.monotonic() - started
    return seconds


def choose_max_rows(editor: Editor, max_rows: int | None) -> int:
    """Rows of one call: the setting if there is one, else 0 on a CPU and what fits on a GPU."""
    if max_rows is not None:
        return max_rows
    if editor.device.type == "cpu":
        return 0
    runner, unet = editor.runner, editor.models.unet
    width, height = runner.size
    shape = (height // runner.factor, width // runner.factor)
    return rows_in_budget(unet.config, shape, next(unet.parameters()).element_size())


def choose_max_side(editor: Editor, limits: Limits) -> int:
    """The longest side of the model's picture that a request may ask for, in pixels."""
    return limits.side or 2 * max(editor.runner.size)

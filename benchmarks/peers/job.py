"""The job of a table: inputs of every measurement, the loop of an edit, and float32's outputs."""

import contextlib
import hashlib
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler
from transformers import CLIPTextModel

from benchmarks.peers.measure import Setup, started
from benchmarks.peers.peers import REFERENCE, TOYS
from benchmarks.peers.sides import GUIDANCE, SINGLE, Job, Loop, write_job
from benchmarks.sides import Model
from mdp_lite import Editor
from mdp_lite.checkpoint.load import convert
from mdp_lite.eval.cases import make_cases
from mdp_lite.eval.world import draw
from mdp_lite.method.plan import EditFacts, plan
from mdp_lite.names import BadCheckpoint
from mdp_lite.pipeline.request import build_weights

PROMPTS = ("", "a red house on the grass", "a blue house on the grass")  # null, source, target
TIME, ROWS = 501, 4
TIMES = (999, 501)  # of the picture that stable-diffusion.cpp makes
EDIT = EditFacts(
    guided=True, same_condition=False, own_noise=True, null_is_c=False, null_is_source=False
)


def find_loop(editor: Editor, steps: int) -> Loop:
    """The UNet calls of Editor.invert and Editor.edit in so many steps, all of two rows."""
    grid, defaults = editor.runner.grid(steps), editor.models.defaults
    weights = build_weights(steps, defaults, None, None, None, None, noisy=True)
    edit = plan(weights, grid, EDIT)
    assert edit.unet_rows == 2 * edit.unet_calls, "the loop has two rows in every call"
    called = [i for one in edit.segments if one.kind == "call" for i in range(one.start, one.stop)]
    order = torch.tensor([*range(steps), *called])
    t, a, b = (column[order].tolist() for column in (grid.t, grid.a, grid.b))
    return Loop(t, a, b, steps, GUIDANCE)


@torch.no_grad()
def make_job(model: Model, folder: Path, steps: int) -> None:
    """Write the job of a model: noise of a seed, a synthetic picture, conditions of prompts."""
    editor = Editor.from_pretrained(model.folder, device="cpu")
    tokenizer, runner = editor.models.tokenizer, editor.runner
    ids = torch.tensor([tokenizer.ids(prompt)[0] for prompt in PROMPTS])
    text = CLIPTextModel.from_pretrained(model.folder / "text_encoder", dtype=torch.float32)
    c = text(ids)[0].numpy()
    width, height = runner.size
    side = (4, height // runner.factor, width // runner.factor)
    noise, x = (
        torch.randn(n, *side, generator=torch.Generator().manual_seed(seed)).numpy()
        for seed, n in enumerate((1, ROWS))
    )
    abar = DDIMScheduler.from_pretrained(model.folder / "scheduler").alphas_cumprod[list(TIMES)]
    sigmas = [*(((1 - abar) / abar) ** 0.5).tolist(), 0.0]
    (case,) = make_cases("color", 1, short=True)
    picture = np.asarray(draw(case.source_scene, width), np.float32)
    pixels = picture.transpose(2, 0, 1)[None] / np.float32(127.5) - 1
    rows = np.concatenate([c[:2]] * (ROWS // 2))
    job = Job(
        x, TIME, rows, ids.numpy(), pixels, noise, sigmas, list(TIMES), find_loop(editor, steps)
    )
    write_job(folder, job)


def write_single_file(model: Model, folder: Path) -> None:
    """Write the model as one LDM file for stable-diffusion.cpp, if it is not there.

    A model that has no such form gets none; its peers then say so.
    """
    if not (folder / SINGLE).exists():
        with contextlib.suppress(BadCheckpoint):
            convert(model.folder, folder / SINGLE)


def make_toy_job(folder: Path) -> None:
    """A job of a few numbers, for the peers without a library."""
    loop = Loop([501, 501, 1], [0.5, 0.5, 0.9], [0.9, 0.9, 1.0], 1, GUIDANCE)
    x = np.random.default_rng(0).standard_normal((ROWS, 4, 8, 8)).astype(np.float32)
    ids = np.arange(9).reshape(3, 3)
    pixels = np.tanh(x[:1, :3])
    c = np.ones((ROWS, 3, 1), np.float32)
    write_job(folder, Job(x, TIME, c, ids, pixels, x[:1], [2.0, 1.0, 0.0], [999, 501], loop))


def want_output(setup: Setup, work: str, toy: bool) -> Path:
    """The file of what float32 gives for some work of this job; computed once."""
    mark = hashlib.sha256((setup.folder / "job.npz").read_bytes()).hexdigest()[:8]
    path = setup.folder / f"want {work} {mark}.npy"
    if not path.exists():
        with started(setup, TOYS[0] if toy else REFERENCE) as worker:
            part = path.with_suffix(".part.npy")
            worker.ask(work, setup.limit, part)
            part.rename(path)
        setup.quiet.release()
    return path

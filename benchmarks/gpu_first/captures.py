"""Stages on graphs: a capture that fails on purpose, and jobs that arrive during captures."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.gpu_first.findings import Findings, Setting
from benchmarks.gpu_first.timing import relative_distance
from mdp_lite.batcher.batcher import Batcher
from mdp_lite.batcher.client import client_editor, run_batcher
from mdp_lite.editor import Editor
from mdp_lite.engine.graphs import GraphRecorder, Work
from mdp_lite.engine.step_graphs import StepGraphs
from mdp_lite.engine.unet_calls import SplitUNet
from mdp_lite.pipeline.warm_up import warm_up

PROMPT, TARGET = "a red house on the grass", "a tent on the grass"
N = 6  # steps of an edit here
NEAR = 1e-2  # of a latent, relative to its norm, in float32 without TF32: a wrong replay is far off
# Of CUDA's error for a wait in a capture; what ending that capture raises says none of this.
CAUSES = ("not permitted", "capturing")
JOBS, WIDTHS, APART, PATIENCE = 48, 12, 0.03, 40  # widths in turn, seconds between starts, at most
FEW_JOBS, FEW_WIDTHS, SLOW = 4, 2, 10  # a rehearsal may be slow


def fail_a_capture(setting: Setting, findings: Findings) -> None:
    """A step that waits for the host can't be captured: what is left of the thread and the pool?

    Afterwards the stream must be the old one, the next capture good, and all numbers right.
    """
    turn_tf32_off()
    eager = Editor.from_pretrained("tiny", setting.device, "float32", engine="eager")
    source = eager.generate(PROMPT, 7, N)
    want = eager.edit(source, TARGET).latent
    stream = find_stream(setting.device)
    spoilt = open_graphs(eager)
    recorder, logged = find_recorder(spoilt), listen()
    count, own = recorder.count, recorder.record
    recorder.record = lambda work: own(add_wait(work, setting.device))
    try_edit(findings, "the edit whose captures fail", spoilt, source, want)
    recorder.record = own
    findings.check("no graph is kept of it", recorder.count == count, recorder.count - count)
    why = any(cause in line for line in logged.lines for cause in CAUSES)
    findings.check("the log says why", why, logged.lines)
    now = find_stream(setting.device)
    findings.check("the stream is given back", now == stream, str(now))
    findings.check("memory can be allocated", bool(torch.ones(9, device=setting.device).sum() == 9))
    fresh = open_graphs(eager)
    try_edit(findings, "the next edit, with captures", fresh, source, want)
    findings.check("its graphs are captured", find_recorder(fresh).count > 0)
    try_edit(findings, "an eager edit after that", eager, source, want)


def turn_tf32_off() -> None:
    """Then equal work in another order is near, and only wrong work is far."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def find_stream(device: torch.device) -> Any:
    """The stream on which this thread queues its work; None on a CPU."""
    return torch.cuda.current_stream(device) if device.type == "cuda" else None


def open_graphs(editor: Editor) -> Editor:
    """The same models as recorded graphs; on a CPU by a stand-in, which runs the work again."""
    if editor.device.type == "cuda":
        return Editor(editor.models, editor.device, engine="graph")
    own, unet = Editor(editor.models, editor.device), editor.models.unet
    recorder = GraphRecorder(record_on_cpu)
    graphs = StepGraphs(recorder, SplitUNet(unet.predict, unet.times, unet.text))
    own.runner.engine = own.runner.engine._replace(single_step=graphs, recorder=recorder)
    return own


class NoWaits(TorchDispatchMode):
    """Raises where the host would wait for a device, as a capture does."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call an operator, unless it reads a number from a tensor."""
        if "_local_scalar_dense" in function.__name__:
            raise RuntimeError("operation not permitted when stream is capturing (a stand-in's)")
        return function(*args, **(kwargs or {}))


def record_on_cpu(run: Work) -> tuple[Sequence[Tensor], Callable[[], None]]:
    """What a capture gives, without a GPU."""
    run()
    with NoWaits():
        out = run()

    def replay() -> None:
        for place, new in zip(out, run(), strict=True):
            place.copy_(new)

    return out, replay


def find_recorder(editor: Editor) -> GraphRecorder:
    """The recorder of an editor's engine."""
    recorder = editor.runner.engine.recorder
    assert recorder is not None, editor.runner.engine.mode
    return recorder


def add_wait(work: Work, device: torch.device) -> Work:
    """The same work, which first reads a number from the device: no capture can hold that."""
    number = torch.ones((), device=device)

    def run() -> Sequence[Tensor]:
        number.item()
        return work()

    return run


def try_edit(findings: Findings, what: str, editor: Editor, source: Any, want: Tensor) -> None:
    """Check that an edit raises nothing and has the wanted latent."""
    try:
        distance: Any = relative_distance(editor.edit(source, TARGET).latent, want)
    except Exception as error:
        findings.check(f"{what} is right", False, repr(error)[:300])
        return
    findings.check(f"{what} is right", distance <= NEAR, distance)


class LogLines(logging.Handler):
    """Collects what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record's text."""
        self.lines.append(record.getMessage())


def listen() -> LogLines:
    """What the package logs from now on."""
    logged = LogLines()
    logging.getLogger("mdp_lite").addHandler(logged)
    return logged


def let_jobs_arrive(setting: Setting, findings: Findings) -> None:
    """Jobs of many sizes start while the models' thread records graphs for these sizes.

    Each job allocates, copies and computes in its own thread. None may fail, and each picture must
    be the one that the job has alone.
    """
    turn_tf32_off()
    count, widths = (FEW_JOBS, FEW_WIDTHS) if setting.small else (JOBS, WIDTHS)
    editor = Editor.from_pretrained("tiny", setting.device, "float32")
    alone = Editor(editor.models, editor.device, engine="eager")
    sizes = [64 + editor.runner.factor * k for k in range(widths)]
    latents: dict[int, Tensor] = {}
    errors, logged = list[str](), listen()
    begun, patience = time.monotonic(), PATIENCE * (SLOW if setting.small else 1)
    with run_batcher(editor, max_rows=8) as batcher:
        recording = start(errors, lambda: record_sizes(editor, batcher, sizes))
        jobs = [recording]
        for k in range(count):
            run = lambda k=k: latents.update({k: edit_as_client(editor, batcher, k, sizes)})  # noqa: E731
            jobs.append(start(errors, run))
            time.sleep(APART)
        for one in jobs:
            one.join(max(0.0, begun + patience - time.monotonic()))
    recorder = editor.runner.engine.recorder
    findings.add("jobs", {"count": count, "seconds": time.monotonic() - begun,
                          "graphs": recorder.count if recorder else None})  # fmt: skip
    lost = [line for line in logged.lines if "no graph for" in line]
    findings.check("no capture is lost", not lost, lost[:5])
    findings.check("no job raises", not errors, errors[:5])
    findings.check("every job ends", len(latents) == count, len(latents))
    compare_alone(findings, alone, latents, sizes)


def start(errors: list[str], work: Callable[[], object]) -> threading.Thread:
    """A thread that does some work and notes its error."""

    def run() -> None:
        try:
            work()
        except Exception as error:
            errors.append(repr(error)[:300])

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def record_sizes(editor: Editor, batcher: Batcher, sizes: Sequence[int]) -> None:
    """Warm the engine up for one width after the other, in the models' thread."""
    with batcher.client() as client:
        for width in sizes:
            warm = lambda width=width: warm_up(editor, (1, 2), width, num_inference_steps=N)  # noqa: E731
            batcher.call(client, warm)


def edit_as_client(editor: Editor, batcher: Batcher, k: int, sizes: Sequence[int]) -> Tensor:
    """Job k: a source of its own size and seed, and an edit of it."""
    with batcher.client() as client:
        return edit(client_editor(editor, batcher, client), k, sizes)


def edit(editor: Editor, k: int, sizes: Sequence[int]) -> Tensor:
    """The latent of job k."""
    source = editor.generate(PROMPT, k, N, width=sizes[k % len(sizes)])
    return editor.edit(source, TARGET).latent


def compare_alone(
    findings: Findings, alone: Editor, latents: dict[int, Tensor], sizes: Sequence[int]
) -> None:
    """Check each job's latent against the same edit without a batcher."""
    apart = {k: relative_distance(one, edit(alone, k, sizes)) for k, one in latents.items()}
    wrong = {k: distance for k, distance in apart.items() if not distance <= NEAR}
    findings.check(
        "every job has its own picture", not wrong, wrong or max(apart.values(), default=None)
    )

"""What goes wrong with CUDA graphs on real machines, on a GPU that is not there."""

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mdp_lite import Editor
from mdp_lite.batcher.client import client_editor, run_batcher
from mdp_lite.engine.capture import CudaCapture
from mdp_lite.names import BadInput
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.warm_up import warm_up
from mdp_lite.serve.served import prepare_models
from support.rehearsal import Rehearsal
from support.rehearsed_cases import BOX, CUDA, TARGET, N, fail, invert, load, make, near
from support.rehearsing import rehearsal


def test_graphs_are_recorded_on_the_device_of_the_model(checkpoint: Path, want: Tensor) -> None:
    with rehearsal(devices=2) as gpu:
        editor = load(checkpoint, "cuda:1")
        for _ in range(2):
            latent = editor.edit(make(editor), TARGET).latent
        assert latent.device == torch.device("cuda", 1) and near(latent, want)
        assert {tape.device.index for tape in gpu.tapes} == {1} and all(
            tape.entries and tape.replays for tape in gpu.tapes
        )
        assert torch.cuda.current_device() == 0


def test_a_capture_that_fails_leaves_the_thread_and_later_captures_as_they_were(
    gpu: Rehearsal,
) -> None:
    x, capture = torch.ones(3, device=CUDA), CudaCapture(CUDA)

    def wait() -> list[Tensor]:
        return [x * x.sum().item()] if gpu.recording else [x]

    with pytest.raises(RuntimeError, match="operation not permitted when capturing"):
        capture(wait)
    gpu.violations.clear()
    assert torch.cuda.current_stream() is torch.cuda.default_stream() and not gpu.recording
    (out,), replay = capture(lambda: [x + 1])
    x.fill_(5)
    replay()
    assert out.tolist() == [6, 6, 6]


def test_the_reason_is_logged_and_the_edit_runs_eagerly(
    gpu: Rehearsal, checkpoint: Path, want: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    editor = load(checkpoint)
    source = make(editor)
    gpu.on_launch = lambda name, tape: fail(RuntimeError("no kernel image") if tape else None)
    with caplog.at_level(logging.WARNING, "mdp_lite"):
        assert near(editor.edit(source, TARGET).latent, want)
    assert {one.message.split(" of ")[0] for one in caplog.records} == {"no graph for a step"}
    assert all("it runs eagerly: no kernel image" in one.message for one in caplog.records)


def test_without_memory_for_a_graph_the_edit_runs_and_it_is_not_tried_again(
    gpu: Rehearsal, checkpoint: Path, want: Tensor
) -> None:
    editor, tries = load(checkpoint), []
    source = make(editor)

    def refuse(name: str, tape: Any) -> None:
        if tape and name == "convolution":
            tries.append(name)
            raise torch.OutOfMemoryError("CUDA out of memory")

    gpu.on_launch = refuse
    for _ in range(3):
        assert near(editor.edit(source, TARGET).latent, want)
    assert len(tries) == 1
    assert torch.cuda.current_stream() is torch.cuda.default_stream()


def test_other_threads_may_work_while_one_captures(gpu: Rehearsal) -> None:
    x, capture = torch.ones(3, device=CUDA), CudaCapture(CUDA)

    def work() -> list[Tensor]:
        if gpu.recording:
            thread = threading.Thread(target=lambda: torch.ones(5).to(CUDA).sum().item())
            thread.start()
            thread.join()
        return [x + 1]

    (out,), replay = capture(work)
    replay()
    assert out.tolist() == [2, 2, 2]


@pytest.mark.slow
def test_a_service_records_while_it_warms_up_and_never_later(
    gpu: Rehearsal, checkpoint: Path
) -> None:
    editor = load(checkpoint)
    prepare_models(editor, 4)
    count = editor.runner.engine.recorder.count  # type: ignore[union-attr]
    for _ in range(3):
        editor.edit(make(editor, width=40), TARGET)
        editor.edit(make(editor), TARGET)
    assert editor.runner.engine.recorder.count == count == len(gpu.tapes) > 0  # type: ignore[union-attr]


@pytest.mark.slow
def test_warm_up_records_large_shapes_first(gpu: Rehearsal, checkpoint: Path) -> None:
    editor = load(checkpoint)
    warm_up(editor, [1, 4, 2], num_inference_steps=N)
    graphs = editor.runner.engine.recorder.list_graphs()  # type: ignore[union-attr]
    sizes = [one.split()[-1] for one in graphs if "UNet" in one]
    assert sizes == [f"{n}x4x8x8" for n in (4, 3, 2, 1)]
    steps = [one.count(",") for one in graphs if "step" in one and " with " not in one]
    assert steps == sorted(steps, reverse=True)


@pytest.mark.slow
def test_graphs_are_few_whatever_is_edited(gpu: Rehearsal, checkpoint: Path) -> None:
    editor = load(checkpoint)
    for n in (4, 5):
        source = editor.generate("a red house", 7, n)
        kinds: list[dict[str, Any]] = [
            {},
            {"mask": BOX},
            {"strength": 0.3},
            {"guidance_scale": 2.0},
        ]
        for how in kinds:
            for _ in range(2):
                editor.edit(source, TARGET, **how)
    graphs = editor.runner.engine.recorder.list_graphs()  # type: ignore[union-attr]
    assert len(graphs) == 2 and len({one.split()[1] for one in graphs}) == 2  # UNet, step


def test_work_that_comes_once_is_not_recorded(gpu: Rehearsal, checkpoint: Path) -> None:
    editor = load(checkpoint)
    runs: list[int] = []
    editor.models.unet.conv_in.register_forward_pre_hook(lambda *_: runs.append(len(gpu.recording)))
    cost, recorder = editor.edit(make(editor), TARGET).cost, editor.runner.engine.recorder
    assert recorder and recorder.count == 2
    # Each of two graphs is run once before its capture, by which nothing is computed.
    computed = runs.count(0) + gpu.counts["replays"]
    assert runs.count(1) == 2 and computed == N + cost.unet_calls + 2


@pytest.mark.slow
def test_what_was_warmed_up_serves_what_people_ask(
    gpu: Rehearsal, checkpoint: Path, editor: Editor
) -> None:
    picture, own = make(editor).image, load(checkpoint)
    warm_up(own, [1, 2, 4], num_inference_steps=N, only=True)
    count = own.runner.engine.recorder.count  # type: ignore[union-attr]
    source, longer = make(own), own.generate("a boat", 3, N + 3)
    kinds: list[dict[str, Any]] = [{"mask": BOX}, {"mask": "auto"}, {"proximal": 0.6}]
    for how in [*kinds, {"guidance_scale": 1.0}]:
        own.edit(source, TARGET, **how)
    for method in ("null-text", "edit-friendly", "replay"):
        invert(own, method, picture)
    own.edits([Request(longer, TARGET), Request(longer, "a tent", "beta")], max_rows=4)
    own.sweep(source, ["a boat", TARGET], max_rows=4)
    assert own.runner.engine.recorder.count == count  # type: ignore[union-attr]
    with pytest.raises(BadInput, match="with only=True, but not for a UNet call of 2x4x8x10"):
        own.edit(make(own, width=40), TARGET)


@pytest.mark.representative("True-graph")
@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("served", [False, True])
def test_the_host_waits_once_a_call(
    gpu: Rehearsal, checkpoint: Path, mode: str, served: bool
) -> None:
    editor = load(checkpoint, mode=mode)
    counted = [_count_waits(gpu, editor, n, served) for n in (N, N, 2 * N)]
    (_, _), (waits, calls), (more_waits, more_calls) = counted
    assert more_calls > calls and more_waits - waits <= more_calls - calls
    if recorder := editor.runner.engine.recorder:  # a client who is alone has whole steps, too
        assert any(one.startswith("a step") for one in recorder.list_graphs())


def _count_waits(gpu: Rehearsal, editor: Editor, n: int, served: bool) -> tuple[int, int]:
    """Waits and UNet calls of a source and its edit in n steps."""

    def run(own: Editor) -> int:
        gpu.reset()
        how: dict[str, Any] = {"t_max": n, "t_m": n // 2, "schedule": "linear"}
        source = own.generate("a red house", 7, n)
        return n + sum(own.edit(source, TARGET, one, **how).cost.unet_calls for one in ("x", "c"))

    if not served:
        calls = run(editor)
        return sum(gpu.waits.values()), calls
    with run_batcher(editor, max_rows=8) as batcher, batcher.client() as client:
        calls = run(client_editor(editor, batcher, client))
        return sum(gpu.waits.values()), calls


@pytest.mark.slow
def test_replays_launch_little_beside_the_graph(gpu: Rehearsal, checkpoint: Path) -> None:
    """Copies of what a step reads, and of its result; no operator allocates within a replay."""
    editor = load(checkpoint)
    warm_up(editor, [2], num_inference_steps=N, only=True)
    counted = []
    for n in (N, 2 * N):
        source = editor.generate("a red house", 7, n)
        gpu.reset()
        cost = editor.edit(source, TARGET, t_max=n, t_m=n // 2, schedule="linear").cost
        counted.append((sum(gpu.launches.values()), cost.unet_calls, gpu.counts["replays"]))
    (few, calls, _), (more, more_calls, replays) = counted
    assert replays >= more_calls and (more - few) / (more_calls - calls) <= 12

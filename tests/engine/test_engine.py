"""How the denoiser is run changes no answer: eager, compiled, and as recorded graphs.

Graphs are recorded here by running the work again into the same memory, as a replay does; on a GPU
the tests at the end record real ones.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from mdp_lite import Editor
from mdp_lite.engine.graphs import GraphCache, GraphRecorder, Work
from mdp_lite.engine.step_graphs import StepGraphs
from mdp_lite.engine.unet_calls import (
    BUCKETS,
    CachedUNet,
    PaddedUNet,
    SplitUNet,
    pad_to_bucket,
)
from mdp_lite.models.unet import UNet
from mdp_lite.names import VARIANTS
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.warm_up import warm_up
from support.checkpoints import UNET_CONFIG
from support.recording import record_again

CPU = torch.device("cpu")
SCHEDULES = ("constant", "linear", "cosine", "exp")
N, TARGET = 6, "a blue house"
BOUND = 2e-5  # of a latent, relative to its largest: two ways in float32
# torch's own modules still make TorchScript when Inductor imports them.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def near(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= BOUND * a.abs().max())


def inputs(editor: Editor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    config = editor.models.unet.config
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, config.in_channels, 8, 8, generator=generator)
    return (
        x,
        torch.tensor(500),
        torch.randn(rows, 77, config.cross_attention_dim, generator=generator),
    )


def latents(editor: Editor, source: Any) -> Iterator[Tensor]:
    for variant in VARIANTS:
        for schedule in SCHEDULES:
            request = Request(source, TARGET, variant, t_max=5, t_m=3, schedule=schedule)
            *_, last = editor.steps([request])
            yield last.states[0].x


@pytest.fixture
def recording(editor: Editor) -> Editor:
    """An editor whose edits are whole recorded steps."""
    recorder = GraphRecorder(record_again)
    own = Editor(editor.models, editor.device)
    unet = editor.models.unet
    graphs = StepGraphs(recorder, SplitUNet(unet.predict, unet.times, unet.text))
    own.runner.engine = own.runner.engine._replace(single_step=graphs, recorder=recorder)
    return own


def test_recorded_steps_are_the_steps_for_all_variants_and_schedules(
    editor: Editor, recording: Editor
) -> None:
    source = editor.generate("a red house", 3, N)
    plain, recorded = (list(latents(one, source)) for one in (editor, recording))
    assert len(plain) == 4 * len(SCHEDULES) and all(map(near, plain, recorded))
    assert (
        recording.runner.engine.recorder.count == 3
    )  # rows: null, c; null, c, source; null, source


@pytest.mark.representative("settings0", "settings3", "settings5", "settings6")
@pytest.mark.parametrize("settings", [
    {"mask": "auto"}, {"proximal": 0.7}, {"guidance_scale": 1.0}, {"negative_prompt": "blurry"},
    {"strength": 0.4}, {"method": "edit-friendly"}, {"method": "null-text"}, {"steps": 1},
])  # fmt: skip
def test_recorded_steps_of_every_kind_of_edit(
    editor: Editor, recording: Editor, settings: dict[str, Any]
) -> None:
    n, method = settings.pop("steps", N), settings.pop("method", None)
    source = editor.generate("a red house", 3, n)
    if method:
        source = editor.invert(source.image, "a red house", method, n)
    how = {"t_max": n, "schedule": "linear"} | settings
    how |= {} if "strength" in how else {"t_m": n // 2}
    a = editor.edit(source, TARGET, **how).latent
    for _ in range(2):  # one step is recorded when it comes again
        assert near(a, recording.edit(source, TARGET, **how).latent)
    assert recording.runner.engine.recorder.count


def test_one_recording_serves_other_sources_prompts_and_weights(
    editor: Editor, recording: Editor
) -> None:
    for seed, prompt, t_m in ((1, TARGET, 2), (2, "a tent", 3), (1, "a boat", 2)):
        source = editor.generate("a red house", seed, N)
        a, b = (one.edit(source, prompt, t_max=5, t_m=t_m) for one in (editor, recording))
        assert near(a.latent, b.latent)
    assert recording.runner.engine.recorder.count == 1


def test_a_recorded_step_that_is_not_finite_is_taken_the_guarded_way(recording: Editor) -> None:
    source = recording.generate("a red house", 3, N)
    want = recording.edit(source, TARGET).latent
    single_step, results = recording.runner.engine.single_step, []

    def spoil(task: Any, i: int, reads: Any, x: Tensor, v_prediction: bool) -> Any:
        results.append(single_step(task, i, reads, x * torch.nan, v_prediction))

    recording.runner.engine = recording.runner.engine._replace(single_step=spoil)
    assert near(recording.edit(source, TARGET).latent, want)
    assert results and set(results) == {None}


def test_what_cannot_be_recorded_runs_as_ever_and_says_so_once(
    editor: Editor, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(run: Work) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    own, unet = Editor(editor.models, CPU), editor.models.unet
    recorder = GraphRecorder(refuse)
    graphs = StepGraphs(recorder, SplitUNet(unet.predict, unet.times, unet.text))
    own.runner.engine = own.runner.engine._replace(single_step=graphs, recorder=recorder)
    source = editor.generate("a red house", 3, N)
    with caplog.at_level(logging.WARNING, "mdp_lite"):
        assert torch.equal(own.edit(source, TARGET).latent, editor.edit(source, TARGET).latent)
    (record,) = caplog.records
    assert "runs eagerly: operation not permitted" in record.message and not recorder.count
    x, t, c = inputs(editor, 2)
    calls = GraphCache(recorder, unet)
    for _ in range(3):
        assert torch.equal(calls(x, t, c), unet(x, t, c))


def test_what_has_no_graph_is_refused_or_runs_eagerly(recording: Editor, editor: Editor) -> None:
    source = recording.generate("a red house", 3, N)
    recording.edit(source, TARGET)
    recorder = recording.runner.engine.recorder
    recorder.new_shapes = "refuse"
    recording.edit(source, "a tent")
    recording.edit(recording.generate("a red house", 3, N - 1), TARGET)  # any number of steps
    with pytest.raises(ValueError, match="warmed up with only=True, but not for a step of 8x8"):
        recording.edit(source, TARGET, proximal=0.5)
    count, recorder.new_shapes = recorder.count, "eager"
    for _ in range(2):
        got = recording.edit(source, TARGET, proximal=0.5).latent
    assert torch.equal(got, editor.edit(source, TARGET, proximal=0.5).latent)
    assert recorder.count == count


def test_what_was_warmed_up_serves_all_edits_and_nothing_else(recording: Editor) -> None:
    warm_up(recording, rows=(1, 2), num_inference_steps=N, only=True)
    count, picture = recording.runner.engine.recorder.count, Image.new("RGB", (32, 32), "red")
    sources = [recording.generate("a house", 1, N), recording.invert(picture, "a", "replay", N)]
    for source in [*sources, recording.invert(picture, "a", "edit-friendly", N)]:
        for variant in VARIANTS:
            recording.edit(source, TARGET, variant, t_max=5, t_m=3, guidance_scale=2.5)
        recording.edit(source, TARGET, schedule="local-leash")
    assert recording.runner.engine.recorder.count == count > 0
    recording.edit(sources[0], TARGET, mask="auto", proximal=0.6)
    recording.edit(recording.generate("a house", 1, N + 3), TARGET)
    with pytest.raises(ValueError, match="engine was warmed up .* not for a step of 10x8 cells"):
        recording.edit(recording.generate("a house", 1, N, width=40), TARGET)
    with pytest.raises(ValueError, match="rows of a call must be 1 or more, got 0"):
        warm_up(recording, rows=(0,))


@pytest.mark.parametrize("rows", [1, 5, 7, 64, 65])
def test_rows_are_padded_to_few_counts(editor: Editor, rows: int) -> None:
    x, t, c = inputs(editor, rows)
    for when in (t, t.expand(rows)):
        more, times, texts = pad_to_bucket(x, when, c)
        assert len(more) == len(texts) == next((b for b in BUCKETS if b >= rows), rows)
        assert len(times) == len(more) if when.ndim else times is when
        assert torch.equal(more[:rows], x) and torch.equal(more[-1], x[-1])
    if rows < 10:
        unet = editor.runner.engine.denoise
        assert torch.equal(
            PaddedUNet(GraphCache(GraphRecorder(record_again), unet))(x, t, c), unet(x, t, c)
        )


def test_what_depends_on_t_or_c_alone_is_computed_when_they_change(editor: Editor) -> None:
    unet, calls = editor.models.unet, []

    def log_calls(name: str) -> Any:
        return lambda *args: calls.append(name) or getattr(unet, name)(*args)

    denoise = CachedUNet(SplitUNet(*map(log_calls, ("predict", "times", "text"))))
    x, t, c = inputs(editor, 2)
    inputs_ = [(x, t, c), (2 * x, t, c.clone()), (x, t + 1, c), (x, t, c + 1), (x, t, c)]
    with torch.no_grad():
        for one in inputs_:
            assert torch.equal(denoise(*one), unet(*one))
        assert [calls.count(one) for one in ("predict", "times", "text")] == [5, 2, 3]
        each = torch.tensor([3, 5])
        for k, out in enumerate(denoise(x, each, c)):
            assert torch.equal(out, unet(x, each[k], c)[k])
    leaf = c.clone().requires_grad_()
    denoise(x, t, leaf).sum().backward()
    assert leaf.grad is not None and leaf.grad.abs().sum() > 0


# --- compiled -----------------------------------------------------------------------------------


ATTENDING = replace(
    UNET_CONFIG, block_out_channels=(16,), down_block_types=("CrossAttnDownBlock2D",),
    up_block_types=("CrossAttnUpBlock2D",),
)  # fmt: skip


@pytest.fixture(scope="module")
def pair(editor: Editor) -> Iterator[tuple[Editor, Editor]]:
    """The same small UNet eager and compiled, with the native attention where there is one."""
    torch.manual_seed(0)
    models = replace(editor.models, unet=UNet(ATTENDING).eval())
    torch._dynamo.reset()
    yield Editor(models, CPU), Editor(models, CPU, engine="compile")
    torch._dynamo.reset()


@pytest.mark.slow
def test_one_trace_of_each_shape_serves_all_steps_variants_and_schedules(
    pair: tuple[Editor, Editor],
) -> None:
    source = pair[0].generate("a red house", 3, N)
    a, b = (list(latents(one, source)) for one in pair)
    for plain, compiled in zip(a, b, strict=True):
        assert near(plain, compiled)
    how: dict[str, Any] = {"weight": 0.5, "guidance_every": 2}
    plain, compiled = (one.edit(source, TARGET, "beta", 5, 3, **how).latent for one in pair)
    assert near(plain, compiled)
    with torch._dynamo.config.patch(error_on_recompile=True):
        other = pair[0].generate("a boat", 4, N + 1, record_direction=True)
        list(latents(pair[1], other))
        pair[1].edit(other, TARGET, "beta", 6, 4, **how)
        with pytest.raises(torch._dynamo.exc.RecompileError):
            pair[1].runner.engine.denoise(*inputs(pair[1], 4))

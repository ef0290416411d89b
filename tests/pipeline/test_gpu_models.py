"""An Editor on a rehearsed GPU: what waits on the CPU, the VAE in stripes, settings, defaults."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mdp_lite import Editor
from mdp_lite.checkpoint.load import convert, examine, load
from mdp_lite.engine.edit_bytes import EditSize, count_edit_bytes
from mdp_lite.engine.gpu import GB, GpuSettings
from mdp_lite.engine.placement import RESERVE_BYTES, STREAMED, STRIPES, list_placements
from mdp_lite.engine.stripes import Stripes
from mdp_lite.files import atomic
from mdp_lite.models.conv import Conv2d
from mdp_lite.names import BadInput
from mdp_lite.pipeline import gpu_models, vae_calls, warn
from mdp_lite.pipeline.gpu_models import facts_of_checkpoint, facts_of_models, find_waiting
from support.rehearsal import Rehearsal
from support.rehearsing import rehearsal
from support.tables import relative_error

CUDA, N, NEAR = torch.device("cuda:0"), 3, 0.15
PARTS = ("text_encoder", "vae")
EXACT = 1e-5  # of a latent, relative to its norm, in float32


@pytest.fixture
def gpu() -> Iterator[Rehearsal]:
    flags = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    with rehearsal() as gpu:
        yield gpu
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = flags
    torch.backends.cuda.matmul.allow_tf32 = False


def open_editor(parts: tuple[str, ...], dtype: torch.dtype = torch.float32) -> Editor:
    """The bundled model on the GPU, with some parts on the CPU."""
    models = load("tiny", CUDA, dtype, find_waiting=lambda *_: parts)
    return Editor(models, CUDA, engine="eager")


def edit(editor: Editor) -> tuple[Tensor, bytes]:
    source = editor.generate("a red house on the grass", 7, N)
    found = editor.edit(source, "a blue house on the grass")
    return found.latent.cpu(), found.image.tobytes()


def test_parts_that_wait_give_the_same_bits_and_take_no_memory(gpu: Rehearsal) -> None:
    whole = open_editor(())
    facts, first = facts_of_models(whole.models), edit(whole)
    live = gpu.live
    del whole
    before = gpu.live
    waiting = open_editor(PARTS)
    assert waiting.runner.vae.waits
    latent, picture = edit(waiting)
    assert torch.equal(latent, first[0]) and picture == first[1]
    assert gpu.live - before <= live - 4 * sum(facts.weights[1:])
    assert not gpu.mismatches


def test_a_text_encoder_brings_one_layer_at_a_time(gpu: Rehearsal) -> None:
    waiting = open_editor(PARTS)
    facts = facts_of_models(waiting.models)
    before = gpu.peak = gpu.live
    waiting.runner.condition("a red house")
    assert 4 * facts.text_layer <= gpu.peak - before < 4 * facts.weights[1]


def test_an_editor_of_models_that_wait_shares_them(gpu: Rehearsal) -> None:
    waiting = open_editor(PARTS)
    again = Editor(waiting.models, CUDA, engine="eager")
    assert torch.equal(again.runner.condition("a house"), waiting.runner.condition("a house"))
    assert waiting.runner.preview_map.device.type == "cpu"  # it calls the VAE


@pytest.mark.representative("float16")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_rehearsed_peak_of_an_edit_is_near_the_plan(gpu: Rehearsal, dtype: str) -> None:
    editor = Editor.from_pretrained("tiny", "cuda", dtype)
    edit(editor)
    edit(editor)  # graphs are recorded by now
    facts, (width, height) = facts_of_models(editor.models), editor.runner.size
    said = list_placements(count_edit_bytes(facts, EditSize(height, width, 2, N)))[0].peak_bytes
    print(f"{dtype}: planned {said}, rehearsed {gpu.peak}")
    assert abs(said / gpu.peak - 1) <= NEAR


@pytest.mark.slow
@pytest.mark.parametrize("call", [STRIPES, STREAMED])
def test_a_vae_that_does_not_fit_works_in_stripes_and_says_so(
    gpu: Rehearsal, call: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    editor = open_editor(())
    first = edit(editor)
    warn.warn_stripes.cache_clear()
    monkeypatch.setattr(vae_calls, "Stripes", partial(Stripes, rows=5, large=0))
    monkeypatch.setattr(vae_calls, "choose_vae_call", lambda *_: call)
    latent, picture = edit(editor)
    assert torch.equal(latent, first[0])  # sampling calls no VAE
    pairs = zip(picture, first[1], strict=True)
    assert max(abs(a - b) for a, b in pairs) <= 1
    inverted = editor.runner.encode(editor.runner.decode(latent.to(CUDA)))
    monkeypatch.undo()
    assert (
        relative_error(
            inverted.cpu(), editor.runner.encode(editor.runner.decode(latent.to(CUDA))).cpu()
        )
        <= 0.01
    )  # of a picture of whole levels
    assert [text.count(call) for text in caplog.messages if "64x64" in text] == [1]
    assert not gpu.mismatches


def test_pictures_that_do_not_fit_together_are_decoded_one_by_one(gpu: Rehearsal) -> None:
    editor = open_editor(())
    latents = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(0)).to(CUDA)
    runner, sizes = editor.runner, []
    decode = editor.models.vae.decode
    editor.models.vae.decode = lambda z: (sizes.append(len(z)), decode(z))[1]  # type: ignore[method-assign]
    want = runner.run_vae("decode", latents, "the picture").cpu()
    runner.vae.budget = 0
    found = runner.run_vae("decode", latents, "the picture").cpu()
    assert sizes == [3, 1, 1, 1] and relative_error(found, want) <= EXACT


def test_parts_wait_where_the_plan_says_so(
    gpu: Rehearsal, caplog: pytest.LogCaptureFixture
) -> None:
    warn.warn_placement.cache_clear()
    examined, dtype = examine("tiny"), torch.float32
    facts = facts_of_checkpoint(examined, dtype)
    size = gpu_models.default_size(facts, examined.defaults.num_inference_steps)
    whole = list_placements(count_edit_bytes(facts, size))[0].peak_bytes

    def waiting(budget: int) -> tuple[str, ...]:
        settings = GpuSettings(memory=(budget + RESERVE_BYTES) / GB)
        return tuple(find_waiting(CUDA, settings, "graph", examined, dtype))

    assert waiting(whole + 1000) == () and not caplog.messages
    assert waiting(whole - 1000) == ("text_encoder", "text_encoder_2")
    assert waiting(0) == ("text_encoder", "text_encoder_2")
    assert "the text encoder waits on the CPU" in caplog.messages[0]
    assert "may run out of memory" in caplog.messages[1]
    assert find_waiting(torch.device("cpu"), GpuSettings(), "eager", examined, dtype) == ()


def test_from_pretrained_does_what_the_plan_says(gpu: Rehearsal) -> None:
    tight = GpuSettings(memory=RESERVE_BYTES / GB + 0.001)
    editor = Editor.from_pretrained("tiny", "cuda", "float32", gpu=tight)
    assert {one.device.type for one in editor.models.text_encoder.parameters()} == {"cpu"}
    assert {one.device.type for one in editor.models.unet.parameters()} == {"cuda"}
    assert editor.runner.vae.budget <= 0.001 * GB + 1
    with pytest.raises(BadInput, match="gpu must be a GpuSettings"):
        Editor.from_pretrained("tiny", "cuda", gpu=8)  # type: ignore[arg-type]


def lies_last(model: nn.Module) -> list[bool]:
    """For each convolution of more than one cell, whether its weight is in channels_last."""
    found = [one.weight for one in model.modules() if isinstance(one, Conv2d)]
    some = [one for one in found if one.shape[2] > 1 and one.shape[1] > 1]
    return [one.is_contiguous(memory_format=torch.channels_last) for one in some]


@pytest.mark.parametrize(
    ("dtype", "changes", "laid"),
    [
        ("float16", {}, True),
        ("float32", {}, False),
        ("float32", {"tf32": True}, True),
        ("float16", {"channels_last": False}, False),
        ("float16", {"cudnn_benchmark": True}, True),
    ],
)
def test_settings_of_a_gpu(gpu: Rehearsal, dtype: str, changes: dict, laid: bool) -> None:
    settings = replace(GpuSettings(), **changes)
    editor = Editor.from_pretrained("tiny", "cuda", dtype, gpu=settings)
    for model in (editor.models.unet, editor.models.vae):
        assert set(lies_last(model)) == {laid}
    assert torch.backends.cudnn.allow_tf32 is settings.tf32
    assert torch.backends.cuda.matmul.allow_tf32 is settings.tf32
    assert torch.backends.cudnn.benchmark is settings.cudnn_benchmark


def test_by_default_cudnn_times_nothing(gpu: Rehearsal) -> None:
    Editor.from_pretrained("tiny", "cuda")
    assert torch.backends.cudnn.benchmark is False


def test_a_cpu_changes_no_flag_and_no_layout() -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    editor = Editor.from_pretrained("tiny", "cpu", gpu=GpuSettings(tf32=True))
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark) == before
    assert not any(lies_last(editor.models.vae))


def test_the_default_on_a_gpu_is_16_bits_and_is_told_once(
    gpu: Rehearsal, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    convert("tiny", tmp_path / "wide", torch.float32)
    atomic.warn_once.cache_clear()
    editors = [Editor.from_pretrained(tmp_path / "wide", "cuda") for _ in range(2)]
    wide = Editor.from_pretrained(tmp_path / "wide", "cuda", "float32")
    assert next(editors[0].models.unet.parameters()).dtype == torch.float16
    assert next(wide.models.unet.parameters()).dtype == torch.float32
    told = [text for text in caplog.messages if "float32 becomes float16" in text]
    assert len(told) == 1 and "--dtype float32" in told[0]

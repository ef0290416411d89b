"""Inpainting models: several edits at once, batched and as graphs; stored sources; refusals."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mdp_lite.batcher.client import client_editor, run_batcher
from mdp_lite.editor import Editor
from mdp_lite.names import BadInput
from mdp_lite.pipeline.once import once
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.result import Source
from mdp_lite.pipeline.warm_up import warm_up
from mdp_lite.serve.served import prepare_models
from support.inpainted import BOX, PROMPT, SIDE, TARGET, N, editor, source, whole
from support.inpainting import draw_picture
from support.inverting import double
from support.recording import recording_editor
from support.source_cases import same_bits

__all__ = ["editor", "source", "whole"]  # fixtures


# several at once


def test_pictures_together_are_as_alone(editor: Editor) -> None:
    pictures, masks = [draw_picture(SIDE, SIDE, seed) for seed in (0, 1)], [BOX, None]
    exact = double(editor)
    together = exact.inverts(pictures, [PROMPT, ""], num_inference_steps=N, masks=masks)
    for one, picture, prompt, mask in zip(together, pictures, [PROMPT, ""], masks, strict=True):
        alone = exact.invert(picture, prompt, num_inference_steps=N, mask=mask)
        assert torch.equal(one.path.channels, alone.path.channels)  # type: ignore[arg-type]
        assert (one.path.x - alone.path.x).abs().max() <= 1e-8


@pytest.mark.parametrize("max_rows", [0, 8])
def test_the_batcher_stacks_them(editor: Editor, whole: Source, max_rows: int) -> None:
    """Edits with other masks share calls; alone each has the same picture."""
    boxes = [BOX, (0, 0, 16, 16), None]
    alone = [editor.edit(whole, TARGET, mask=box) for box in boxes]
    with run_batcher(editor, max_rows) as batcher, batcher.client() as client:
        own = client_editor(editor, batcher, client)
        made = own.edits([Request(whole, TARGET, mask=box) for box in boxes], max_rows)
    for one, other in zip(made, alone, strict=True):
        assert (one.latent - other.latent).abs().max() <= (1e-4 if max_rows else 0)


def test_edits_of_one_prompt_under_two_masks_share_no_step(editor: Editor, whole: Source) -> None:
    edits = editor.edits([Request(whole, TARGET, mask=box) for box in (BOX, (0, 0, 16, 16))])
    assert not torch.equal(edits[0].latent, edits[1].latent)


def test_equal_masks_are_encoded_once(editor: Editor, whole: Source) -> None:
    """So edits of one prompt under one mask share their steps; two masks are two guidances."""
    masks = [BOX, BOX, (0, 0, 16, 16)]
    first, again, other = editor.tasks([Request(whole, TARGET, mask=box) for box in masks])
    assert first.guidance is again.guidance and first.guidance is not other.guidance


def test_a_recorded_step_reads_the_channels_of_its_edit(editor: Editor, whole: Source) -> None:
    """One graph serves both masks: its channels are copied in with the tables of the edit."""
    recording = recording_editor(editor)
    for box in (BOX, (0, 0, 16, 16), None):
        a, b = (one.edit(whole, TARGET, "x", mask=box).latent for one in (editor, recording))
        assert (a - b).abs().max() <= 1e-4
    recorder = recording.runner.engine.recorder
    assert recorder is not None and recorder.count


def test_once_is_a_source_and_its_edit(editor: Editor) -> None:
    source = editor.generate(PROMPT, 2, N)
    latent = once(editor, PROMPT, TARGET, 2, num_inference_steps=N).latent
    assert torch.equal(latent, editor.edit(source, TARGET).latent)


def test_rows_that_warm_up_have_the_channels(editor: Editor) -> None:
    warm_up(editor, rows=[1, 2], num_inference_steps=2)
    prepare_models(editor, 2)


# stored


def test_a_source_is_saved_with_its_channels_and_its_mask(
    editor: Editor, source: Source, tmp_path: Path
) -> None:
    file = tmp_path / "one.safetensors"
    editor.save_source(source, file)
    found = editor.load_source(file)
    assert same_bits(found, source) and found.mask is not None
    assert (
        editor.edit(found, TARGET).picture.tobytes()
        == editor.edit(source, TARGET).picture.tobytes()
    )


@pytest.fixture
def caching(checkpoint_inpaint: Path, tmp_path: Path) -> Iterator[Editor]:
    yield Editor.from_pretrained(checkpoint_inpaint, device="cpu", cache=tmp_path / "cache")


def test_another_mask_is_another_source_in_the_cache(caching: Editor) -> None:
    rows = []
    for mask in (None, BOX, BOX, (0, 0, 16, 16), None):
        one = caching.invert(draw_picture(SIDE, SIDE), PROMPT, num_inference_steps=N, mask=mask)
        rows.append(one.cost.unet_rows)
        assert (one.mask is None) == (mask is None)
    assert [bool(n) for n in rows] == [True, True, False, True, False]


# refused


def test_a_source_of_a_model_that_reads_no_mask_is_refused(
    editor: Editor, checkpoint: Path, source: Source
) -> None:
    plain = Editor.from_pretrained(checkpoint, device="cpu")
    other = plain.generate(PROMPT, num_inference_steps=N)
    with pytest.raises(BadInput, match="^source must be of a model that reads a mask, got one wi"):
        editor.edit(other, TARGET)
    with pytest.raises(BadInput, match="^source must be of a model that reads no mask, got one w"):
        plain.edit(source, TARGET)


def test_masks_of_an_inversion_are_checked(editor: Editor) -> None:
    picture = draw_picture(SIDE, SIDE)
    with pytest.raises(BadInput, match="^mask auto is for an edit: an inversion has no second"):
        editor.invert(picture, mask="auto")
    with pytest.raises(BadInput, match="^a box must have 0 <= x0 < x1 <= 32"):
        editor.invert(picture, mask=(0, 0, 33, 8))
    with pytest.raises(BadInput, match="^masks must be as many as the images"):
        editor.inverts([picture], [""], masks=[BOX, BOX])

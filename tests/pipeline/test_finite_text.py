"""Conditions are finite: a text encoder that overflows in 16 bits is run in float32.

The kind: the numbers inside a part are too large for float16 (repaired by another run), its result
is, or a weight is (both refused by name, as no other run could repair them).
"""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mdp_lite.editor import Editor
from mdp_lite.names import BadCheckpoint, NotFinite
from support.inverting import PROMPT

TARGET = "a blue boat"


def with_text(editor: Editor, encoder: nn.Module) -> Editor:
    return Editor(replace(editor.models, text_encoder=encoder), editor.device)


def loud_text(editor: Editor, dtype: torch.dtype) -> nn.Module:
    """A text encoder whose last layer's result float16 can't hold; the norm makes it small."""
    encoder = deepcopy(editor.models.text_encoder)
    with torch.no_grad():
        layer = encoder.text_model.encoder.layers[-1].mlp
        layer.fc1.weight *= 200
        layer.fc2.weight *= 2e4
    return encoder.to(dtype)


def test_a_text_encoder_is_run_in_float32_too(editor: Editor) -> None:
    half, wide = (with_text(editor, loud_text(editor, torch.float16).to(dtype))
                  for dtype in (torch.float16, torch.float32))  # fmt: skip
    ids = torch.tensor([editor.models.tokenizer.ids(PROMPT)[0]])
    with torch.no_grad():
        assert not half.models.text_encoder(ids).isfinite().all()
    c, want = half.runner.condition(PROMPT), wide.runner.condition(PROMPT)
    assert c.dtype == torch.float16 and torch.equal(c, want.half())
    blend = half.runner.condition([(PROMPT, 1.0), (TARGET, 2.0)])
    assert blend.isfinite().all() and blend.dtype == torch.float16


@pytest.mark.parametrize(
    ("dtype", "tried"),
    [
        (torch.float32, "in float32"),
        (torch.float16, "in float16, in float32 neither"),
        (torch.bfloat16, "in bfloat16, in float32 neither"),
    ],
)
def test_a_condition_of_no_numbers_is_an_error(
    editor: Editor, dtype: torch.dtype, tried: str
) -> None:
    """The sentence names the text encoder's result, and only what was tried."""
    encoder = deepcopy(editor.models.text_encoder)
    with torch.no_grad():
        encoder.text_model.final_layer_norm.bias[0] = torch.nan
    one = with_text(editor, encoder.to(dtype))
    with pytest.raises(NotFinite, match=rf"^the prompt's condition is not .* infinity\) {tried}$"):
        one.runner.condition(PROMPT)


def test_a_condition_that_float16_can_not_hold_is_named(editor: Editor) -> None:
    encoder = deepcopy(editor.models.text_encoder).half()
    with torch.no_grad():
        encoder.text_model.final_layer_norm.bias.fill_(60000)
        encoder.text_model.final_layer_norm.weight.fill_(60000)
    one = with_text(editor, encoder)
    with pytest.raises(NotFinite, match=r"torch.float16 can't hold: want dtype float32"):
        one.runner.condition(PROMPT)


def test_a_weight_that_float16_can_not_hold_is_refused_when_loaded(
    checkpoint: Path, tmp_path: Path
) -> None:
    folder = copytree(checkpoint, tmp_path / "model")
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = {key: tensor.float() for key, tensor in load_file(path).items()}
    tensors["conv_in.weight"][0, 0, 0, 0] = 1e5
    path.unlink()
    save_file(tensors, path)
    with pytest.raises(BadCheckpoint, match="conv_in.weight has values that float16 can't hold"):
        Editor.from_pretrained(folder, "cpu", "float16")
    assert Editor.from_pretrained(folder, "cpu", "float32")

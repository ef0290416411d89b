"""clip_skip: the text encoders' last layers left out, as diffusers' encode_prompt does."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mdp_lite.checkpoint.identity import model_hash
from mdp_lite.editor import Editor
from mdp_lite.models.condition import unpack
from mdp_lite.names import BadInput
from support.diffusers_pipelines import draw, pipeline
from support.sdxl import pipeline_xl

PROMPTS = ("", "a b c", "a b c d e f g h i j k l m n a b c")
CASES: dict[str, Any] = {
    "SD 1.x": lambda: pipeline(draw(0), 0),
    "SD 2.x": lambda: pipeline(draw(1), 1),
    "SDXL": lambda: pipeline_xl(0),
    "SDXL, other": lambda: pipeline_xl(3),
}


@torch.no_grad()
def encode(pipe: Any, prompt: str, skip: int) -> list[torch.Tensor]:
    """diffusers' states, and SDXL's pooled state.

    For SD, diffusers 0.42 looks for the last norm where transformers 5 does not have it any more.
    """
    if not hasattr(pipe, "text_encoder_2"):
        ids = pipe.tokenizer(prompt, padding="max_length", truncation=True, return_tensors="pt")
        hidden = pipe.text_encoder(ids.input_ids, output_hidden_states=True).hidden_states
        return [pipe.text_encoder.final_layer_norm(hidden[-(skip + 1)])]
    settings = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
    found = pipe.encode_prompt(prompt, **settings, clip_skip=skip or None)
    return [found[0], *found[2:3]]


@pytest.mark.parametrize("case", CASES)
def test_every_clip_skip(case: str, tmp_path: Path) -> None:
    pipe, xl = CASES[case](), "XL" in case
    pipe.save_pretrained(tmp_path)
    layers = pipe.text_encoder.config.num_hidden_layers
    hashes = set()
    for skip in range(layers + 1 - xl):
        editor = Editor.from_pretrained(tmp_path, "cpu", clip_skip=skip)
        hashes.add(model_hash(editor.models.origin))
        for prompt in PROMPTS:
            want = encode(pipe, prompt, skip)
            c = editor.runner.condition(prompt)
            found = unpack(c, editor.models.unet.config.pooled_dim) if xl else (c,)
            for got, one in zip(found, want, strict=False):  # SDXL's third part is the sizes
                assert (got - one).abs().max() <= 1e-5 * one.abs().max()
    assert len(hashes) == layers + 1 - xl  # stored sources of one are not those of another


@pytest.mark.parametrize("skip", [-1, 99, True, 1.0, "1", None])
def test_a_bad_clip_skip(skip: Any, checkpoint: Path) -> None:
    with pytest.raises(BadInput, match="clip_skip must be from 0 to 1, as the text encoder has 1 "):
        Editor.from_pretrained(checkpoint, "cpu", clip_skip=skip)

"""Learned words of SDXL: in both tokenizers and token tables, as diffusers learns them."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.models.condition import unpack
from mdp_lite.names import BadCheckpoint
from support.embedding_files import File, vectors
from support.letters import END
from support.sdxl import pipeline_xl

PROMPTS = ("a <sks> b", "<sks>", "<sks><sks> c d", "a b c", "a " * 12 + "<sks> b", "A <SKS> b")


@pytest.fixture(scope="module")
def pipe() -> Any:
    return pipeline_xl(0)


@pytest.fixture(scope="module")
def folder(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("xl") / "model"
    pipe.save_pretrained(place)
    return place


def widths(pipe: Any) -> tuple[int, int]:
    return pipe.text_encoder.config.hidden_size, pipe.text_encoder_2.config.hidden_size


def word(pipe: Any, count: int) -> dict[str, Tensor]:
    return {
        key: vectors(count, width, seed=i)
        for i, (key, width) in enumerate(zip(("clip_l", "clip_g"), widths(pipe), strict=True))
    }


def learn_theirs(pipe: Any, tensors: dict[str, Tensor]) -> None:
    """diffusers takes the vectors of each encoder one by one."""
    for key, end in (("clip_l", ""), ("clip_g", "_2")):
        pipe.load_textual_inversion(
            tensors[key],
            token="<sks>",
            text_encoder=getattr(pipe, f"text_encoder{end}"),
            tokenizer=getattr(pipe, f"tokenizer{end}"),
        )


def split(editor: Editor, c: Tensor) -> tuple[Tensor, Tensor]:
    found = unpack(c, editor.models.unet.config.pooled_dim)
    return found.states, found.pooled


def encode_theirs(pipe: Any, prompt: str, clip_skip: int | None = None) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        found = pipe.encode_prompt(
            prompt, device="cpu", do_classifier_free_guidance=False, clip_skip=clip_skip
        )
    return found[0], found[2]


@pytest.mark.covering(1)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("bundled", [False, True])
def test_a_word_of_both_encoders(
    count: int, bundled: bool, pipe: Any, folder: Path, tmp_path: Path
) -> None:
    """The pooled state is that of the end of the prompt.

    SDXL's config says eos_token_id 2, which transformers reads as "at the highest id": that is the
    end, unless a learned word has a higher id. Then diffusers pools at the word. The second
    encoder was trained, and its projection is fitted, for the end (kohya's trainer and ComfyUI pool
    there), so that is right, and diffusers does so once its config names the end.
    """
    pipe = copy.deepcopy(pipe)
    tensors = word(pipe, count)
    path = File(tensors, name="<sks>").write(tmp_path)
    if bundled:
        found = {f"bundle_emb.<sks>.{key}": tensor for key, tensor in tensors.items()}
        lora = {"lora_unet_conv_in.diff_b": torch.zeros_like(pipe.unet.conv_in.bias)}
        save_file(lora | found, tmp_path / "lora.safetensors")
        editor = Editor.from_pretrained(folder, "cpu", loras=[tmp_path / "lora.safetensors"])
        assert "the word <sks> comes with a LoRA and is learned" in editor.models.notes
    else:
        editor = Editor.from_pretrained(folder, "cpu", embeddings=[path])
    learn_theirs(pipe, tensors)
    at_word = encode_theirs(pipe, "a <sks> b")[1]
    pipe.text_encoder_2.text_model.eos_token_id = END
    for prompt in PROMPTS:
        pairs = zip(
            split(editor, editor.runner.condition(prompt)),
            encode_theirs(pipe, prompt.lower()),
            strict=True,
        )
        for got, want in pairs:
            assert (got - want).abs().max() <= 1e-6 * want.abs().max().clamp(min=1), prompt
    assert not torch.allclose(at_word, encode_theirs(pipe, "a <sks> b")[1], atol=1e-3)


BAD = {
    "half": (("clip_g",), "an embedding for SDXL has clip_l and clip_g, got 1 tensors (clip_g)"),
    "first half": (("clip_l",), "this model is SDXL: want clip_l and clip_g"),
}


@pytest.mark.parametrize("case", BAD)
def test_half_a_word_is_refused(case: str, pipe: Any, folder: Path, tmp_path: Path) -> None:
    keys, sentence = BAD[case]
    path = File({key: word(pipe, 2)[key] for key in keys}).write(tmp_path)
    with pytest.raises(BadCheckpoint) as caught:
        Editor.from_pretrained(folder, "cpu", embeddings=[path])
    assert sentence in str(caught.value)


def test_words_of_other_families(pipe: Any, folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    ours = File(word(pipe, 2)).write(tmp_path)
    with pytest.raises(BadCheckpoint, match="learned is for SDXL, this model is SD 1.x or 2.x"):
        Editor.from_pretrained(checkpoint, "cpu", embeddings=[ours])
    for width, family in ((768, "SD 1.x"), (1024, "SD 2.x"), (16, "SD 1.x or 2.x")):
        path = File({"<sks>": vectors(1, width)}, name=f"w{width}").write(tmp_path)
        with pytest.raises(BadCheckpoint, match=f"<sks> is for {family}, this model is SDXL"):
            Editor.from_pretrained(folder, "cpu", embeddings=[path])
    uneven = File(word(pipe, 2) | {"clip_g": word(pipe, 3)["clip_g"]}, name="uneven")
    with pytest.raises(BadCheckpoint, match="must have as many vectors, got 2 and 3"):
        Editor.from_pretrained(folder, "cpu", embeddings=[uneven.write(tmp_path)])

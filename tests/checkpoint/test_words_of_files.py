"""Several learned words from one file, and the words that come with a LoRA.

The kind is "a file with more than one word, or a word under a key that is not its name": dicts of
diffusers' training scripts, AUTOMATIC1111's string_to_param, ComfyUI's clip_l, a LoRA's bundle_emb.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mdp_lite.checkpoint.load import AddOns, load
from mdp_lite.checkpoint.tokenizer import Tokenizer
from mdp_lite.editor import Editor
from mdp_lite_weights.embeddings import read_bundle, read_embeddings
from support.embedding_files import File, vectors

ONE, TWO = vectors(16), vectors(3, 16, seed=1)
CPU = torch.device("cpu")
SEVERAL: dict[str, tuple[File, dict[str, int]]] = {
    "diffusers": (File({"<b>": ONE, "<a>": TWO}), {"<b>": 1, "<a>": 3}),
    "ten": (File({f"<w{i}>": vectors(2, 16, seed=i) for i in range(10)}), {"<w7>": 2, "<w9>": 2}),
    "half and full": (File({"<b>": ONE.half(), "<a>": TWO}), {"<b>": 1, "<a>": 3}),
    "A1111": (
        File({"string_to_param.<b>": ONE, "string_to_param.<a>": TWO}),
        {"<b>": 1, "<a>": 3},
    ),
    "A1111, one": (File({"string_to_param.*": TWO}, name="<sks>"), {"<sks>": 3}),
    "ComfyUI, SD 1": (File({"clip_l": TWO}, name="<sks>"), {"<sks>": 3}),
    "ComfyUI, SD 2": (File({"clip_h": TWO}, metadata={"name": "<sks>"}), {"<sks>": 3}),
}


def sizes(tokenizer: Tokenizer) -> dict[str, int]:
    """Learned words and how many vectors each has, as prompts use them."""
    names = {i: word for word, i in tokenizer.clip.added_tokens_encoder.items()}
    return {names[i]: len(vectors) for i, vectors in tokenizer.words.items()}


@pytest.mark.parametrize("case", SEVERAL)
def test_every_word_of_a_file_is_learned(case: str, checkpoint: Path, tmp_path: Path) -> None:
    file, want = SEVERAL[case]
    path = file.write(tmp_path)
    models = load(checkpoint, CPU, addons=AddOns(embeddings=((path, None),)))
    got = sizes(models.tokenizer)
    assert {word: got[word] for word in want} == want and models.notes == ()
    table = models.text_encoder.text_model.embeddings.token_embedding.weight
    rows = torch.cat([one.vectors.float() for one in read_embeddings(path)])
    assert torch.equal(table[-len(rows) :], rows.to(table.dtype))


def test_several_words_are_as_one_file_for_each(checkpoint: Path, tmp_path: Path) -> None:
    both = File({"<b>": ONE, "<a>": TWO}).write(tmp_path)
    words = (("<b>", ONE, "b"), ("<a>", TWO, "a"))
    each = [File({word: one}, name=name).write(tmp_path) for word, one, name in words]
    one = Editor.from_pretrained(checkpoint, embeddings=[both])
    two = Editor.from_pretrained(checkpoint, embeddings=each)
    for prompt in ("a <a> house", "<b><a>", "the <b>, <A>"):
        assert torch.equal(one.runner.condition(prompt), two.runner.condition(prompt))


BUNDLES: dict[str, dict[str, torch.Tensor]] = {
    "emb_params": {"bundle_emb.<sks>.emb_params": TWO, "bundle_emb.<b>.emb_params": ONE},
    "string_to_param": {"bundle_emb.<sks>.string_to_param.*": TWO},
    "clip_l": {"bundle_emb.<sks>.clip_l": TWO, "bundle_emb.v1.5.clip_l": ONE},
    "bare": {"bundle_emb.<sks>": TWO},
}


@pytest.mark.parametrize("case", BUNDLES)
def test_words_that_come_with_a_lora(case: str, checkpoint: Path, tmp_path: Path) -> None:
    models = load(checkpoint, CPU)
    bias = models.unet.conv_in.bias
    assert bias is not None
    path = tmp_path / "lora.safetensors"
    save_file({"lora_unet_conv_in.diff_b": torch.zeros_like(bias.float())} | BUNDLES[case], path)
    models = load(checkpoint, CPU, addons=AddOns(loras=((path, 0.5),)))
    assert sizes(models.tokenizer)["<sks>"] == 3
    assert "the word <sks> comes with a LoRA and is learned" in models.notes
    assert len(models.notes) == len(BUNDLES[case]) == len(read_bundle(path))
    word = File({"<sks>": TWO}).write(tmp_path)
    alone = load(checkpoint, CPU, addons=AddOns(embeddings=((word, None),)))
    tables = [m.text_encoder.text_model.embeddings.token_embedding.weight for m in (models, alone)]
    ids = [m.tokenizer.ids("a <sks> house")[0][2:5] for m in (models, alone)]
    assert torch.equal(tables[0][ids[0]], tables[1][ids[1]])


def test_a_bundled_word_that_is_a_token_is_left_out_with_a_note(
    checkpoint: Path, tmp_path: Path
) -> None:
    models = load(checkpoint, CPU)
    bias = torch.zeros(models.unet.conv_in.weight.shape[0])
    words = {f"bundle_emb.{word}.emb_params": ONE.clone() for word in ("house", "<sks>")}
    words["bundle_emb.<wide>.emb_params"] = vectors(768)
    path = tmp_path / "lora.safetensors"
    save_file({"lora_unet_conv_in.diff_b": bias} | words, path)
    mine = File({"<sks>": TWO}).write(tmp_path)
    addons = AddOns(loras=((path, 1.0),), embeddings=((mine, None),))
    models = load(checkpoint, CPU, addons=addons)
    assert sizes(models.tokenizer)["<sks>"] == 3  # the file that was named wins
    assert sorted(models.notes) == [
        f"a word that comes with a LoRA is left out: the embedding {text}"
        for text in (
            "<sks> needs another name: <sks> is a token already",
            "<wide> has width 768 (SD 1.x), the text encoder 16",
            "house needs another name: house is a token already",
        )
    ]

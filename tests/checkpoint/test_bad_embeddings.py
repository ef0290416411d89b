"""Textual inversion that can't be read or can't fit: one sentence each."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mdp_lite.checkpoint.tokenizer import add_words, load_tokenizer
from mdp_lite.models.config import CLIPConfig
from mdp_lite_weights.embeddings import read_embeddings
from support.embedding_files import File, vectors
from train_tiny.tokens import END, LENGTH

BAD_FILES: dict[str, tuple[File, str]] = {
    "half of SDXL": (
        File({"clip_g": vectors(2, 32)}),
        "an embedding for SDXL has clip_l and clip_g, got 1 tensors (clip_g)",
    ),
    "no tensor": (File({}), "must hold one tensor, named by its word or emb_params, or several"),
    "more tensors": (
        File({"emb_params": vectors(16), "step": vectors(1)}),
        "must hold one tensor, named by its word or emb_params, or several named by their words, "
        "got 2 (emb_params, step)",
    ),
    "several words, renamed": (
        File({"<b>": vectors(16), "<a>": vectors(16)}, given="<c>"),
        "holds 2 words (<a>, <b>), so it can't take the name '<c>' for one",
    ),
    "one of several is damaged": (
        File({"<a>": vectors(16), "<b>": torch.full((16,), torch.nan)}),
        "holds numbers that are not finite",
    ),
    "one of several is no word": (
        File({"<a>": vectors(16), " ": vectors(16)}),
        "the word must be a text without spaces around it, got ' '",
    ),
    "a number": (File({"<sks>": torch.tensor(1.0)}), "or a list of vectors, got shape []"),
    "a cube": (File({"<sks>": vectors(1, 2, 16)}), "or a list of vectors, got shape [1, 2, 16]"),
    "no vector": (File({"<sks>": vectors(0, 16)}), "or a list of vectors, got shape [0, 16]"),
    "no width": (File({"<sks>": vectors(2, 0)}), "or a list of vectors, got shape [2, 0]"),
    "whole numbers": (
        File({"<sks>": torch.ones(16, dtype=torch.int64)}),
        "has dtype torch.int64, want a 16 or 32-bit float",
    ),
    "fp8": (
        File({"<sks>": vectors(16).to(torch.float8_e4m3fn)}),
        "has dtype torch.float8_e4m3fn, want a 16 or 32-bit float",
    ),
    "nan": (File({"<sks>": torch.full((16,), torch.nan)}), "holds numbers that are not finite"),
    "infinity": (
        File({"<sks>": torch.full((2, 16), torch.inf, dtype=torch.float16)}),
        "holds numbers that are not finite",
    ),
    "no word": (File({"": vectors(16)}), "a text without spaces around it, got ''"),
    "a word with a space": (File({"sks ": vectors(16)}), "spaces around it, got 'sks '"),
    "a name of spaces": (
        File({"emb_params": vectors(16)}, metadata={"name": " "}),
        "the word must be a text without spaces around it, got ' '",
    ),
    "an empty name given": (File({"<sks>": vectors(16)}, given=""), "around it, got ''"),
}


@pytest.mark.parametrize(("file", "sentence"), BAD_FILES.values(), ids=list(BAD_FILES))
def test_bad_files(file: File, sentence: str, tmp_path: Path) -> None:
    path = file.write(tmp_path / "embeddings")
    with pytest.raises(ValueError) as caught:
        read_embeddings(path, file.given)
    assert str(caught.value).startswith("embeddings/learned.safetensors")
    assert sentence in str(caught.value)


UNREADABLE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a pickle": ("learned_embeds.bin", lambda path: path.write_bytes(b"x"), "`mdp-lite convert`"),
    "A1111's pickle": ("sks.pt", lambda path: path.write_bytes(b"x"), "`mdp-lite convert`"),
    "cut short": (
        "sks.safetensors",
        lambda path: path.write_bytes(b"\x99" * 20),
        "is not a readable safetensors file",
    ),
    "nothing": ("sks.safetensors", lambda path: None, "can't be read"),
    "a folder": ("sks", lambda path: path.mkdir(), "can't be read"),
}


@pytest.mark.parametrize(("name", "make", "sentence"), UNREADABLE.values(), ids=list(UNREADABLE))
def test_unreadable(
    name: str, make: Callable[[Path], object], sentence: str, tmp_path: Path
) -> None:
    make(tmp_path / name)
    with pytest.raises(ValueError) as caught:
        read_embeddings(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path.name}/{name} ")
    assert sentence in str(caught.value)


ONE, TWO = vectors(1, 16), vectors(2, 16)
BAD_WORDS: dict[str, tuple[list[tuple[str, Tensor]], str]] = {
    "width": (
        [("<sks>", vectors(1, 24))],
        "the embedding <sks> has width 24, the text encoder 16",
    ),
    "a word of SD 2": (
        [("<sks>", vectors(1, 1024))],
        "the embedding <sks> has width 1024 (SD 2.x), the text encoder 16",
    ),
    "a word of SD 1": (
        [("<sks>", vectors(2, 768))],
        "the embedding <sks> has width 768 (SD 1.x), the text encoder 16",
    ),
    "too many": (
        [("<sks>", vectors(LENGTH - 1, 16))],
        f"the embedding <sks> has {LENGTH - 1} vectors, a prompt has room for {LENGTH - 2}",
    ),
    "a word": ([("house", ONE)], "the embedding house needs another name: house is a token"),
    "a word in capitals": ([("HOUSE", ONE)], "HOUSE is a token already"),
    "a piece of a word": ([("hous", ONE)], "hous is a token already"),
    "a letter": ([("*", ONE)], "* is a token already"),
    "the end": ([(END, ONE)], f"{END} is a token already"),
    "twice": ([("<sks>", ONE), ("<sks>", TWO)], "<sks> is a token already"),
    "twice but for case": ([("<sks>", ONE), ("<SKS>", ONE)], "<SKS> is a token already"),
    "a later vector's name": (
        [("<sks>_1", ONE), ("<sks>", TWO)],
        "the embedding <sks> needs another name: <sks>_1 is a token already",
    ),
    "an earlier vector's name": ([("<sks>", TWO), ("<sks>_1", ONE)], "<sks>_1 is a token already"),
}


@pytest.mark.parametrize(("found", "sentence"), BAD_WORDS.values(), ids=list(BAD_WORDS))
def test_bad_words(found: list[tuple[str, Tensor]], sentence: str, checkpoint: Path) -> None:
    text = json.loads((checkpoint / "text_encoder/config.json").read_text("utf-8"))
    config = CLIPConfig(**text)
    tokenizer = load_tokenizer(checkpoint / "tokenizer", config)
    with pytest.raises(ValueError) as caught:
        add_words(tokenizer, found, config)
    assert sentence in str(caught.value)

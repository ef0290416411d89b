"""Textual inversion: the same ids and conditions as diffusers' load_textual_inversion."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from mdp_lite.clip import CLIPTextEncoder
from mdp_lite.config import CLIPConfig
from mdp_lite.tokenizer import Tokenizer, learn, load_tokenizer
from mdp_lite_weights.embeddings import Embedding, read_embedding
from train_tiny.tokens import END, LENGTH

BOUND = 1e-4
TABLE = "text_model.embeddings.token_embedding.weight"
PROMPTS = (
    "", "<sks>", "a <sks> house on the grass", "<sks><sks>", "a red<sks>house", "<sks> <other>",
    "(<sks>), <sks>! the <sks>'s \"<other>\"", "A RED <sks> House", "sks", "<sks", "<sks>_1",
    "zebra <other>s", "<sks> " * 4, "<sks> " * 26, "<other> <sks> " * 9, "a " * 23 + "<sks>",
    "a " * 22 + "<sks> a", "a " * 24 + "<sks>", "a " * 25 + "<sks>",
)  # fmt: skip


def vectors(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


class File(NamedTuple):
    """A file to write, the name that our side is given and the one that diffusers needs."""

    tensors: dict[str, Tensor]
    given: str | None = None
    theirs: str | None = None
    name: str = "learned"
    metadata: dict[str, str] | None = None

    def write(self, folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.name}.safetensors"
        save_file(self.tensors, path, self.metadata)
        return path


OTHER = File({"<other>": vectors(2, 16, seed=1)}, name="other")
FILES: dict[str, tuple[File, ...]] = {
    "a vector": (File({"<sks>": vectors(16)}),),
    "a list of one": (File({"<sks>": vectors(1, 16)}),),
    "vectors": (File({"<sks>": vectors(3, 16)}),),
    "more than ten": (File({"<sks>": vectors(12, 16)}),),
    "half precision": (File({"<sks>": vectors(2, 16, dtype=torch.float16)}),),
    "named anew": (File({"<dog>": vectors(2, 16)}, given="<sks>", theirs="<sks>"),),
    "A1111, named by its file": (
        File({"emb_params": vectors(3, 16)}, theirs="<sks>", name="<sks>"),
    ),
    "A1111, named within": (
        File({"emb_params": vectors(1, 16)}, theirs="<sks>", metadata={"name": "<sks>"}),
    ),
    "A1111, named anew": (
        File({"emb_params": vectors(2, 16)}, "<sks>", "<sks>", metadata={"name": "<dog>"}),
    ),
    "two": (File({"<sks>": vectors(3, 16)}), OTHER),
    "two, the other way": (OTHER, File({"emb_params": vectors(16)}, "<sks>", "<sks>")),
}


class Side(NamedTuple):
    """The words that were learned on our side: tokenizer and text encoder."""

    tokenizer: Tokenizer
    encoder: CLIPTextEncoder


@pytest.fixture(scope="module")
def config(checkpoint: Path) -> CLIPConfig:
    return CLIPConfig(**json.loads((checkpoint / "text_encoder/config.json").read_text("utf-8")))


@pytest.fixture(scope="module")
def plain(checkpoint: Path, config: CLIPConfig) -> Tokenizer:
    """The tokenizer that all tests of this file learn from, and none may change."""
    return load_tokenizer(checkpoint / "tokenizer", config)


def pipeline(checkpoint: Path) -> StableDiffusionPipeline:
    """diffusers' side, before it learns."""
    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(checkpoint / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(checkpoint / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(checkpoint / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(checkpoint / "unet"),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def taught(
    checkpoint: Path, given: Tokenizer, config: CLIPConfig, found: list[Embedding], spare: int = 0
) -> Side:
    """Our side, with spare rows that no token has between the old and the learned ones."""
    config = replace(config, vocab_size=config.vocab_size + spare)
    tokenizer, rows = learn(given, found, config)
    tensors = load_file(checkpoint / "text_encoder/model.safetensors")
    tensors[TABLE] = torch.cat([tensors[TABLE], torch.full((spare, 16), torch.nan), rows])
    encoder = CLIPTextEncoder(replace(config, vocab_size=config.vocab_size + len(rows)))
    encoder.load_state_dict(tensors)
    return Side(tokenizer, encoder.eval())


def theirs_ids(pipe: StableDiffusionPipeline, prompt: str) -> list[int]:
    prompt = pipe.maybe_convert_prompt(prompt, pipe.tokenizer)
    return pipe.tokenizer(prompt, padding="max_length", truncation=True)["input_ids"]


@torch.no_grad()
def distance(ours: Side, pipe: StableDiffusionPipeline, prompt: str) -> float:
    """Largest error of the condition, over its largest value."""
    got = ours.encoder(torch.tensor([ours.tokenizer.ids(prompt)[0]]))
    want = pipe.encode_prompt(prompt, "cpu", 1, False)[0]
    assert got.shape == want.shape
    return float((got - want).abs().max() / want.abs().max())


@pytest.mark.parametrize("files", FILES.values(), ids=list(FILES))
def test_files(
    files: tuple[File, ...], checkpoint: Path, plain: Tokenizer, config: CLIPConfig, tmp_path: Path
) -> None:
    pipe, found = pipeline(checkpoint), []
    for i, file in enumerate(files):
        path = file.write(tmp_path / str(i))
        pipe.load_textual_inversion(path.parent, weight_name=path.name, token=file.theirs)
        found.append(read_embedding(path, file.given))
    ours = taught(checkpoint, plain, config, found)
    spaced = taught(checkpoint, plain, config, found, spare=5)
    for prompt in PROMPTS:
        assert ours.tokenizer.ids(prompt)[0] == theirs_ids(pipe, prompt), prompt
        assert distance(ours, pipe, prompt) <= BOUND
        assert distance(spaced, pipe, prompt) <= BOUND


def test_a_cut_word_is_told(plain: Tokenizer, config: CLIPConfig) -> None:
    tokenizer, _ = learn(plain, [Embedding("<sks>", vectors(3, 16))], config)
    cut = [tokenizer.ids("a " * n + "<sks>")[1] for n in range(LENGTH - 5, LENGTH)]
    assert cut == [False, True, True, True, True]


@pytest.mark.parametrize("saved", ["<SKS>", "<sks>"])
def test_words_are_read_in_any_case(
    saved: str, checkpoint: Path, plain: Tokenizer, config: CLIPConfig, tmp_path: Path
) -> None:
    """diffusers reads only the first vector where the case is another, or the word has capitals."""
    pipe, rows = pipeline(checkpoint), vectors(3, 16)
    path = File({"<sks>": rows}).write(tmp_path)
    pipe.load_textual_inversion(path.parent, weight_name=path.name)
    tokenizer, _ = learn(plain, [Embedding(saved, rows)], config)
    want = theirs_ids(pipe, "a <sks> house")
    for prompt in ("a <sks> house", "A <SKS> HOUSE", "a <Sks> house"):
        assert tokenizer.ids(prompt) == (want, False)


def test_words_that_a_folder_brings(checkpoint: Path, config: CLIPConfig, tmp_path: Path) -> None:
    pipe = pipeline(checkpoint)
    path = FILES["vectors"][0].write(tmp_path)
    pipe.load_textual_inversion(path.parent, weight_name=path.name)
    pipe.tokenizer.save_pretrained(tmp_path / "tokenizer")
    grown = replace(config, vocab_size=config.vocab_size + 3)
    tokenizer = load_tokenizer(tmp_path / "tokenizer", grown)
    more, _ = learn(tokenizer, [Embedding("<other>", vectors(2, 16))], grown)
    assert all(tokenizer.ids(prompt)[0] == theirs_ids(pipe, prompt) for prompt in PROMPTS)
    assert more.ids("<sks><other>")[0][1:6] == [*range(config.vocab_size, config.vocab_size + 5)]


def test_the_tokenizer_that_is_given_stays(plain: Tokenizer, config: CLIPConfig) -> None:
    before = [plain.ids(prompt) for prompt in PROMPTS]
    tokenizer, _ = learn(plain, [Embedding("<sks>", vectors(3, 16))], config)
    assert [plain.ids(prompt) for prompt in PROMPTS] == before and plain.words == {}
    assert tokenizer.ids("<sks>")[0] != plain.ids("<sks>")[0]
    same, none = learn(plain, [], config)
    assert none.shape == (0, 16) and [same.ids(prompt) for prompt in PROMPTS] == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_rows_are_the_vectors(dtype: torch.dtype, plain: Tokenizer, config: CLIPConfig) -> None:
    first, second = vectors(2, 16, dtype=dtype), vectors(1, 16, seed=1, dtype=dtype)
    _, rows = learn(plain, [Embedding("<b>", first), Embedding("<a>", second)], config)
    assert rows.dtype == torch.float32 and torch.equal(rows, torch.cat([first, second]).float())


BAD_FILES: dict[str, tuple[File, str]] = {
    "SDXL": (
        File({"clip_l": vectors(2, 16), "clip_g": vectors(2, 32)}),
        "is an embedding for SDXL, which is not supported",
    ),
    "half of SDXL": (File({"clip_g": vectors(2, 32)}), "is an embedding for SDXL"),
    "no tensor": (File({}), "must hold one tensor, named by its word or emb_params, got 0"),
    "more tensors": (
        File({"emb_params": vectors(16), "step": vectors(1)}),
        "must hold one tensor, named by its word or emb_params, got 2 (emb_params, step)",
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
        read_embedding(path, file.given)
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
        read_embedding(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path.name}/{name} ")
    assert sentence in str(caught.value)


ONE, TWO = vectors(1, 16), vectors(2, 16)
BAD_WORDS: dict[str, tuple[list[tuple[str, Tensor]], str]] = {
    "width": (
        [("<sks>", vectors(1, 24))],
        "the embedding <sks> has width 24, the text encoder 16",
    ),
    "too many": (
        [("<sks>", vectors(LENGTH - 1, 16))],
        f"the embedding <sks> has {LENGTH - 1} vectors, a prompt has room for {LENGTH - 2}",
    ),
    "a word": ([("house", ONE)], "the embedding house needs a name of its own: house is a token"),
    "a word in capitals": ([("HOUSE", ONE)], "HOUSE is a token already"),
    "a piece of a word": ([("hous", ONE)], "hous is a token already"),
    "a letter": ([("*", ONE)], "* is a token already"),
    "the end": ([(END, ONE)], f"{END} is a token already"),
    "twice": ([("<sks>", ONE), ("<sks>", TWO)], "<sks> is a token already"),
    "twice but for case": ([("<sks>", ONE), ("<SKS>", ONE)], "<SKS> is a token already"),
    "a later vector's name": (
        [("<sks>_1", ONE), ("<sks>", TWO)],
        "the embedding <sks> needs a name of its own: <sks>_1 is a token already",
    ),
    "an earlier vector's name": ([("<sks>", TWO), ("<sks>_1", ONE)], "<sks>_1 is a token already"),
}


@pytest.mark.parametrize(("found", "sentence"), BAD_WORDS.values(), ids=list(BAD_WORDS))
def test_bad_words(
    found: list[tuple[str, Tensor]], sentence: str, plain: Tokenizer, config: CLIPConfig
) -> None:
    with pytest.raises(ValueError) as caught:
        learn(plain, found, config)
    assert sentence in str(caught.value)

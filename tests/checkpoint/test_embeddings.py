"""Textual inversion: the same ids and conditions as diffusers' load_textual_inversion."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from mdp_lite.checkpoint.tokenizer import Tokenizer, add_words, load_tokenizer
from mdp_lite.editor import Editor
from mdp_lite.models.clip import CLIPTextEncoder
from mdp_lite.models.config import CLIPConfig
from mdp_lite_weights.embeddings import read_embeddings
from support.embedding_files import File, vectors
from train_tiny.tokens import LENGTH

BOUND = 1e-4
TABLE = "text_model.embeddings.token_embedding.weight"
PROMPTS = (
    "", "<sks>", "a <sks> house on the grass", "<sks><sks>", "a red<sks>house", "<sks> <other>",
    "(<sks>), <sks>! the <sks>'s \"<other>\"", "A RED <sks> House", "sks", "<sks", "<sks>_1",
    "zebra <other>s", "<sks> " * 4, "<sks> " * 26, "<other> <sks> " * 9, "a " * 23 + "<sks>",
    "a " * 22 + "<sks> a", "a " * 24 + "<sks>", "a " * 25 + "<sks>",
)  # fmt: skip


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
    """The tokenizer to which the tests of this file add words; none may change it."""
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


def learn(
    checkpoint: Path,
    given: Tokenizer,
    config: CLIPConfig,
    found: list[tuple[str, Tensor]],
    spare: int = 0,
) -> Side:
    """Our side, with spare table entries, which no token has, between the old and the new ones."""
    config = replace(config, vocab_size=config.vocab_size + spare)
    tokenizer, rows = add_words(given, found, config)
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
        found += [(one.token, one.vectors) for one in read_embeddings(path, file.given)]
    ours = learn(checkpoint, plain, config, found)
    spaced = learn(checkpoint, plain, config, found, spare=5)
    for prompt in PROMPTS:
        assert ours.tokenizer.ids(prompt)[0] == theirs_ids(pipe, prompt), prompt
        assert distance(ours, pipe, prompt) <= BOUND
        assert distance(spaced, pipe, prompt) <= BOUND


def test_a_cut_word_is_told(plain: Tokenizer, config: CLIPConfig) -> None:
    tokenizer, _ = add_words(plain, [("<sks>", vectors(3, 16))], config)
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
    tokenizer, _ = add_words(plain, [(saved, rows)], config)
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
    more, _ = add_words(tokenizer, [("<other>", vectors(2, 16))], grown)
    assert all(tokenizer.ids(prompt)[0] == theirs_ids(pipe, prompt) for prompt in PROMPTS)
    assert more.ids("<sks><other>")[0][1:6] == [*range(config.vocab_size, config.vocab_size + 5)]


def test_the_tokenizer_that_is_given_stays(plain: Tokenizer, config: CLIPConfig) -> None:
    before = [plain.ids(prompt) for prompt in PROMPTS]
    tokenizer, _ = add_words(plain, [("<sks>", vectors(3, 16))], config)
    assert [plain.ids(prompt) for prompt in PROMPTS] == before and plain.words == {}
    assert tokenizer.ids("<sks>")[0] != plain.ids("<sks>")[0]
    same, none = add_words(plain, [], config)
    assert none.shape == (0, 16) and [same.ids(prompt) for prompt in PROMPTS] == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_rows_are_the_vectors(dtype: torch.dtype, plain: Tokenizer, config: CLIPConfig) -> None:
    first, second = vectors(2, 16, dtype=dtype), vectors(1, 16, seed=1, dtype=dtype)
    _, rows = add_words(plain, [("<b>", first), ("<a>", second)], config)
    assert rows.dtype == torch.float32 and torch.equal(rows, torch.cat([first, second]).float())


@pytest.mark.parametrize("stored", [torch.float32, torch.float16])
def test_the_editor_learns(stored: torch.dtype, checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    weights = checkpoint / "text_encoder/model.safetensors"
    save_file({key: t.to(stored) for key, t in load_file(weights).items()}, weights)
    pipe, paths = pipeline(checkpoint), [file.write(tmp_path) for file in FILES["two"]]
    pipe.text_encoder.float()
    for path in paths:
        pipe.load_textual_inversion(path.parent, weight_name=path.name)
    editor = Editor.from_pretrained(checkpoint, device="cpu", embeddings=paths)
    with torch.no_grad():
        for prompt in PROMPTS:
            want = pipe.encode_prompt(prompt, "cpu", 1, False)[0]
            assert (editor.runner.condition(prompt) - want).abs().max() <= BOUND * want.abs().max()


def test_an_embedding_takes_the_word_it_is_given(checkpoint: Path, tmp_path: Path) -> None:
    path = FILES["vectors"][0].write(tmp_path)
    named, other = (
        Editor.from_pretrained(checkpoint, embeddings=[one]) for one in (path, (path, "<other>"))
    )
    word = read_embeddings(path)[0].token
    assert torch.equal(named.runner.condition(f"a {word}"), other.runner.condition("a <other>"))
    assert not torch.equal(named.runner.condition(f"a {word}"), other.runner.condition(f"a {word}"))

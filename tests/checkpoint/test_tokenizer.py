"""A CLIP tokenizer in each form that checkpoints have it in: the same ids from all of them."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from transformers import CLIPTokenizer

from mdp_lite.checkpoint.tokenizer import FastTokenizer, Tokenizer, _load_fast, load_tokenizer
from mdp_lite.models.config import CLIPConfig
from support.checkpoints import WORDS
from train_tiny.tokens import END, LENGTH, START, write_tokenizer

CONFIG = CLIPConfig(600, 16, 32, 1, 2, max_position_embeddings=LENGTH)
PROMPTS = (
    "", "a red house", "A  RED\tHouse!", "blue-house, at night?!", "houseboat's 1234", "zebra",
    "crème brûlée (on) 草 ☃", "a " * (LENGTH - 2), "a " * (LENGTH - 1), "!" * LENGTH,
    f"the {END} house{START}",
)  # fmt: skip


def rewrite(path: Path, **changed: Any) -> None:
    data = json.loads(path.read_text("utf-8")) if path.exists() else {}
    path.write_text(json.dumps(data | changed), "utf-8")


def build_token(content: str, **more: Any) -> dict[str, Any]:
    flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    return {"content": content, **flags, **more}


def plain(folder: Path, pad: str) -> None:
    """vocab.json and merges.txt with a config, the form that the tests elsewhere have."""
    write_tokenizer(folder, WORDS)
    rewrite(folder / "tokenizer_config.json", pad_token=pad)
    rewrite(folder / "special_tokens_map.json", pad_token=pad)


def early_4(folder: Path, pad: str) -> None:
    """As the folders of SD 1 have it: tokens with flags, in both config files."""
    plain(folder, pad)
    tokens = {
        "bos_token": build_token(START),
        "eos_token": build_token(END),
        "unk_token": build_token(END),
    }
    rewrite(folder / "special_tokens_map.json", **tokens)
    typed = {name: {"__type": "AddedToken", **token} for name, token in tokens.items()}
    rewrite(folder / "tokenizer_config.json", **typed)


def late_4(folder: Path, pad: str) -> None:
    """Special tokens by id, and no map beside them."""
    plain(folder, pad)
    (folder / "special_tokens_map.json").unlink()
    ids = json.loads((folder / "vocab.json").read_text("utf-8"))
    special = {"normalized": False, "special": True}
    table = {str(ids[token]): build_token(token, **special) for token in {START, END, pad}}
    rewrite(folder / "tokenizer_config.json", added_tokens_decoder=table)


def fast_5(folder: Path, pad: str) -> None:
    """What transformers 5 saves: tokenizer.json and its config, nothing else."""
    plain(folder / "from", pad)
    CLIPTokenizer.from_pretrained(folder / "from").save_pretrained(folder)
    assert {path.name for path in folder.iterdir() if path.is_file()} == {
        "tokenizer.json",
        "tokenizer_config.json",
    }


def fast_4(folder: Path, pad: str) -> None:
    """Merges as texts, the class by its older name, and a cut and padding that were saved along."""
    fast_5(folder, pad)
    model = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]
    model["merges"] = [" ".join(merge) for merge in model["merges"]]
    cut = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
    fill = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None,
            "pad_id": 3, "pad_type_id": 0, "pad_token": pad}  # fmt: skip
    rewrite(folder / "tokenizer.json", model=model, truncation=cut, padding=fill)
    rewrite(folder / "tokenizer_config.json", tokenizer_class="CLIPTokenizerFast")


def other_pad(folder: Path, pad: str) -> None:
    """Made to pad with another token: the pad is given by whoever loads it."""
    plain(folder, END)


def bare(folder: Path, pad: str) -> None:
    """No config at all: defaults, the length is the text encoder's."""
    plain(folder, pad)
    (folder / "special_tokens_map.json").unlink()
    (folder / "tokenizer_config.json").unlink()


FORMS = (early_4, late_4, fast_5, fast_4, other_pad, bare)


def open_form(form: Callable[[Path, str], None], folder: Path, pad: str) -> Tokenizer:
    form(folder, pad)
    return load_tokenizer(folder, CONFIG, pad if form in (other_pad, bare) else None)


@pytest.mark.parametrize("pad", [END, "!"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_ids(
    form: Callable[[Path, str], None], pad: str, tmp_path: Path
) -> None:
    plain(tmp_path / "plain", pad)
    theirs = CLIPTokenizer.from_pretrained(tmp_path / "plain")
    ours = open_form(form, tmp_path / "form", pad)
    for prompt in PROMPTS:
        want = theirs(prompt, padding="max_length", truncation=True)["input_ids"]
        assert ours.ids(prompt) == (want, len(theirs(prompt, verbose=False)["input_ids"]) > LENGTH)


def test_only_a_plain_tokenizer_json_is_read_without_transformers(tmp_path: Path) -> None:
    kinds = {form: type(open_form(form, tmp_path / form.__name__, END).clip) for form in FORMS}
    assert [form for form, kind in kinds.items() if kind is FastTokenizer] == [fast_5, fast_4]
    folder = tmp_path / "fast_5"
    assert isinstance(load_tokenizer(folder, CONFIG, growable=True).clip, CLIPTokenizer)
    assert isinstance(load_tokenizer(folder, CONFIG, END).clip, CLIPTokenizer)


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("tokenizer.json", {"normalizer": None}),
        ("tokenizer_config.json", {"model_max_length": 1e30}),
        ("tokenizer_config.json", {"eos_token": build_token(END)}),
        ("tokenizer_config.json", {"bos_token": END}),
        ("special_tokens_map.json", {"pad_token": END}),
    ],
)
def test_what_is_out_of_the_ordinary_is_left_to_transformers(
    file: str, changed: dict[str, Any], tmp_path: Path
) -> None:
    fast_5(tmp_path, END)
    assert isinstance(load_tokenizer(tmp_path, CONFIG).clip, FastTokenizer)
    rewrite(tmp_path / file, **changed)
    assert _load_fast(tmp_path) is None


def test_the_text_encoder_may_be_shorter(tmp_path: Path) -> None:
    plain(tmp_path, END)
    short = CLIPConfig(600, 16, 32, 1, 2, max_position_embeddings=5)
    ids, cut = load_tokenizer(tmp_path, short).ids("a red house on the grass")
    assert len(ids) == 5 and cut


def test_threads_share_a_tokenizer(tmp_path: Path) -> None:
    alone = open_form(fast_4, tmp_path / "alone", END)
    want = [alone.ids(prompt) for prompt in PROMPTS]
    tokenizer = open_form(fast_4, tmp_path / "shared", END)
    assert tokenizer.clip.backend_tokenizer.truncation is None
    assert tokenizer.clip.backend_tokenizer.padding is None

    def read(_: int) -> list[tuple[list[int], bool]]:
        return [tokenizer.ids(prompt) for prompt in PROMPTS]

    with ThreadPoolExecutor(8) as pool:
        assert all(got == want for got in pool.map(read, range(64)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("prompt", "want"),
    [
        ("", ""),
        ("a red house", "a red house"),
        ("a " * (LENGTH - 2), "a " * (LENGTH - 2)),
        ("a " * (LENGTH - 1), " ".join("a" * (LENGTH - 2))),
        ("A  RED\tHouse " + "a " * LENGTH, "A  RED\tHouse" + " a" * (LENGTH - 5)),
        ("a, " * LENGTH, ("a, " * (LENGTH // 2 - 1)).strip()),
    ],
)
def test_the_part_of_a_prompt_that_is_read(
    form: Callable[[Path, str], None], prompt: str, want: str, tmp_path: Path
) -> None:
    """Its ids are the ids of the whole prompt, and a word more would be cut."""
    tokenizer = open_form(form, tmp_path, END)
    part = tokenizer.read_part(prompt)
    assert part == want and tokenizer.ids(part) == (tokenizer.ids(prompt)[0], False)


REFUSED = {
    "a length in words": ({"model_max_length": "26"}, "must be an int from 3, got '26'"),
    "no length": ({"model_max_length": 2}, "model_max_length must be an int from 3, got 2"),
    "no padding": ({"pad_token": None}, "tokenizer must have a pad_token, got none"),
    "a token too many": ({"pad_token": "<pad>"}, "tokenizer has 539 tokens, text encoder 538"),
    "no end": ({"eos_token": None}, "tokenizer must be a whole CLIP tokenizer, got"),
}


@pytest.mark.parametrize(("changed", "sentence"), REFUSED.values(), ids=list(REFUSED))
def test_refusals(changed: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    plain(tmp_path, END)
    (tmp_path / "special_tokens_map.json").unlink()
    rewrite(tmp_path / "tokenizer_config.json", **changed)
    count = len(json.loads((tmp_path / "vocab.json").read_text("utf-8")))
    config = CLIPConfig(count, 16, 32, 1, 2, max_position_embeddings=LENGTH)
    with pytest.raises(ValueError) as caught:
        load_tokenizer(tmp_path, config)
    assert sentence in str(caught.value)

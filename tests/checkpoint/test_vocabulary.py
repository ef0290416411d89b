"""Words that a bundled model does not know are named, and what to do about them."""

import json
import logging
import random
import shutil
from pathlib import Path

import pytest
from safetensors.torch import save_file

from mdp_lite import BadCheckpoint, Editor
from mdp_lite.checkpoint.knowledge import Knowledge, split_settings
from mdp_lite.checkpoint.vocabulary import find_unknown, split_words
from mdp_lite.eval import world
from support.embedding_files import vectors

WORDS = frozenset({"a", "red", "house", "café"})


@pytest.fixture(scope="module")
def tiny() -> Editor:
    return Editor.from_pretrained("tiny", device="cpu")


def test_the_list_is_what_captions_can_say(tiny: Editor) -> None:
    rng, found = random.Random(0), set[str]()
    for seed in range(3000):
        found |= set(split_words(world.random_caption(world.sample(seed), rng)))
    assert tiny.models.knowledge.words == found == set(world.WORDS) - {","}


def test_a_caption_has_no_unknown_word(tiny: Editor) -> None:
    for seed in range(50):
        for form in ("comma", "sentence"):
            text = world.caption(world.sample(seed), form=form)
            assert tiny.runner.describe_unknown_words(text) == []
    assert tiny.runner.describe_unknown_words("") == []


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("A RED House!", []),
        ("a (red:1.2) house, [house]", ["1", "2"]),
        ("a red-house / house_red", []),
        ("2 houses, a house's door; 'red'", ["2", "houses", "house's", "door"]),
        ("cafe\u0301 caf\u00e9 CAF\u00c9", []),
        ("ein rotes Haus, ein Haus", ["ein", "rotes", "haus"]),
        ("红房子 \U0001f3e0 house", ["红房子", "\U0001f3e0"]),
        ("\u201cred\u201d \u2014 house\u2026", []),
        ("", []),
    ],
)
def test_words_of_a_prompt(prompt: str, unknown: list[str]) -> None:
    assert find_unknown(prompt, WORDS, ()) == unknown
    assert find_unknown(prompt, frozenset(), ()) == []


def test_learned_words_are_known() -> None:
    assert find_unknown("a <My-Cat*> house", WORDS, ("<my-cat*>",)) == []
    assert find_unknown("a <my-cat*> house", WORDS, ()) == ["my", "cat"]


def test_a_learned_word_of_a_file_is_known(tmp_path: Path) -> None:
    path = tmp_path / "cat.safetensors"
    save_file({"emb_params": vectors(2, 128)}, path)
    editor = Editor.from_pretrained("tiny", device="cpu", embeddings=[(path, "<cat-toy>")])
    assert editor.runner.find_unknown_words("a red <cat-toy> castle") == ("castle",)


def test_the_library_logs_them_once(tiny: Editor, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "mdp_lite"):
        source = tiny.generate("a red lighthouse", num_inference_steps=2)
        tiny.edit(source, [("a blue lighthouse", 1.0), ("a windmill", 1.0)])
        tiny.edit(source, "a red lighthouse", negative_prompt="a tree")
    told = [record.getMessage() for record in caplog.records]
    want = 'the model was trained on 41 words, not on "lighthouse"'
    other = ": for other words load a Stable Diffusion of your own (`mdp-lite info --list`)"
    assert told == [f"{want}{other}", f'{want}, "windmill"{other}']


def test_a_stored_source_is_noted_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Editor.from_pretrained(cache=tmp_path).generate("a skyscraper", num_inference_steps=2)
    from mdp_lite.pipeline.runner import warn_words

    warn_words.cache_clear()  # as in the next process
    caplog.clear()
    again = Editor.from_pretrained(cache=tmp_path).generate("a skyscraper", num_inference_steps=2)
    assert again.cost.unet_rows == 0 and '"skyscraper"' in caplog.text


def test_at_most_five_are_named(tiny: Editor) -> None:
    (sentence,) = tiny.runner.describe_unknown_words("one two three four five six seven six")
    assert '"five" and 2 more: ' in sentence and '"six"' not in sentence
    (sentence,) = tiny.runner.describe_unknown_words("x" * 1000)
    assert len(sentence) < 200


def test_a_model_without_a_list_says_nothing(editor: Editor) -> None:
    assert editor.models.knowledge.words == frozenset()
    assert editor.runner.describe_unknown_words("a lighthouse") == []


@pytest.mark.parametrize("words", [[], "a house", [""], [1], {"a": 1}, None])
def test_a_bad_list_is_refused(words: object, checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "model")
    (folder / "mdp_lite.json").write_text(json.dumps({"words": words}))
    with pytest.raises(BadCheckpoint, match="mdp_lite.json: words must be a list of words, got "):
        Editor.from_pretrained(folder, device="cpu")


def test_any_checkpoint_may_bring_a_list(checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "model")
    (folder / "mdp_lite.json").write_text(json.dumps({"words": ["a", "House"]}))
    editor = Editor.from_pretrained(folder, device="cpu")
    assert editor.runner.find_unknown_words("a house, a boat") == ("boat",)
    assert split_settings({"guidance_scale": 2.0}) == ({"guidance_scale": 2.0}, Knowledge())

"""Prompts beyond the text encoder's length: the sentence says where they were cut."""

import pytest
import torch

from mdp_lite.editor import Editor

LONG = "a red house on the green hill " * 9


def test_a_prompt_that_fits_says_nothing(editor: Editor) -> None:
    for prompt in ("", "a red house", [("a red house", 1.0), ("", 2.0)]):
        assert editor.runner.describe_cuts(prompt) == []
        assert not editor.runner.is_truncated(prompt)


@pytest.mark.parametrize("prompt", [LONG, LONG.upper(), f"  {LONG}", LONG.replace(" ", ", ")])
def test_the_last_words_that_were_read_are_named(prompt: str, editor: Editor) -> None:
    (sentence,) = editor.runner.describe_cuts(prompt)
    room = editor.models.tokenizer.length - 2
    assert sentence.startswith(f'only {room} tokens of a prompt are read: it ends at "')
    words = sentence.split('"')[1]
    assert 1 <= len(words.split()) <= 5 and words.split()[-1].strip(",") in prompt
    part = editor.models.tokenizer.read_part(prompt)
    assert " ".join(part.split()).endswith(words) and editor.runner.is_truncated(prompt)


def test_each_long_text_of_a_blend_has_its_sentence(editor: Editor) -> None:
    blend = [(LONG, 1.0), ("a boat", 1.0), (f"blue {LONG}", 1.0)]
    assert len(editor.runner.describe_cuts(blend)) == 2


@pytest.mark.parametrize("prompt", ["a (red:1.2) house", "a [red] house", "a ((red)) house"])
def test_weights_are_plain_text(prompt: str, editor: Editor) -> None:
    """No emphasis: the ids are the tokenizer's of the text as it stands, brackets included."""
    ids, plain = (editor.models.tokenizer.ids(text)[0] for text in (prompt, "a red house"))
    raw = editor.models.tokenizer.clip(prompt, verbose=False)["input_ids"]
    assert ids != plain and ids[: len(raw)] == raw
    c, other = editor.runner.condition(prompt), editor.runner.condition("a red house")
    assert not torch.equal(c, other)

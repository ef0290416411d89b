"""The words that a model was trained on, if its checkpoint says them, and the others in a prompt.

A checkpoint says them in its mdp_lite.json: {"words": ["a", "house", ...]}. A large model has no
such list: it has read nearly every word.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from mdp_lite.names import BadCheckpoint

KEY = "words"  # in mdp_lite.json
WORD_KINDS = ("L", "M", "N", "So", "Cf")  # letters, marks, digits, emoji and what joins them
APOSTROPHES = "'\u2019"
NAMED = 5  # of unknown words, in a sentence
OTHER_MODEL = "for other words load a Stable Diffusion of your own (`mdp-lite info --list`)"


def split_settings(raw: dict[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """The content of an mdp_lite.json without the words, and the words."""
    words = raw.get(KEY, [])
    texts = isinstance(words, list) and all(isinstance(one, str) and one for one in words)
    if not texts or (KEY in raw and not words):
        raise BadCheckpoint(f"mdp_lite.json: words must be a list of words, got {words!r:.80}")
    others = {key: value for key, value in raw.items() if key != KEY}
    return others, frozenset(map(normalise, words))


def find_unknown(prompt: str, vocabulary: frozenset[str], learned: Iterable[str]) -> list[str]:
    """The words of a prompt that are not in the vocabulary, each once, in their order.

    learned are words of textual inversion, which may hold any characters. Without a vocabulary
    nothing is known about words, so none is unknown.
    """
    if not vocabulary:
        return []
    text = normalise(prompt)
    for word in sorted(learned, key=len, reverse=True):
        text = text.replace(normalise(word), " ")
    return [word for word in dict.fromkeys(split_words(text)) if word not in vocabulary]


def describe_unknown(words: Sequence[str], count: int) -> str:
    """A sentence that names such words, for a model that was trained on count words."""
    names = ", ".join(f'"{word:.40}"' for word in words[:NAMED])
    names += f" and {more} more" if (more := len(words) - NAMED) > 0 else ""
    return f"the model was trained on {count} words, not on {names}: {OTHER_MODEL}"


def normalise(text: str) -> str:
    """A text as CLIP's tokenizer compares it: composed characters, in lower case."""
    return unicodedata.normalize("NFC", text).lower()


def split_words(text: str) -> list[str]:
    """The words of a text: what stands between blanks and punctuation."""
    parts = "".join(one if _is_in_word(one) else " " for one in text).split()
    return [word for part in parts if (word := part.strip(APOSTROPHES))]


def _is_in_word(character: str) -> bool:
    return character in APOSTROPHES or unicodedata.category(character).startswith(WORD_KINDS)

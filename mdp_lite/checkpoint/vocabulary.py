"""The words of a prompt that are not among those that a model was trained on (knowledge.py)."""

import unicodedata
from collections.abc import Iterable, Sequence

WORD_KINDS = ("L", "M", "N", "So", "Cf")  # letters, marks, digits, emoji and what joins them
APOSTROPHES = "'\u2019"
NAMED = 5  # of unknown words, in a sentence
OTHER_MODEL = "for other words load a Stable Diffusion of your own (`mdp-lite info --list`)"


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

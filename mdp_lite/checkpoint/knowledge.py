"""What a checkpoint says that its model knows: words in groups, and the kind of its pictures.

It says so in its mdp_lite.json, each part optional:

    {"words": ["a", "red", "blue", "house"], "groups": {"colours": ["red", "blue"]},
     "pictures": "synthetic scenes", "least_psnr": 27.0}

A large model says nothing there: it has read nearly every word and seen every kind of picture.
"""

from collections import Counter
from typing import Any, NamedTuple

from mdp_lite.checkpoint.vocabulary import normalise
from mdp_lite.names import BadCheckpoint

KEYS = ("words", "groups", "pictures", "least_psnr")
LONGEST = 80  # characters of what the pictures are called
WordGroup = tuple[str, tuple[str, ...]]  # "colours", ("red", "blue")


class Knowledge(NamedTuple):
    """What a model was trained on; empty and None mean that the checkpoint does not say.

    A word is in one group or in none; one of a group can stand where another of it does.
    least_psnr is in dB: the model's VAE gives pictures of its kind back at least so well.
    """

    words: frozenset[str] = frozenset()
    groups: tuple[WordGroup, ...] = ()
    pictures: str = ""
    least_psnr: float | None = None

    @property
    def all_groups(self) -> tuple[WordGroup, ...]:
        """The groups, and after them the words of no group, under the name ''."""
        others = self.words - {word for _, words in self.groups for word in words}
        return (*self.groups, ("", tuple(sorted(others)))) if others else self.groups

    def with_addons(self, loras: bool, vae: bool) -> "Knowledge":
        """What is still true with LoRAs, which teach more, or with another VAE."""
        return Knowledge() if loras else self._replace(least_psnr=None) if vae else self


def split_settings(raw: dict[str, Any]) -> tuple[dict[str, Any], Knowledge]:
    """The content of an mdp_lite.json without these keys, and what they say.

    Raises BadCheckpoint for values of another form, and for a group with unknown words.
    """
    words = frozenset(map(normalise, _read_words(raw)))
    pictures = raw.get("pictures", "")
    if not isinstance(pictures, str) or len(pictures) > LONGEST:
        _refuse("pictures", f"a text of at most {LONGEST} characters", pictures)
    found = Knowledge(words, _read_groups(raw, words), pictures, _read_psnr(raw))
    return {key: value for key, value in raw.items() if key not in KEYS}, found


def _read_words(raw: dict[str, Any]) -> list[str]:
    words = raw.get("words", [])
    if not _is_list_of_words(words) or ("words" in raw and not words):
        _refuse("words", "a list of words", words)
    return words


def _read_groups(raw: dict[str, Any], words: frozenset[str]) -> tuple[WordGroup, ...]:
    groups = raw.get("groups", {})
    if not isinstance(groups, dict) or not all(map(_is_list_of_words, groups.values())):
        _refuse("groups", "lists of words by name", groups)
    found = tuple((name, tuple(map(normalise, some))) for name, some in groups.items())
    for word, count in Counter(word for _, some in found for word in some).items():
        if word not in words or count > 1:
            _refuse("groups", "only words of the list, each once", word)
    return found


def _read_psnr(raw: dict[str, Any]) -> float | None:
    bound = raw.get("least_psnr")
    if bound is None:
        return None
    if type(bound) not in (int, float) or not 0 < bound < 100 or not raw.get("pictures"):
        _refuse("least_psnr", "0 to 100 dB, and pictures beside it", bound)
    return float(bound)


def _is_list_of_words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one for one in value)


def _refuse(key: str, want: str, got: object) -> None:
    raise BadCheckpoint(f"mdp_lite.json: {key} must be {want}, got {got!r:.80}")

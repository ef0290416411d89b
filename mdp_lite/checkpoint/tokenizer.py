"""Prompts to token ids, by transformers' CLIP tokenizer, with words of textual inversion.

Textual inversion (Gal et al. 2022, arXiv 2208.01618): a word stands for one or more vectors, which
are entries of the text encoder's token table.
"""

import copy
import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mdp_lite.models.config import CLIPConfig
from mdp_lite.names import BadCheckpoint

# SHA-256 of a tokenizer.json as transformers' CLIPTokenizer writes it, without words and ids.
STANDARD_HASH = "377cee6d5b51ea8dbf474fa4d269d76afca749d422786fdd88daec0a2e874594"
FAMILIES = {768: " (SD 1.x)", 1024: " (SD 2.x)", 1280: " (SDXL)"}  # by width of the vectors


class FastTokenizer:
    """The part of transformers' CLIPTokenizer that prompts need, by its tokenizers library.

    It avoids the import of transformers, which takes a second: a quarter of a small edit from the
    command line.
    """

    def __init__(self, folder: Path, backend: Any, eos: str, pad: str) -> None:
        backend.no_truncation()
        backend.no_padding()
        self.name_or_path, self.backend_tokenizer = str(folder), backend
        self.eos_token_id, self.pad_token_id = backend.token_to_id(eos), backend.token_to_id(pad)
        self.added_tokens_encoder = {
            token.content: i for i, token in backend.get_added_tokens_decoder().items()
        }

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size()

    def __call__(self, prompt: str, verbose: bool = False) -> dict[str, list[int]]:
        """The ids of a prompt with start and end, under transformers' key."""
        return {"input_ids": self.backend_tokenizer.encode(prompt).ids}


@dataclass(frozen=True)
class Tokenizer:
    """A CLIPTokenizer or a FastTokenizer with learned words; it is never changed.

    length is that of the longest prompt with start and end. words maps the id that clip gives a
    learned word to the indices of its vectors in the token table.
    """

    clip: Any
    length: int
    words: dict[int, tuple[int, ...]]

    @property
    def added(self) -> tuple[str, ...]:
        """The texts that are tokens of their own: start, end and learned words."""
        return tuple(self.clip.added_tokens_encoder)

    def ids(self, prompt: str, second: str = "") -> tuple[list[int], bool]:  # noqa: ARG002
        """The ids of a prompt, cut or padded to length, and whether they were cut.

        The tokenizer itself would store these settings, which is not safe with several threads. As
        in diffusers, a cut may leave only the first vectors of a learned word. second is not read:
        it is for a second text encoder, as Tokenizers has one.
        """
        raw = self.clip(prompt, verbose=False)["input_ids"]
        ids = [index for one in raw for index in self.words.get(one, (one,))]
        if len(ids) > self.length:
            return [*ids[: self.length - 1], self.clip.eos_token_id], True
        return ids + [self.clip.pad_token_id] * (self.length - len(ids)), False

    def read_part(self, prompt: str) -> str:
        """The start of a prompt that fits into length; all of it if nothing is cut."""
        if not self.ids(prompt)[1]:
            return prompt
        encoded, count, end = self.clip.backend_tokenizer.encode(prompt), 0, 0
        for one, (_, stop) in zip(encoded.ids, encoded.offsets, strict=True):
            count += len(self.words.get(one, (one,)))
            if count >= self.length:
                break
            end = max(end, stop)
        return prompt[:end]

    @property
    def each(self) -> tuple["Tokenizer", ...]:
        """Itself, as the tokenizers of SDXL are two."""
        return (self,)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where its files lie."""
        return (Path(self.clip.name_or_path),)


@dataclass(frozen=True)
class Tokenizers:
    """The tokenizers of SDXL, one for each text encoder; both cut a prompt to the same length."""

    first: Tokenizer
    second: Tokenizer

    @property
    def added(self) -> tuple[str, ...]:
        """The texts that are tokens of their own in the first one."""
        return self.first.added

    @property
    def length(self) -> int:
        """Of the longest prompt, with start and end."""
        return min(self.first.length, self.second.length)

    def ids(self, prompt: str, second: str = "") -> tuple[list[list[int]], bool]:
        """The ids of a prompt for each encoder, and whether they were cut.

        second is another prompt for the second encoder, if it is not empty.
        """
        pairs = [self.first.ids(prompt), self.second.ids(second or prompt)]
        return [ids for ids, _ in pairs], any(cut for _, cut in pairs)

    def read_part(self, prompt: str) -> str:
        """The start of a prompt that fits into length; all of it if nothing is cut."""
        return min((one.read_part(prompt) for one in (self.first, self.second)), key=len)

    @property
    def each(self) -> tuple[Tokenizer, ...]:
        """Both."""
        return self.first, self.second

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where their files lie."""
        return (*self.first.folders, *self.second.folders)


def load_tokenizer(
    folder: Path, config: CLIPConfig, pad_token: str | None = None, growable: bool = False
) -> Tokenizer:
    """The tokenizer of a folder; its longest prompt is at most the text encoder's.

    pad_token replaces the tokenizer's, for another text encoder than it was made for. growable
    means that words will be added.
    """
    quick = None if growable or pad_token else _load_fast(folder)
    if quick and len(quick[0]) <= config.vocab_size:
        clip, longest = quick
        return Tokenizer(clip, min(longest, config.max_position_embeddings), _find_words(clip))
    from transformers import CLIPTokenizer  # takes a second, so only if need be

    # Set at loading: then a pad token that is a word (SD 2's "!") has the same id in a prompt.
    options: dict[str, Any] = {} if pad_token is None else {"pad_token": pad_token}
    try:
        clip = CLIPTokenizer.from_pretrained(folder, local_files_only=True, **options)
    except Exception as error:  # the tokenizers library raises bare ones for damaged files
        raise BadCheckpoint(f"tokenizer must be a whole CLIP tokenizer, got {error}") from None
    longest = clip.model_max_length
    if type(longest) is not int or longest < 3:  # start, one token, end
        raise BadCheckpoint(f"tokenizer: model_max_length must be an int from 3, got {longest!r}")
    if clip.pad_token_id is None:
        raise BadCheckpoint("tokenizer must have a pad_token, got none")
    if len(clip) > config.vocab_size:
        raise BadCheckpoint(f"tokenizer has {len(clip)} tokens, text encoder {config.vocab_size}")
    length = min(longest, config.max_position_embeddings)
    tokenizer = Tokenizer(clip, length, _find_words(clip))
    tokenizer.ids("")  # turns truncation and padding by clip off, for all later calls
    return tokenizer


def add_words(
    tokenizer: Tokenizer, embeddings: Iterable[tuple[str, Tensor]], config: CLIPConfig
) -> tuple[Tokenizer, Tensor]:
    """A tokenizer with more words, each with vectors (n, d), and all vectors (m, d) in float32.

    The vectors must be appended to the text encoder's token table. Words are found in any case and
    anywhere, also inside other words. Raises BadCheckpoint for one that is already a token.
    """
    clip = copy.deepcopy(tokenizer.clip)  # another model may use the original
    words, table = dict(tokenizer.words), torch.empty(0, config.hidden_size)
    for word, vectors in embeddings:
        _check_size(word, vectors, tokenizer.length - 2, config.hidden_size)
        names = [word, *(f"{word}_{i}" for i in range(1, len(vectors)))]  # diffusers' names
        _check_new(word, names, clip)
        clip.add_tokens(names)
        start = config.vocab_size + len(table)
        indices = range(start, start + len(names))
        ids = clip.convert_tokens_to_ids(names)
        words |= {one: (index,) for one, index in zip(ids, indices, strict=True)}
        words[ids[0]] = tuple(indices)
        table = torch.cat([table, vectors])
    return Tokenizer(clip, tokenizer.length, words), table


def _load_fast(folder: Path) -> tuple[FastTokenizer, int] | None:
    """A folder's FastTokenizer and its longest prompt; None if transformers must read it."""
    from tokenizers import Tokenizer as Backend

    try:
        text = (folder / "tokenizer.json").read_text("utf-8")
        config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        names = {path.name for path in folder.iterdir() if path.suffix in (".json", ".txt")}
        bos, eos, pad = (config[f"{name}_token"] for name in ("bos", "eos", "pad"))
        longest, data = config["model_max_length"], json.loads(text)
        plain = type(longest) is int and longest >= 3 and len(names) == 2
        ends = [data["post_processor"][name][0] for name in ("cls", "sep")] == [bos, eos]
        special = all(token["special"] for token in data["added_tokens"])
        if not (plain and ends and special and _hash_settings(data) == STANDARD_HASH):
            return None
        clip = FastTokenizer(folder, Backend.from_str(text), eos, pad)
    except Exception:  # transformers then raises the error, if there is one
        return None
    return None if None in (clip.eos_token_id, clip.pad_token_id) else (clip, longest)


def _hash_settings(data: dict[str, Any]) -> str:
    """SHA-256 of a tokenizer.json without its words and ids."""
    model = {k: v for k, v in data["model"].items() if k not in ("vocab", "merges", "unk_token")}
    after = {k: v for k, v in data["post_processor"].items() if k not in ("sep", "cls")}
    settings = [data["normalizer"], data["pre_tokenizer"], data["decoder"], after, model]
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _find_words(clip: Any) -> dict[int, tuple[int, ...]]:
    """Words of several vectors in a folder; diffusers saves them as word, word_1, ..."""
    ids, words = clip.added_tokens_encoder, {}
    for word, first in ids.items():
        indices = [first]
        while f"{word}_{len(indices)}" in ids:
            indices.append(ids[f"{word}_{len(indices)}"])
        if len(indices) > 1:
            words[first] = tuple(indices)
    return words


def _check_size(word: str, vectors: Tensor, room: int, width: int) -> None:
    if vectors.shape[1] != width:
        got, want = (f"{n}{FAMILIES.get(n, '')}" for n in (vectors.shape[1], width))
        raise BadCheckpoint(f"the embedding {word} has width {got}, the text encoder {want}")
    if len(vectors) > room:
        raise BadCheckpoint(
            f"the embedding {word} has {len(vectors)} vectors, a prompt has room for {room}"
        )


def _check_new(word: str, names: list[str], clip: Any) -> None:
    """Raises BadCheckpoint if a name is already a token, in any case."""
    for name in names:
        if clip.backend_tokenizer.token_to_id(name) is not None or len(clip.tokenize(name)) < 2:
            raise BadCheckpoint(
                f"the embedding {word} needs another name: {name} is a token already"
            )

"""Prompts to token ids, by transformers' CLIP tokenizer, with words that were learned later.

Learned words are textual inversion (Gal et al. 2022, arXiv 2208.01618): a word stands for one or
more vectors, which are rows of the text encoder's token table.
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

# Of all that a tokenizer.json says but its words and ids, as transformers' CLIPTokenizer writes it.
WRITTEN = "377cee6d5b51ea8dbf474fa4d269d76afca749d422786fdd88daec0a2e874594"


class Quick:
    """The part of transformers' CLIPTokenizer that prompts need, by the library it is made of.

    To import transformers takes a second, a quarter of a small edit from the command line.
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
        """The ids of a prompt with start and end, as transformers names them."""
        return {"input_ids": self.backend_tokenizer.encode(prompt).ids}


@dataclass(frozen=True)
class Tokenizer:
    """A CLIPTokenizer or a Quick, never changed after, and what it knows beyond its files.

    length is the longest prompt with start and end; words has, by the id that clip gives a learned
    word, the rows of its vectors in the token table.
    """

    clip: Any
    length: int
    words: dict[int, tuple[int, ...]]

    def ids(self, prompt: str) -> tuple[list[int], bool]:
        """The ids of a prompt, cut or padded to length, and whether they were cut.

        Done here because a tokenizer asked to do it keeps that setting: two threads would collide.
        A cut may leave the first vectors of a learned word, as in diffusers.
        """
        found = self.clip(prompt, verbose=False)["input_ids"]
        ids = [row for one in found for row in self.words.get(one, (one,))]
        if len(ids) > self.length:
            return [*ids[: self.length - 1], self.clip.eos_token_id], True
        return ids + [self.clip.pad_token_id] * (self.length - len(ids)), False


def load_tokenizer(
    folder: Path, config: CLIPConfig, pad_token: str | None = None, grows: bool = False
) -> Tokenizer:
    """The tokenizer of a folder; its longest prompt is at most the text encoder's.

    pad_token is given where the text encoder is another than the tokenizer was made for; grows says
    that it is to learn words.
    """
    quick = None if grows or pad_token else _quick(folder)
    if quick and len(quick[0]) <= config.vocab_size:
        clip, longest = quick
        return Tokenizer(clip, min(longest, config.max_position_embeddings), _saved_words(clip))
    from transformers import CLIPTokenizer  # a second, so only where it is needed

    # Set while it loads: a pad token that is a word, SD 2's "!", has that id in a prompt too.
    given: dict[str, Any] = {} if pad_token is None else {"pad_token": pad_token}
    try:
        clip = CLIPTokenizer.from_pretrained(folder, local_files_only=True, **given)
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
    tokenizer = Tokenizer(clip, length, _saved_words(clip))
    tokenizer.ids("")  # sets, once and for all, that clip shall not truncate and pad by itself
    return tokenizer


def learn(
    tokenizer: Tokenizer, embeddings: Iterable[tuple[str, Tensor]], config: CLIPConfig
) -> tuple[Tokenizer, Tensor]:
    """A tokenizer that knows more words, each with vectors (n, d), and their rows (m, d) float32.

    The rows go below the text encoder's token table. Words are read in any case and anywhere, also
    inside other words; one that is a token already is an error.
    """
    clip = copy.deepcopy(tokenizer.clip)  # the one that was given may serve another model
    words, rows = dict(tokenizer.words), torch.empty(0, config.hidden_size)
    for word, vectors in embeddings:
        _check_size(word, vectors, tokenizer.length - 2, config.hidden_size)
        names = [word, *(f"{word}_{i}" for i in range(1, len(vectors)))]  # diffusers' names
        _check_new(word, names, clip)
        clip.add_tokens(names)
        start = config.vocab_size + len(rows)
        where = range(start, start + len(names))
        ids = clip.convert_tokens_to_ids(names)
        words |= {one: (row,) for one, row in zip(ids, where, strict=True)}
        words[ids[0]] = tuple(where)
        rows = torch.cat([rows, vectors])
    return Tokenizer(clip, tokenizer.length, words), rows


def _quick(folder: Path) -> tuple[Quick, int] | None:
    """A folder whose tokenizer.json says all, and its longest prompt; None if transformers must."""
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
        if not (plain and ends and special and _written(data) == WRITTEN):
            return None
        clip = Quick(folder, Backend.from_str(text), eos, pad)
    except Exception:  # whatever is wrong with it, transformers is to say it
        return None
    return None if None in (clip.eos_token_id, clip.pad_token_id) else (clip, longest)


def _written(data: dict[str, Any]) -> str:
    """A sum over a tokenizer.json without its words and ids."""
    model = {k: v for k, v in data["model"].items() if k not in ("vocab", "merges", "unk_token")}
    after = {k: v for k, v in data["post_processor"].items() if k not in ("sep", "cls")}
    kept = [data["normalizer"], data["pre_tokenizer"], data["decoder"], after, model]
    return sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _saved_words(clip: Any) -> dict[int, tuple[int, ...]]:
    """Words of several vectors that a folder brings: diffusers saves them as word, word_1, ..."""
    ids, words = clip.added_tokens_encoder, {}
    for word, first in ids.items():
        where = [first]
        while f"{word}_{len(where)}" in ids:
            where.append(ids[f"{word}_{len(where)}"])
        if len(where) > 1:
            words[first] = tuple(where)
    return words


def _check_size(word: str, vectors: Tensor, room: int, width: int) -> None:
    if vectors.shape[1] != width:
        got = vectors.shape[1]
        raise BadCheckpoint(f"the embedding {word} has width {got}, the text encoder {width}")
    if len(vectors) > room:
        raise BadCheckpoint(
            f"the embedding {word} has {len(vectors)} vectors, a prompt has room for {room}"
        )


def _check_new(word: str, names: list[str], clip: Any) -> None:
    """Names that are no token, whole or as a piece of one, in no case."""
    for name in names:
        if clip.backend_tokenizer.token_to_id(name) is not None or len(clip.tokenize(name)) < 2:
            raise BadCheckpoint(
                f"the embedding {word} needs a name of its own: {name} is a token already"
            )

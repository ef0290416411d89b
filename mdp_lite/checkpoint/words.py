"""Learned words of models with one text encoder or two: in their tokenizers and token tables."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.checkpoint.tokenizer import Tokenizer, Tokenizers, add_words
from mdp_lite.models.config import CLIPConfig
from mdp_lite.names import BadCheckpoint

Word = tuple[str, Sequence[Tensor]]  # a word, with its vectors (n, d) for each text encoder


class Learned(NamedTuple):
    """Tokenizers with learned words, and for each the rows (m, d) that its token table grows by."""

    tokenizer: Tokenizer | Tokenizers
    rows: tuple[Tensor, ...]


def learn_words(
    tokenizer: Tokenizer | Tokenizers,
    words: Sequence[Word],
    bundled: Sequence[Word],
    configs: Sequence[CLIPConfig],
) -> tuple[Learned, tuple[str, ...]]:
    """Add words, then those that came with LoRAs, with a note on each of these.

    configs are those of the text encoders. Of the bundled words, one that can't be learned, as it
    is a token already, is left out: nobody asked for it by name. Raises BadCheckpoint for others.
    """
    none = tuple(torch.empty(0, config.hidden_size) for config in configs)
    learned, notes = _learn(Learned(tokenizer, none), words, configs), []
    for word in bundled:
        try:
            learned = _learn(learned, [word], configs)
        except BadCheckpoint as error:
            notes.append(f"a word that comes with a LoRA is left out: {error}")
        else:
            notes.append(f"the word {word[0]} comes with a LoRA and is learned")
    return learned, tuple(notes)


def _learn(learned: Learned, words: Sequence[Word], configs: Sequence[CLIPConfig]) -> Learned:
    for word, vectors in words:
        _check_family(word, vectors, configs)
    grown, tables = [], []
    for i, (one, rows) in enumerate(zip(learned.tokenizer.each, learned.rows, strict=True)):
        config = replace(configs[i], vocab_size=configs[i].vocab_size + len(rows))
        found = [(word, vectors[i]) for word, vectors in words]
        tokenizer, more = add_words(one, found, config)
        grown.append(tokenizer)
        tables.append(torch.cat([rows, more]))
    return Learned(grown[0] if len(grown) == 1 else Tokenizers(*grown), tuple(tables))


def _check_family(word: str, vectors: Sequence[Tensor], configs: Sequence[CLIPConfig]) -> None:
    """Raises BadCheckpoint unless a word has vectors for every text encoder."""
    if len(vectors) == len(configs):
        return
    if len(configs) == 1:
        raise BadCheckpoint(f"the embedding {word} is for SDXL, this model is SD 1.x or 2.x")
    kind = {768: "SD 1.x", 1024: "SD 2.x", 1280: "SDXL's second text encoder alone"}
    known = kind.get(vectors[0].shape[1], "SD 1.x or 2.x")
    raise BadCheckpoint(
        f"the embedding {word} is for {known}, this model is SDXL: want clip_l and clip_g"
    )

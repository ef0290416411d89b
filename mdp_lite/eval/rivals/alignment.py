"""Which words of two prompts belong together: the token alignment that Prompt-to-Prompt needs.

Hertz et al. 2022, arXiv 2208.01626, section 3.2; ties are broken as in the authors' seq_aligner.py.

Where swapped words differ in their number of tokens, this is the paper: a word's tokens share the
maps of the word that they replace, and each later word has its own partner. In the authors' code
each token behind the last swapped word has the source's token of the same position, which then is
another word, the end or padding; so figures of such prompts differ from theirs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.checkpoint.tokenizer import Tokenizer

Spans = list[range]  # the positions of each word's tokens


class WordAlignment(NamedTuple):
    """The alignment of b pairs of prompts of l tokens.

    mapper (b, l, l): column j holds the shares of the source's tokens whose maps target token j
    takes. aligned (b, l): 1 at target tokens that have any, else 0. new_source, new_target (b, l):
    1 at tokens of words that differ.
    """

    mapper: Tensor
    aligned: Tensor
    new_source: Tensor
    new_target: Tensor


def align_refinement(
    tokenizer: Tokenizer, sources: Sequence[str], targets: Sequence[str]
) -> WordAlignment:
    """Prompt refinement (Eq. 6): common tokens are aligned, the target's others are new."""
    pairs = zip(sources, targets, strict=True)
    return _stack([_refine(tokenizer, *pair) for pair in pairs])


def align_replacement(
    tokenizer: Tokenizer, sources: Sequence[str], targets: Sequence[str]
) -> WordAlignment:
    """Word swap (Eq. 5): words are replaced one for one.

    A pair of prompts that differ in their number of words is aligned by refinement instead.
    """
    parts = []
    for source, target in zip(sources, targets, strict=True):
        same_count = len(source.split()) == len(target.split())
        parts.append((_replace if same_count else _refine)(tokenizer, source, target))
    return _stack(parts)


def _stack(parts: Sequence[WordAlignment]) -> WordAlignment:
    return WordAlignment(*(torch.stack(columns) for columns in zip(*parts, strict=True)))


def _refine(tokenizer: Tokenizer, source: str, target: str) -> WordAlignment:
    a, b = token_ids(tokenizer, source), token_ids(tokenizer, target)
    l = tokenizer.length  # noqa: E741
    pairs = dict(align(a, b)) | {j: j for j in range(len(b), l)}  # padding belongs to padding
    mapper, aligned = torch.zeros(l, l), torch.zeros(l)
    for j, i in pairs.items():
        mapper[i, j] = aligned[j] = 1
    return WordAlignment(mapper, aligned, *_mark_new(tokenizer, source, target))


def _replace(tokenizer: Tokenizer, source: str, target: str) -> WordAlignment:
    """The tokens of a word share the maps of the word that they replace equally."""
    l = tokenizer.length  # noqa: E741
    mapper, spans = torch.zeros(l, l), [word_spans(tokenizer, text) for text in (source, target)]
    mapper[0, 0] = 1  # start
    for one, other in zip(*spans, strict=True):
        if len(one) == len(other):
            mapper[list(one), list(other)] = 1
        else:
            mapper[one.start : one.stop, other.start : other.stop] = 1 / max(1, len(other))
    rest = max(1, spans[1][-1].stop if spans[1] else 1)
    same = list(range(rest, l))
    mapper[same, same] = 1  # end and padding, counted in the target
    return WordAlignment(mapper, torch.ones(l), *_mark_new(tokenizer, source, target))


def word_spans(tokenizer: Tokenizer, prompt: str) -> Spans:
    """The positions of the tokens of each word (split at blanks); 0 is the start token."""
    spans, start = [], 1
    for word in prompt.split():
        stop = min(start + len(token_ids(tokenizer, word)) - 2, tokenizer.length - 1)
        spans.append(range(start, stop))
        start = stop
    return spans


def align(a: Sequence[int], b: Sequence[int]) -> list[tuple[int, int]]:
    """As many pairs (j in b, i in a) of equal tokens as possible, in an order that both have.

    Needleman & Wunsch 1970 with 0 for a gap, 1 for a match and -1 for a mismatch.
    """
    best = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, one in enumerate(a, 1):
        for j, other in enumerate(b, 1):
            match = best[i - 1][j - 1] + (1 if one == other else -1)
            best[i][j] = max(best[i][j - 1], best[i - 1][j], match)
    i, j, pairs = len(a), len(b), []
    while i and j:
        if best[i][j] == best[i][j - 1]:
            j -= 1
        elif best[i][j] == best[i - 1][j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((j, i))
    return pairs[::-1]


def _mark_new(tokenizer: Tokenizer, source: str, target: str) -> tuple[Tensor, Tensor]:
    """For each prompt (l,): 1 at the tokens of words that have no partner in the other prompt."""
    texts = source.split(), target.split()
    numbers = {word: k for k, word in enumerate(dict.fromkeys(texts[0] + texts[1]))}
    a, b = ([numbers[word] for word in text] for text in texts)
    pairs = align(a, b)
    same = {i for _, i in pairs}, {j for j, _ in pairs}
    marks = []
    for text, partners in zip((source, target), same, strict=True):
        mark = torch.zeros(tokenizer.length)
        for k, span in enumerate(word_spans(tokenizer, text)):
            mark[span.start : span.stop] = float(k not in partners)
        marks.append(mark)
    return marks[0], marks[1]


def token_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The ids of a prompt from start to end, without padding."""
    ids, _ = tokenizer.ids(prompt)
    return ids[: ids.index(tokenizer.clip.eos_token_id, 1) + 1]

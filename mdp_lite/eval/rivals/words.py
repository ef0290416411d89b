"""Which words of two prompts belong together: tokens aligned as Prompt-to-Prompt needs them.

Hertz et al. 2022, arXiv 2208.01626, section 3.2; ties are broken as in the authors' seq_aligner.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.checkpoint.tokenizer import Tokenizer

Spans = list[range]  # the places of each word's tokens


class Words(NamedTuple):
    """Of b pairs of prompts of l tokens.

    mapper (b, l, l): column j is the source's tokens that target token j takes its map from; known
    (b, l): 1 where there are any; new_source, new_target (b, l): 1 at tokens of words that differ.
    """

    mapper: Tensor
    known: Tensor
    new_source: Tensor
    new_target: Tensor


def refined(tokenizer: Tokenizer, sources: Sequence[str], targets: Sequence[str]) -> Words:
    """Tokens that both prompts have are aligned; the others are new (Eq. 6, A(j))."""
    found = [_refined(tokenizer, *pair) for pair in zip(sources, targets, strict=True)]
    return Words(*(torch.stack(parts) for parts in zip(*found, strict=True)))


def replaced(tokenizer: Tokenizer, sources: Sequence[str], targets: Sequence[str]) -> Words:
    """Words swapped one for one (Eq. 5); prompts that differ in length are refined."""
    found = []
    for source, target in zip(sources, targets, strict=True):
        alike = len(source.split()) == len(target.split())
        found.append((_replaced if alike else _refined)(tokenizer, source, target))
    return Words(*(torch.stack(parts) for parts in zip(*found, strict=True)))


def _refined(tokenizer: Tokenizer, source: str, target: str) -> Words:
    a, b, l = _tokens(tokenizer, source), _tokens(tokenizer, target), tokenizer.length  # noqa: E741
    pairs = dict(aligned(a, b)) | {j: j for j in range(len(b), l)}  # padding is like padding
    mapper, known = torch.zeros(l, l), torch.zeros(l)
    for j, i in pairs.items():
        mapper[i, j] = known[j] = 1
    new = _differing(tokenizer, source, target)
    return Words(mapper, known, *new)


def _replaced(tokenizer: Tokenizer, source: str, target: str) -> Words:
    """Tokens of a word that others stand for share its maps alike."""
    l = tokenizer.length  # noqa: E741
    mapper, places = torch.zeros(l, l), [spans(tokenizer, text) for text in (source, target)]
    mapper[0, 0] = 1  # start
    for one, other in zip(*places, strict=True):
        if len(one) == len(other):
            mapper[list(one), list(other)] = 1
        else:
            mapper[one.start : one.stop, other.start : other.stop] = 1 / max(1, len(other))
    rest = max(1, places[1][-1].stop if places[1] else 1)
    same = list(range(rest, l))
    mapper[same, same] = 1  # end and padding, counted in the target
    return Words(mapper, torch.ones(l), *_differing(tokenizer, source, target))


def spans(tokenizer: Tokenizer, prompt: str) -> Spans:
    """Where the tokens of each word (between blanks) are; 0 is the start."""
    found, start = [], 1
    for word in prompt.split():
        stop = min(start + len(_tokens(tokenizer, word)) - 2, tokenizer.length - 1)
        found.append(range(start, stop))
        start = stop
    return found


def aligned(a: Sequence[int], b: Sequence[int]) -> list[tuple[int, int]]:
    """Places (j in b, i in a) of equal tokens in an order that both have, as many as can be.

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


def _differing(tokenizer: Tokenizer, source: str, target: str) -> tuple[Tensor, Tensor]:
    """1 at the tokens of words that the other prompt has not, at that place in its order."""
    texts = source.split(), target.split()
    numbers = {word: k for k, word in enumerate(dict.fromkeys(texts[0] + texts[1]))}
    a, b = ([numbers[word] for word in text] for text in texts)
    pairs = aligned(a, b)
    same = {i for _, i in pairs}, {j for j, _ in pairs}
    marks = []
    for text, known in zip((source, target), same, strict=True):
        mark = torch.zeros(tokenizer.length)
        for k, place in enumerate(spans(tokenizer, text)):
            mark[place.start : place.stop] = float(k not in known)
        marks.append(mark)
    return marks[0], marks[1]


def _tokens(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The ids of a prompt from start to end, without padding."""
    ids, _ = tokenizer.ids(prompt)
    return ids[: ids.index(tokenizer.clip.eos_token_id, 1) + 1]

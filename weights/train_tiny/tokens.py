"""A CLIP tokenizer whose merges make one token of every word of the synthetic world."""

import json
from pathlib import Path

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 26  # of the first world: start, the longest caption (24 tokens), end

Merge = tuple[str, str]


def byte_symbols() -> list[str]:
    """The printable stand-ins of the 256 bytes, in the order of CLIP's own vocabulary."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    shown += range(ord("®"), ord("ÿ") + 1)
    hidden = (256 + i for i in range(256 - len(shown)))
    return [chr(code) for code in [*shown, *hidden]]


def apply_merges(word: str, merges: list[Merge]) -> list[str]:
    """Byte-pair encode one word: join the pair of the lowest rank until none is left."""
    pieces = [*word[:-1], word[-1] + "</w>"]
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    while True:
        pairs = list(zip(pieces, pieces[1:], strict=False))
        known = [pair for pair in pairs if pair in ranks]
        if not known:
            return pieces
        i = pairs.index(min(known, key=lambda pair: ranks[pair]))
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]


def merges_for(words: tuple[str, ...]) -> list[Merge]:
    """Merges, in rank order, that leave each of the words in one piece."""
    merges: list[Merge] = []
    for word in words:
        pieces = apply_merges(word, merges)
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces = apply_merges(word, merges)
    return merges


def vocabulary(merges: list[Merge]) -> dict[str, int]:
    """Token -> id: bytes, bytes that end a word, merged pieces, start, end."""
    symbols = byte_symbols()
    tokens = [*symbols, *(symbol + "</w>" for symbol in symbols)]
    tokens += [*("".join(merge) for merge in merges), START, END]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}


def write_tokenizer(folder: Path, words: tuple[str, ...], length: int = LENGTH) -> None:
    """Write vocab.json, merges.txt and their configs, as CLIPTokenizer reads them.

    length is the longest prompt in tokens, start and end among them.
    """
    merges = merges_for(words)
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    config = {
        **special,
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": length,
        "do_lower_case": True,
        "add_prefix_space": False,
        "errors": "replace",
    }
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, data in (
        ("vocab.json", vocabulary(merges)),
        ("tokenizer_config.json", config),
        ("special_tokens_map.json", special),
    ):
        (folder / name).write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8")

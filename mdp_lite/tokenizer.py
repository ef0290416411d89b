"""Prompts to token ids, by transformers' CLIP tokenizer."""

from pathlib import Path
from typing import Any

from mdp_lite.config import CLIPConfig


def load_tokenizer(folder: Path, config: CLIPConfig) -> Any:
    """transformers' CLIPTokenizer of a folder; its longest prompt must fit the text encoder."""
    from transformers import CLIPTokenizer  # seconds of import, so only when a model is loaded

    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare ones for damaged files
        raise ValueError(f"tokenizer must be a whole CLIP tokenizer, got {error}") from None
    if tokenizer.model_max_length > config.max_position_embeddings:
        tokenizer.model_max_length = config.max_position_embeddings
    if len(tokenizer) > config.vocab_size:
        raise ValueError(f"tokenizer has {len(tokenizer)} tokens, text encoder {config.vocab_size}")
    tokens(tokenizer, "")  # sets, once and for all, that it shall not truncate and pad by itself
    return tokenizer


def tokens(tokenizer: Any, prompt: str) -> tuple[list[int], bool]:
    """The ids of a prompt, cut or padded to the model's length, and whether they were cut.

    Done here because a tokenizer asked to do it keeps that setting: two threads would collide.
    """
    length = tokenizer.model_max_length
    ids = tokenizer(prompt, verbose=False)["input_ids"]
    if len(ids) > length:
        return [*ids[: length - 1], tokenizer.eos_token_id], True
    return ids + [tokenizer.pad_token_id] * (length - len(ids)), False

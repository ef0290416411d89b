"""The component of words: those that the model knows, to click; others are marked in the prompts.

It reads and writes the prompts of the page by their ids; Python never reads its value.
"""

from typing import Any

import gradio as gr

from mdp_lite.app.components.build import build_component
from mdp_lite.checkpoint.models import Models

PROMPTS = ("source-prompt", "prompt")  # elem_ids of the text boxes; chips write into the last first


def build_words(models: Models) -> gr.HTML:
    """The component for a model; it is empty for one that does not say which words it knows."""
    return build_component("words", describe_words(models))


def describe_words(models: Models) -> dict[str, Any]:
    """The component's value: words by group, words that were learned since, ids of the prompts.

    known is None for a model that does not say which words it knows.
    """
    groups = models.knowledge.all_groups
    return {
        "known": [[name, list(words)] for name, words in groups] or None,
        "learned": sorted(models.tokenizer.added),
        "prompts": list(PROMPTS),
    }

"""Editing as a service: the OpenAI Images API on one editor, batched step by step, cancellable."""

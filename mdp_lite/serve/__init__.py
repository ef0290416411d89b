"""Editing as a service: the OpenAI Images API over one editor, batched by steps, cancellable."""

"""Measuring edits: a drawn world whose true answers are known, a reader of it, and metrics."""

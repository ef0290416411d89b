"""Measuring edits: a synthetic world with known answers, a reader of its pictures, metrics."""

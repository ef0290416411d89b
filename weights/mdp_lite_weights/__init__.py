"""Stable Diffusion checkpoints on disk: where they are, what lies in them, and one of our own."""

from mdp_lite_weights.files import Checkpoint, locate, open_checkpoint

__all__ = ["Checkpoint", "locate", "open_checkpoint"]

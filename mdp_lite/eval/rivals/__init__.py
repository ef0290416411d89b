"""Rival methods, written from their papers; they use the same denoiser, grid and sources as MDP."""

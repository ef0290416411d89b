"""Rival methods on the same denoiser, grid and source paths as MDP, written from their papers."""

"""The recipe of the bundled checkpoint: draw a world, train a small Stable Diffusion on it."""

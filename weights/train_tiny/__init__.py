"""The recipe of the bundled checkpoint: draw scenes, train a small Stable Diffusion on them."""

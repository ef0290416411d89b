"""Fast kernels for mdp_lite, each in one module with its torch reference."""

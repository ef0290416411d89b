"""Fast kernels for mdp_lite, each a module of its own beside its torch reference."""

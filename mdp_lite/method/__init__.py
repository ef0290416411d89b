"""The paper: one step, the DDIM grid, sampling, inversion, plans."""

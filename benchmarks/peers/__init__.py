"""The same weights through mdp_lite and through what else people run on a CPU: one table."""

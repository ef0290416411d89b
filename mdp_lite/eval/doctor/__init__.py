"""`mdp-lite doctor`: what works on this machine, check by check, for a bug report."""

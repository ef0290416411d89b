"""The first minutes on a GPU: one command, cheapest and most decisive stages first."""

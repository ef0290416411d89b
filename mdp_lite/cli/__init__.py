"""The mdp-lite command: one file per command, shared options, console and reports."""

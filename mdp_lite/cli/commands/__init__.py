"""The commands, one a file: what each can be given. Nothing heavy is imported here."""

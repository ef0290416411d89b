"""Sources on disk: one file, or a folder of them."""

"""Many threads that edit at once share the calls of one model."""

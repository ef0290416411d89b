"""From a request to a result: sources, edits, masks, sweeps, previews."""

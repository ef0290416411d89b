"""Several models, loaded when one is needed, within a bound on memory."""

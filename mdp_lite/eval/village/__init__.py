"""The second synthetic world: a village of sixteen kinds of things, 128 pixels along a side."""

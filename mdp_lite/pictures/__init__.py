"""Pictures in and out: reading, fitting to a size, contact sheets."""

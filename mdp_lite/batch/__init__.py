"""Many edits: a job of rows, one picture file and one line of a manifest for each edit."""

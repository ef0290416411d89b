"""Many edits: a job of entries, and one picture file and one manifest line for each edit."""

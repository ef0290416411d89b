"""From files to models, strictly."""

"""What several tests use: models, checkpoints, services, oracles."""

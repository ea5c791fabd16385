"""What a stage works with: files and their fingerprints, checkpoints, limits, networks, trials, the report."""

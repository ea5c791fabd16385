"""Data sets: read as what they are, cut into splits, handed out in batches."""

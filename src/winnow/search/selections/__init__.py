"""From evidence to an architecture: one file a selection."""

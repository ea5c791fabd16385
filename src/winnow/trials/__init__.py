"""Search by trials: deterministic, resumable, parallel, constrained, with several objectives, ending as a table."""

"""What lets somebody else believe a result: revisions compared (gate), runs repeated (verify), origins told (why)."""

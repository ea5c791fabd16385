"""Open decisions and their answers: torch, annotated bounds and the standard library only."""

"""Open decisions and their answers: torch and the standard library only."""

"""Training and evaluating ordinary networks."""

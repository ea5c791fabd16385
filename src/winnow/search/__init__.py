"""The parts that search methods are made of."""

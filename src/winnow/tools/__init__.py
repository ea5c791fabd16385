"""Beside the pipeline: what a run will cost, rankings of proxies, predictors, what may be cleaned."""

"""winnow: neural architecture search as a pipeline that anyone can rerun."""

__version__ = "0.1.0"

"""Kinds of hole beside the choice: layers whose widths and kernels are open, chains whose length is."""

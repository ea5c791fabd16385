"""Open decisions and their answers: torch, annotated bounds and the standard library only.

`strided` is here as well, as `holes` and `proxies` both need it: a convolution that torch computes wrongly.
"""

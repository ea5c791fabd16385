"""Shared by all tests."""

import gc
import os

# Before torch: threads that wait by spinning take the cores from every process beside them
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks of tests are too small to share out

import torch  # noqa: F401

# Networks are graphs of many small objects: the collector, at its default pace, takes a third of the suite's time
# looking through libraries and live networks.
gc.freeze()
gc.set_threshold(100_000, 20, 20)

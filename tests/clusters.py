"""Ray clusters of several nodes on 127.0.0.1, one of which may be killed."""

import contextlib
import importlib.util
import signal
import threading
import time

import psutil
import pytest

NODE = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80_000_000}
ABSENT = importlib.util.find_spec("ray") is None


def ray_test(test):
    """Slow: one to two minutes for all of them, most of it spent on starting Ray and its workers."""
    return pytest.mark.slow(pytest.mark.skipif(ABSENT, reason="no Ray: pip install 'winnow[ray]'")(test))


@contextlib.contextmanager
def cluster_of(head):
    """One of the node `head`, a form of NODE, to which others may be added."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # then it keeps to 127.0.0.1
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        made = Cluster(initialize_head=True, head_node_args=head)
        try:
            yield made
        finally:
            made.shutdown()


def killed_when(node, when):
    """A thread that kills a node once `when` says so of the evaluators on it, which it leaves to end by themselves;
    and the list that it puts these into.
    """
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    evaluators = []

    def kill():
        while True:
            family = raylet.children(recursive=True)
            found = [p for p in family if p.is_running() and "winnow.trials.worker" in " ".join(p.cmdline())]
            if when(found):
                break
            time.sleep(0.02)
        evaluators.extend(found)
        for process in (raylet, *(p for p in family if p not in found)):
            process.send_signal(signal.SIGKILL)

    hand = threading.Thread(target=kill, daemon=True)
    hand.start()
    return hand, evaluators

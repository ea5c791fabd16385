"""What strategies say of options that mean nothing in a run."""

import pytest

from winnow.search.methods.darts import darts
from winnow.search.methods.econas import econas
from winnow.search.methods.unas import unas
from winnow.search.strategy import Run, strategy_of

PLAIN = Run("darts", "fp32", epochs=12)


@pytest.mark.parametrize(
    ("method", "changes", "options", "said"),
    [
        (darts, {}, {"order": "second"}, None),
        (darts, {"precision": "bf16"}, {"order": "second"}, "use search.precision fp32"),
        (darts, {"optimiser": "adamw"}, {"order": "second"}, "search.optimiser is adamw"),
        (darts, {"processes": 2}, {"order": "second"}, "set runtime.processes to 1"),
        (darts, {"precision": "bf16", "optimiser": "adamw", "processes": 2}, {}, None),
        (unas, {}, {"latency_ms": 3.0}, "take space factorised"),
        (unas, {}, {"latency_ms": None}, None),
        (unas, {"space": "factorised"}, {"latency_ms": 3.0}, None),
        (econas, {}, {"cycles": 2, "continued": [4, 2], "parents": [3, 2, 1]}, None),
        (econas, {}, {"cycles": 1, "continued": [4, 2], "parents": [3, 2, 1]}, "takes 2 cycles to the last of 3"),
        (econas, {}, {"continued": [4], "parents": [3, 2, 1]}, "so it takes 2 numbers, not 1"),
        (econas, {"epochs": 13}, {"continued": [4, 2], "parents": [3, 2, 1]}, "set them to 12"),
        (econas, {"epochs": 2}, {"continued": [4, 2], "parents": [3, 2, 1]}, "set them to 3"),
        (econas, {}, {"continued": [4, 0], "parents": [3, 2, 1]}, "0 lets no network on to the last level"),
        (econas, {}, {"continued": [4, 2], "parents": [0, 2, 1]}, "1 or more, not 0"),
        (econas, {}, {"continued": [4, 2], "parents": [3, 0, 0]}, None),
    ],
)
def test_options_that_mean_nothing_are_told_with_what_would_work(method, changes, options, said):
    told = strategy_of(method).objection(Run(**{**vars(PLAIN), **changes}), **options)
    assert (told is None) is (said is None)
    assert said is None or said in told


def test_a_function_that_says_nothing_may_leave_a_supernet_with_logits_and_objects_to_nothing():
    def mine(bench, recipe, *, strength: float = 1.0):
        pass

    found = strategy_of(mine)
    assert found.leaves == {"logits", "mixture", "distribution", "children"}
    assert found.objection is None
    assert found.options() == {"strength": (float, 1.0)}

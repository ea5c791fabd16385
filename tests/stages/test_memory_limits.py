"""RAM and flash as limits, on a network whose memory is counted by hand: selections, trials and plan keep them."""

import json

import pytest

from tests.stages.test_limits import oblong, oblong_splits, work  # noqa: F401  fixtures
from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.pipelines import search
from winnow.run import files
from winnow.run.limits import Limits
from winnow.trials.table import as_rows, read_table

POSITIONS, FLOAT, KIB = 12 * 8, 4, 1024
RAM = (4 + 4) * POSITIONS * FLOAT / KIB  # a layer of four channels and the one after it, everywhere


EVOLUTION = {"select__methods": ["evolution"]}


def flash(first: int, second: int) -> float:
    """KiB of weights with kernels of these sides: stem, two convolutions, two normalisations, head."""
    convolutions = sum(4 * 4 * k * k + 4 for k in (first, second))
    return (2 * 4 + 4 + convolutions + 2 * 4 * 4 + 4 * POSITIONS * 3 + 3) * FLOAT / KIB


def arch(first: int, second: int) -> Architecture:
    return Architecture.of({"l/0": f"conv_{first}", "l/1": f"conv_{second}"})


def test_networks_within_are_those_whose_weights_fit(work):  # noqa: F811
    limits = Limits.of(oblong(**EVOLUTION, select__max_flash_kib=5.5, select__max_ram_kib=RAM), work)
    limits.check(["evolution"])
    assert [(i, j) for i in (1, 3, 5) for j in (1, 3, 5) if limits.allows(arch(i, j))] == [(1, 1), (1, 3), (3, 1)]
    assert limits.sizes(arch(1, 3))["flash_kib"] == flash(1, 3) < 5.5 < flash(3, 3)
    assert limits.sizes(arch(5, 5))["ram_kib"] == RAM
    assert limits.record() == {"max_flash_kib": 5.5, "max_ram_kib": RAM}


def test_limits_that_leave_nothing_or_that_a_selection_cannot_add_up_are_refused(work):  # noqa: F811
    sentence = r"none can: the smallest found .* has 3 KiB of RAM, and the limit is at most 2 KiB of RAM"
    with pytest.raises(Refused, match=sentence):
        Limits.of(oblong(**EVOLUTION, select__max_ram_kib=2), work).check()
    with pytest.raises(Refused, match=r"'exact' adds up .* memory .* select with evolution"):
        Limits.of(oblong(**EVOLUTION, select__max_flash_kib=6.0), work).check(["exact"])


def test_trials_take_memory_as_objective_and_as_limit(work):  # noqa: F811
    trials = {"objectives": {"accuracy": "maximize", "ram_kib": "minimize"}, "constraints": {"flash_kib": {"max": 5.5}}}
    own = {f"search__trials__{name}": value for name, value in trials.items()}
    params = oblong(search__strategy="trials", select__methods=["best"], **own)
    search.main(params, work)
    rows = as_rows(read_table(work / files.TRIALS))
    for row in rows:
        kernels = [int(json.loads(row.architecture)[name].removeprefix("conv_")) for name in ("l/0", "l/1")]
        assert row.metrics["flash_kib"] == flash(*kernels)
        assert row.feasible == (flash(*kernels) <= 5.5)
        assert not row.feasible or row.objectives["ram_kib"] == RAM
    assert any(row.feasible for row in rows)
    beyond = {**own, "search__trials__constraints": {"ram_kib": {"max": 1.0}}}
    stricter = oblong(search__strategy="trials", select__methods=["best"], **beyond)
    with pytest.raises(Refused, match=r"none can: .* has 3 KiB of RAM"):
        Limits.of(stricter, work).check()

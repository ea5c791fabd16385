"""search.collapse: signs that can be worked out by hand or from the full Hessian."""

import math

import pytest
import torch

from tests.search.toys import Recorded, cells, changed, images, logits_of, loss_of, points, smooth, snapshot
from winnow.search.collapse import CollapseWatch, Curvature, chance, entropy, heaviest, parameter_free, sharpening
from winnow.train.evaluate import batch_statistics


def test_what_has_no_parameters():
    assert parameter_free(cells()) == {"none", "skip_connect", "avg_pool_3x3"}
    free = parameter_free(cells("darts"))
    assert free == {"none", "max_pool_3x3", "avg_pool_3x3", "skip_connect"}  # strided skips have, the others not
    assert parameter_free(cells("darts", candidates="s4")) == {"noise"}


def test_the_eigenvalue_is_that_of_the_full_hessian():
    space, batch = smooth(), points(16)
    logits = {name: vector.detach() for name, vector in logits_of(space).items()}
    sizes = [len(vector) for vector in logits.values()]

    def loss(flat):
        setting = {name: part.softmax(0) for name, part in zip(logits, flat.split(sizes), strict=True)}
        with batch_statistics(space):
            return loss_of(space)(batch, setting)

    values = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, torch.cat(list(logits.values()))))
    dominant = float(values[values.abs().argmax()])
    assert Curvature(space, loss_of(space), batch).eigenvalue(logits, 60) == pytest.approx(dominant, rel=1e-3)


def test_the_iteration_goes_on_where_it_was():
    space, batch = smooth(), points(16)
    logits = {name: vector.detach() for name, vector in logits_of(space).items()}
    long, short = (Curvature(space, loss_of(space), batch) for _ in range(2))
    exact = long.eigenvalue(logits, 60)
    for _ in range(40):
        found = short.eigenvalue(logits, 2)
    assert found == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize(
    ("count", "probabilities", "expected"),
    [(6, [0.6] * 6, 0.6**6), (0, [0.3, 0.2], 1.0), (1, [0.3, 0.2], 1 - 0.7 * 0.8), (5, [0.6] * 6, 0.6**6 * 5)],
)
def test_chances_of_counts(count, probabilities, expected):
    assert chance(count, probabilities) == pytest.approx(expected)


def test_entropy_is_a_share_of_the_largest():
    assert entropy({"a": torch.full((5,), 0.2), "b": torch.tensor([1.0, 0.0])}) == pytest.approx(0.5)


def test_what_an_architecture_may_not_hold_is_never_heaviest():
    d = cells("darts").decisions["normal/2/0"]
    weights = torch.zeros(8)
    weights[0], weights[3] = 0.7, 0.3
    assert heaviest(d, weights) == "skip_connect"


def test_the_published_rule_of_early_stopping():
    flat = [1.0] * 40
    assert sharpening(flat[:16]) is None  # the earlier mean is centred before epoch 10
    assert sharpening(flat[:17]) == pytest.approx(1.0)
    rising = [1.0] * 13 + [1.0 + 0.2 * i for i in range(9)]
    assert sharpening(rising) > 1.3


def watched(weights, *, stop=False):
    space = cells()
    before = snapshot(space)
    inner = Recorded()
    watch = CollapseWatch(inner, space, loss_of(space), images(8), stop=stop)
    ended = watch.epoch(0, {"train_loss": 1.0}, weights(space))
    assert not changed(space, before)
    return watch, inner, ended


def all_on(option: str):
    def weights(space):
        row = torch.full((5,), 0.05)
        row[cells().decisions["1<-0"].options.index(option)] = 0.8
        return dict.fromkeys(space.decisions, row)

    return weights


@pytest.mark.parametrize("stop", [False, True])
def test_a_mixture_of_skips_raises_the_alarm(stop):
    watch, inner, ended = watched(all_on("skip_connect"), stop=stop)
    assert watch.alarm.startswith("6 of the 6 heaviest operations have no parameters, as 4.7 % of random")
    assert bool(ended) is stop
    told = inner.epochs[0]
    assert told["parameter_free"] == 1
    assert set(told) == {"train_loss", "parameter_free", "entropy", "eigenvalue", "discretisation_gap"}
    assert all(math.isfinite(value) for value in told.values())


def test_a_mixture_of_convolutions_raises_none():
    watch, inner, ended = watched(all_on("nor_conv_3x3"), stop=True)
    assert watch.alarm == ""
    assert not ended
    assert inner.epochs[0]["parameter_free"] == 0


def test_the_gap_of_a_decided_mixture_is_nothing():
    def weights(space):
        return {n: torch.eye(5)[d.options.index("nor_conv_1x1")] for n, d in space.decisions.items()}

    _, inner, _ = watched(weights)
    assert inner.epochs[0]["discretisation_gap"] == pytest.approx(0, abs=1e-5)


def test_gates_and_paths_are_not_watched():
    for weights in (lambda space: dict.fromkeys(space.decisions, torch.ones(5)), lambda space: None):
        watch, inner, ended = watched(weights)
        assert inner.epochs == [{"train_loss": 1.0}]
        assert not ended
        assert watch.alarm == ""

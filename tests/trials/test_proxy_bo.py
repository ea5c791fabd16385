"""ProxyBO piece by piece against numbers worked by hand, and as a whole on the benchmark."""

import numpy as np
import pytest

from tests.trials import scores, toys
from tests.trials.test_engine import told
from winnow.core.errors import Refused
from winnow.trials.engine import run
from winnow.trials.executors import Inline
from winnow.trials.plan import Plan
from winnow.trials.proxy_bo import (
    Settings,
    ability,
    combined_rank,
    expected_improvement,
    influence,
    next_codes,
    normal_ranks,
    out_of_fold,
    temperature,
)
from winnow.trials.replay import found, regrets, task
from winnow.trials.surrogates import SURROGATES, forest, gaussian_process


def test_ability_is_the_share_of_pairs_in_order():
    y = np.array([1.0, 2.0, 3.0])
    assert ability(np.array([1.0, 3.0, 2.0]), y) == pytest.approx(2 / 3)
    assert ability(-y, y) == 0
    assert ability(y, y) == 1
    assert ability(np.zeros(3), y) == 0.5  # ties are half right, whichever way round


@pytest.mark.parametrize(
    ("tau", "shares"),
    [(0.05, (0.9972, 0.0025, 0.0003)), (0.1, (0.9362, 0.0466, 0.0171)), (1.0, (0.4147, 0.3072, 0.2780))],
)
def test_influence_is_a_softmax(tau, shares):
    assert influence(np.array([0.9, 0.6, 0.5]), tau) == pytest.approx(shares, abs=1e-4)


def test_the_temperature_falls_with_the_rounds():
    assert temperature(1, 0.05) == 0.05
    assert temperature(np.e, 0.05) == pytest.approx(0.025)


def test_ranks_are_summed_by_influence():
    votes = np.array([[0.9, 1.0], [0.1, 5.0]])  # the first voter prefers row 0, the second row 1
    assert combined_rank(votes, np.array([0.8, 0.2])) == pytest.approx([1.2, 1.8])


def test_expected_improvement_by_hand():
    """z = 0 gives σ φ(0); without doubt it is the gain."""
    assert expected_improvement(np.array([1.0]), np.array([2.0]), 1.0) == pytest.approx([2 * 0.398942], abs=1e-5)
    assert expected_improvement(np.array([3.0, 0.5]), np.zeros(2), 1.0) == pytest.approx([2.0, 0.0])


def test_normal_ranks_keep_the_order_and_drop_the_scale():
    ranks = normal_ranks(np.array([9.7, 91.0, 90.0, 1e-9]))
    assert list(np.argsort(ranks)) == [3, 0, 2, 1]
    assert ranks.sum() == pytest.approx(0)
    assert abs(ranks).max() < 2


@pytest.mark.parametrize("surrogate", [forest, gaussian_process])
def test_surrogates_learn_what_is_there_and_know_where_they_have_not_been(surrogate):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, (60, 5))
    x = np.concatenate([codes == 0, codes == 1], axis=1).astype(float)
    y = codes @ np.array([4.0, 2.0, 1.0, 0.0, 0.0])
    mean, deviation = surrogate(x, y, x, rng)
    assert np.corrcoef(mean, y)[0, 1] > 0.95
    assert (deviation >= 0).all()
    assert ability(out_of_fold(x, y, surrogate, rng, 5), y) > 0.8
    assert abs(ability(out_of_fold(x, rng.normal(size=60), surrogate, rng, 5), rng.normal(size=60)) - 0.5) < 0.2


def play(proxy, rounds, surrogate="gaussian_process", seed=0, **settings):
    """Codes tried on a planted score over 4^4 architectures, best at all threes."""
    sizes, observed, y, seen = (4,) * 4, [], [], set()
    for i in range(rounds):
        codes = next_codes(
            sizes,
            np.array(observed).reshape(-1, 4),
            np.array(y),
            seen,
            proxy,
            SURROGATES[surrogate],
            np.random.default_rng([seed, i]),
            Settings(**settings),
        )
        observed.append(codes)
        y.append(planted(np.array([codes]))[0])
        seen.add(codes)
    assert len(seen) == rounds  # nothing twice
    return np.array(y)


def planted(codes):
    return codes @ np.array([1.0, 1.1, 1.2, 1.3])


def test_a_perfect_proxy_is_followed_at_once():
    y = play(lambda codes: planted(codes)[:, None], 8, start=6)
    assert y[6:].max() == planted(np.array([[3] * 4]))[0]


def test_a_reversed_proxy_and_one_without_values_are_ignored():
    plain = play(lambda codes: np.empty((len(codes), 0)), 25, start=8)
    reversed_ = play(lambda codes: -planted(codes)[:, None], 25, start=8)
    nothing = play(lambda codes: np.full((len(codes), 1), np.nan), 25, start=8)
    for y in (reversed_, nothing):
        assert y.max() >= plain.max() - 1.2


def test_the_space_is_tried_to_its_end():
    sizes, seen, rng = (2, 2), {(0, 0), (0, 1), (1, 0)}, np.random.default_rng(0)
    observed, y = np.array(sorted(seen)), np.array([0.1, 0.2, 0.3])

    def none(codes):
        return np.empty((len(codes), 0))

    args = (none, gaussian_process, rng, Settings(start=2))
    assert next_codes(sizes, observed, y, seen, *args) == (1, 1)
    assert next_codes(sizes, observed, y, {*seen, (1, 1)}, *args) in {*seen, (1, 1)}


def good(architecture):
    """A proxy by dotted path: counts "b"."""
    return float(sum(value == "b" for value in architecture.values()))


def test_a_study_by_proxies_can_be_killed_like_any_other(tmp_path):
    options = {"proxies": ["tests.trials.test_proxy_bo:good"], "start": 6, "pool": 50}
    plan = Plan({"accuracy": "maximize"}, {}, "proxy_bo", options, look_back=3)

    def study(n, file):
        return run(plan, toys.search(5), Inline(scores.score), where=str(tmp_path / file), name="s", n_trials=n)

    whole = study(20, "whole")
    for part in (4, 11, 20):
        parts = study(part, "parts")
    assert told(parts) == told(whole)
    assert len({r.digest for r in whole}) == 20
    assert max(r.objectives["accuracy"] for r in whole) > -0.5  # all "b": the one best


def test_proxies_speed_the_search_up_on_the_benchmark(table):
    of = {p: task(table, "cifar10_valid", options={"proxies": p}) for p in ((), ("params",))}
    with_proxy, without = (regrets(of[p], "proxy_bo", 3, 45)[:, 44].mean() for p in (("params",), ()))
    assert with_proxy < without
    assert with_proxy < regrets(of[()], "random", 100, 45)[:, 44].mean() / 2
    assert found(of[("params",)], "proxy_bo", 0, 25) == found(of[("params",)], "proxy_bo", 0, 25)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"proxies": ["synflow"]}, "proxy 'synflow' is no function: write it like"),
        ({"proxies": ["tests.trials.scores:none"]}, "no proxy 'tests.trials.scores:none'"),
        ({"surrogate": "oracle"}, "no surrogate 'oracle': known are forest, gaussian_process"),
        ({"luck": 7}, "'proxy_bo' has no option 'luck': it takes proxies, surrogate, start"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(tmp_path, options, sentence):
    plan = Plan({"accuracy": "maximize"}, {}, "proxy_bo", options)
    with pytest.raises(Refused, match=sentence):
        run(plan, toys.search(), Inline(scores.score), where=str(tmp_path / "s"), name="s", n_trials=2)

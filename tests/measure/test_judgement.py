"""measure.judgement: the false yes by simulation, against the rule it replaced; the rest against scipy and on paper."""

import itertools
import math
import statistics

import numpy as np
import pytest
from scipy import stats

from winnow.measure import compare
from winnow.measure.judgement import (
    CANNOT_TELL,
    LOSS,
    MARGIN,
    NO,
    YES,
    better_than_random,
    detectable_gap,
    difference,
    fewest_controls,
    foreseeable_gap,
    mean_interval,
    not_worse,
    row_variance,
)


def omniglot(rng, n):
    """Random networks of a hard task: mean 53, sd 18, a ceiling above, one in twelve disconnected and at chance."""
    return np.where(rng.random(n) < 1 / 12, rng.normal(0.9, 0.2, n), 73 - rng.gamma(2.4, 6.5, n))


def plain(rng, n):
    return rng.normal(94, 0.8, n)


def saturated(rng, n):  # many networks are equal to the last image
    return np.round(100 - rng.exponential(0.4, n), 0)


POOLS = {"omniglot": (omniglot, 2.4), "normal": (plain, 0.9), "saturated": (saturated, 0.0)}
TRIES = 4000
ABOVE = 0.05 + 3 * math.sqrt(0.05 * 0.95 / TRIES)  # 5 % and three standard errors of so many tries


def welch(found, controls):
    """What winnow did before: a yes where the lower end of Welch's interval is above zero."""
    return compare.difference(found, controls).low > 0


def rank(found, controls):
    return better_than_random(found, controls).outcome == YES


def false_yes(rule, pool, k, m, seeds=1, seed=0):
    """How often `rule` says yes to k random networks (`seeds` retrainings of one) against m others of the same pool."""
    draw, noise = POOLS[pool]
    rng, said = np.random.default_rng(seed), 0
    for _ in range(TRIES):
        found = np.repeat(draw(rng, k), seeds) + rng.normal(0, noise, k * seeds)
        controls = draw(rng, m) + rng.normal(0, noise, m)
        said += rule(found.tolist(), controls.tolist())
    return said / TRIES


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(("k", "m"), [(1, 19), (1, 20), (1, 40), (3, 10), (5, 20)])
def test_random_networks_in_place_of_the_found_get_a_yes_in_at_most_one_case_of_twenty(pool, k, m):
    assert false_yes(rank, pool, k, m) <= ABOVE


def test_the_rule_before_this_one_fails_that():
    assert false_yes(welch, "omniglot", 1, 20, seeds=3) > 0.3
    assert false_yes(welch, "omniglot", 5, 20) > ABOVE


def test_a_gain_is_seen_by_several_searches_and_a_single_network_must_be_exceptional():
    rng = np.random.default_rng(0)

    def power(k, m, gain):
        tries = 1000
        seen = 0
        for _ in range(tries):
            found = 52.8 + gain + rng.normal(0, 2.4, k)
            controls = omniglot(rng, m) + rng.normal(0, 2.4, m)
            seen += rank(found.tolist(), controls.tolist())
        return seen / tries

    assert power(5, 20, 15) > 0.9
    assert power(1, 20, 15) < 0.5  # 52.8 + 15 is beaten by one random network in seven
    assert power(1, 20, 30) > 0.9


def test_one_network_among_twenty_is_a_rank_on_paper():
    controls = [float(c) for c in range(20)]
    assert better_than_random([19.5], controls).p == pytest.approx(1 / 21)
    assert better_than_random([19.5], controls).outcome == YES
    assert better_than_random([19.0], controls).p == pytest.approx(2 / 21)  # a tie counts against it
    assert better_than_random([19.0], controls).outcome == CANNOT_TELL
    assert better_than_random([9.5], controls, difference([9.5, 9.0, 9.7], controls)).outcome == NO
    assert better_than_random([9.5], controls, difference([9.5, 18.0, 19.7], controls)).outcome == CANNOT_TELL
    assert better_than_random([9.5], controls).outcome == CANNOT_TELL  # without an interval nothing is excluded
    assert better_than_random([1.0], []).outcome == CANNOT_TELL


@pytest.mark.parametrize(("k", "fewest"), [(1, 19), (2, 5), (3, 3), (5, 2), (19, 1), (40, 1)])
def test_too_few_controls_never_say_yes_or_no(k, fewest):
    assert fewest_controls(k) == fewest
    worse = difference([0.0] * 3, [1.0] * 3)
    for m in range(1, fewest):
        assert better_than_random([2.0] * k, [1.0] * m).outcome == CANNOT_TELL
        assert better_than_random([0.0] * k, [1.0] * m, worse).outcome == CANNOT_TELL
    assert better_than_random([2.0] * k, [1.0] * fewest).outcome == YES
    assert better_than_random([0.0] * k, [1.0] * fewest, worse).outcome == NO


@pytest.mark.parametrize(("k", "m"), [(1, 20), (2, 7), (5, 20), (8, 8)])
def test_the_chance_is_mann_and_whitneys(k, m):
    rng = np.random.default_rng(k * m)
    for shift in (-1.0, 0.0, 1.0):
        found, controls = rng.normal(shift, 1, k), rng.normal(0, 1, m)
        expected = stats.mannwhitneyu(found, controls, alternative="greater", method="exact").pvalue
        assert better_than_random(found.tolist(), controls.tolist()).p == pytest.approx(expected)


def test_a_no_is_evidence_and_not_the_lack_of_it():
    """It is said where a gain as large as a yes took is excluded: seldom of a network that is that much better."""
    rng, tries, refuted, missed = np.random.default_rng(3), 500, 0, 0
    for _ in range(tries):
        controls = (omniglot(rng, 20) + rng.normal(0, 2.4, 20)).tolist()
        for gain, outcomes in ((0, "no"), (19, "miss")):
            found = (52.8 + gain + rng.normal(0, 2.4, 3)).tolist()
            no = better_than_random(found[:1], controls, difference(found, controls)).outcome == NO
            refuted, missed = refuted + (no and outcomes == "no"), missed + (no and outcomes == "miss")
    assert refuted / tries > 0.75
    assert missed / tries < 0.01


@pytest.mark.parametrize("k", [1, 3, 5])
def test_the_detectable_gap_is_the_edge_of_a_yes(k):
    controls = np.random.default_rng(k).normal(60, 10, 20).tolist()
    edge = detectable_gap(k, controls) + statistics.fmean(controls)
    assert better_than_random([edge + 1e-9] * k, controls).outcome == YES
    assert better_than_random([edge] * k, controls).outcome != YES


def test_no_gap_can_be_seen_beyond_perfection_or_with_few_controls():
    assert detectable_gap(1, [100.0] + [90.0] * 19) is None
    assert detectable_gap(1, [90.0] * 18) is None
    assert detectable_gap(1, [90.0] * 19) == 0.0
    assert detectable_gap(1, []) is None


def test_intervals_end_where_percentages_do_and_take_three_values():
    assert mean_interval([40.0, 41.0]) is None
    assert difference([40.0, 41.0], [1.0, 2.0, 3.0]) is None
    wide = mean_interval([5.0, 50.0, 99.0])
    assert (wide.low, wide.high) == (0.0, 100.0)
    gap = difference([0.0, 50.0, 100.0], [0.0, 50.0, 99.0])
    assert (gap.low, gap.high) == (-100.0, 100.0)
    assert mean_interval([0.5, 1.5, 2.5], bounds=(-math.inf, math.inf)).low < 0


def test_the_difference_is_welchs_and_images_widen_it():
    rng = np.random.default_rng(1)
    a, b = rng.normal(94, 0.2, 3).tolist(), rng.normal(92, 1.5, 20).tolist()
    expected = compare.difference(a, b)
    found = difference(a, b)
    assert (found.low, found.mean, found.high) == pytest.approx((expected.low, expected.mean, expected.high))
    wider = difference(a, b, rows=0.5)
    assert wider.high - wider.low > found.high - found.low
    only_images = difference([90.0] * 3, [89.0] * 3, rows=0.25)
    assert only_images.low == pytest.approx(1 - 1.959964 * 0.5)  # no spread between networks: the normal quantile


def test_the_interval_covers_what_other_images_and_networks_would_show():
    """Both sources at once: 95 % intervals hold the true gap, 4 points, in about 95 % of cases."""
    rng, held, welchs, tries = np.random.default_rng(0), 0, 0, 400
    for _ in range(tries):
        hard = rng.normal(0, 1, 150)  # how hard each test image is, for everybody

        def answers(skill, n, hard=hard):
            return rng.normal(0, 0.6, (n, 150)) + rng.normal(0, 0.05, (n, 1)) + skill > hard

        a, b = answers(GAPS[1], 3), answers(GAPS[0], 20)
        of_a, of_b = (100 * a.mean(1)).tolist(), (100 * b.mean(1)).tolist()
        found = difference(of_a, of_b, rows=row_variance(a, b))
        plain = difference(of_a, of_b)
        held += found.low <= 4 <= found.high
        welchs += plain.low <= 4 <= plain.high
    assert held / tries > 0.93
    assert held >= welchs


def _skill(share):  # of a network that is right in `share` of all images: hardness and its own noise are both normal
    return float(stats.norm.ppf(share)) * math.sqrt(1 + 0.6**2 + 0.05**2)


GAPS = (_skill(0.70), _skill(0.74))


def test_the_variance_of_images_on_paper():
    a = [[True, True, False, True]]
    b = [[True, False, False, True], [True, False, False, False]]
    gaps = [0.0, 100.0, 0.0, 50.0]
    assert row_variance(a, b) == pytest.approx(statistics.variance(gaps) / 4)
    assert row_variance(a, a) == 0.0
    assert row_variance([[True]], [[False]]) == 0.0


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [(-0.9, 3.0, YES), (-1.0, 3.0, CANNOT_TELL), (-9.0, 0.5, CANNOT_TELL), (-9.0, -1.1, NO), (0.1, 0.2, YES)],
)
def test_non_inferiority_has_three_outcomes(low, high, outcome):
    assert not_worse(compare.Estimate((low + high) / 2, low, high, 6), 1.0) == outcome


def test_noise_never_passes_for_equality():
    """99.07 -> 93.75 (n = 2) and -> 95.87 (n = 3) once passed: the noisier the candidate, the more it might lose."""
    before = [98.89, 99.44, 98.89]
    assert not_worse(difference([95.5, 92.0], before), 1.0) == CANNOT_TELL
    assert not_worse(difference([98.5, 97.2, 91.9], before), 1.0) == CANNOT_TELL
    assert not_worse(difference([94.0, 94.1, 93.9], before), 1.0) == NO
    assert not_worse(difference([99.0, 99.1, 99.0], before), 1.0) == YES


def test_the_foreseeable_gap_is_found_in_four_of_five_cases():
    rng, sd, tries = np.random.default_rng(2), 2.0, 600
    paired, two = foreseeable_gap(sd, 5), foreseeable_gap(sd, 6, 8)
    seen = sum(mean_interval(rng.normal(paired, sd, 5).tolist(), (-99, 99)).low > 0 for _ in range(tries))
    assert 0.74 < seen / tries < 0.86
    both = sum(difference(rng.normal(two, sd, 6).tolist(), rng.normal(0, sd, 8).tolist()).low > 0 for _ in range(tries))
    assert 0.74 < both / tries < 0.86
    assert foreseeable_gap(1.0, 2) is None
    assert foreseeable_gap(1.0, 9, 2) is None


def gap_of(high):
    return compare.Estimate(0.0, -50.0, high, 6)


def test_pairs_are_won_one_by_one_and_a_tie_wins_none():
    said = better_than_random([2.0, 5.0], [1.0, 2.0, 5.0])
    assert (said.won, said.pairs) == (1 + 2, 6)
    assert said.p == pytest.approx(6 / 10)  # of 10 orders, 6 win three pairs or more: 2 + 2 + 1 + 1
    assert (better_than_random([], [1.0]).p, better_than_random([1.0], []).p) == (1.0, 1.0)
    assert (better_than_random([1.0], []).won, better_than_random([1.0], []).pairs) == (0, 0)


@pytest.mark.parametrize(("k", "m"), [(1, 4), (2, 3), (3, 3), (4, 2)])
def test_the_chance_of_every_number_of_pairs_is_that_of_all_orders(k, m):
    orders = list(itertools.combinations(range(k + m), k))  # the places of what was found
    wins = [sum(f > c for f in places for c in set(range(k + m)) - set(places)) for places in orders]
    for places, won in zip(orders, wins, strict=True):
        said = better_than_random(list(places), sorted(set(range(k + m)) - set(places)))
        assert (said.won, said.pairs) == (won, k * m)
        assert said.p == pytest.approx(sum(other >= won for other in wins) / len(orders))


@pytest.mark.parametrize(
    ("found", "high", "outcome"),
    [
        (9.5, 9.4, NO),  # ten of twenty pairs won, and a yes took 19 - 9.5
        (9.5, 9.5, CANNOT_TELL),  # as large a gain is not excluded
        (9.5, 9.6, CANNOT_TELL),
        (10.5, 9.4, CANNOT_TELL),  # eleven of twenty: more than half
        (8.5, 9.4, NO),
    ],
)
def test_a_no_takes_at_most_half_of_the_pairs_and_an_interval_below_what_a_yes_took(found, high, outcome):
    assert better_than_random([found], [float(c) for c in range(20)], gap_of(high)).outcome == outcome


def test_where_nothing_can_be_beaten_a_no_takes_an_interval_below_zero():
    controls = [100.0] * 19
    assert better_than_random([50.0], controls, gap_of(-0.1)).outcome == NO
    assert better_than_random([50.0], controls, gap_of(0.0)).outcome == CANNOT_TELL
    below = [90.0] * 19
    assert better_than_random([80.0], below, gap_of(-0.1)).outcome == NO  # all alike: any gain would have been seen
    assert better_than_random([80.0], below, gap_of(0.0)).outcome == CANNOT_TELL
    assert better_than_random([80.0], below[1:], gap_of(-0.1)).outcome == CANNOT_TELL


def test_the_limit_of_another_metric_is_told():
    controls = [1.0 * c for c in range(20)]
    assert detectable_gap(1, controls, best=19.0) is None
    assert detectable_gap(1, controls, best=19.1) == 9.5
    assert better_than_random([5.0], controls, gap_of(5.0), best=19.0).outcome == CANNOT_TELL
    assert better_than_random([5.0], controls, gap_of(5.0), best=19.1).outcome == NO
    assert better_than_random([5.0], controls, gap_of(-1.0), best=19.0).outcome == NO


@pytest.mark.parametrize(
    ("k", "m", "place"), [(1, 20, 19), (1, 39, 37), (1, 40, 38), (2, 10, 9), (2, 12, 10), (3, 3, 2), (5, 20, 14)]
)
def test_a_yes_takes_as_many_controls_as_the_rank_test_has_it(k, m, place):
    """`place` is that of the control that all of the found ones had to pass, by scipy."""
    controls = [c * 2.0 for c in range(m)]

    def p(beaten):
        found = [2.0 * beaten - 1 + i / 100 for i in range(k)]
        return stats.mannwhitneyu(found, controls, alternative="greater", method="exact").pvalue

    assert p(place + 1) <= 0.05 < p(place)
    assert detectable_gap(k, controls) == 2.0 * place - (m - 1)
    assert detectable_gap(k, controls[::-1]) == 2.0 * place - (m - 1)


def test_what_is_usual_is_one_point_of_a_percentage_and_a_twentieth_of_other_scores():
    assert (MARGIN, LOSS) == (1.0, 0.05)
    found, controls = [99.5] * 3, [0.5] * 3
    assert mean_interval([99.0, 99.5, 100.0]).high == 100.0
    assert mean_interval([0.0, 0.5, 1.0]).low == 0.0
    assert detectable_gap(3, [100.0] * 3) is None
    assert difference(found, controls, rows=10_000.0).high == 100.0
    assert difference(controls, found, rows=10_000.0).low == -100.0


def test_a_difference_is_cut_at_the_width_of_its_bounds():
    wide = difference([25.0] * 3, [15.0] * 4, rows=10_000.0, bounds=(10.0, 30.0))
    assert (wide.mean, wide.low, wide.high, wide.n) == (10.0, -20.0, 20.0, 7)
    assert difference([25.0] * 3, [15.0] * 3) == compare.Estimate(10.0, 10.0, 10.0, 6)
    assert mean_interval([9.0, 20.0, 31.0], (10.0, 30.0)) == compare.Estimate(20.0, 10.0, 30.0, 3)


def test_rows_widen_the_error_and_the_freedom_by_welch_and_satterthwaite():
    a, b, rows = [90.0, 91.0, 93.5], [80.0, 84.0, 82.5, 83.0], 0.75
    va, vb = np.var(a, ddof=1) / 3, np.var(b, ddof=1) / 4
    error = math.sqrt(va + vb + rows)
    freedom = (va + vb + rows) ** 2 / (va**2 / 2 + vb**2 / 3)
    half = stats.t.ppf(0.975, freedom) * error
    found, gap = difference(a, b, rows=rows), np.mean(a) - np.mean(b)
    assert (found.mean, found.low, found.high) == pytest.approx((gap, gap - half, gap + half))
    assert found.n == 7


def test_rows_vary_in_the_unit_of_the_metric():
    a, b = [[0.5, 0.25, 0.0, 1.0]], [[0.0, 0.25, 0.5, 0.0]]
    gaps = [0.5, 0.0, -0.5, 1.0]
    assert row_variance(a, b, unit=1.0) == pytest.approx(statistics.variance(gaps) / 4)
    assert row_variance(a, b) == pytest.approx(10_000 * statistics.variance(gaps) / 4)
    assert row_variance([[1.0, 0.0]], [[0.0, 0.0]], unit=2.0) == pytest.approx(statistics.variance([2.0, 0.0]) / 2)


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [(-9.0, -1.0, CANNOT_TELL), (-9.0, -1.01, NO), (-0.99, -0.5, YES), (-1.0, -0.5, CANNOT_TELL)],
)
def test_an_interval_that_ends_at_the_margin_says_neither(low, high, outcome):
    assert not_worse(compare.Estimate(0.0, low, high, 6), 1.0) == outcome
    assert not_worse(None, 1.0) == CANNOT_TELL


def test_the_foreseeable_gap_is_two_quantiles_of_the_standard_error():
    def by_hand(freedom, error):
        return (stats.t.ppf(0.975, freedom) + stats.t.ppf(0.8, freedom)) * error

    assert foreseeable_gap(2.0, 3) == pytest.approx(by_hand(2, 2 / math.sqrt(3)))
    assert foreseeable_gap(2.0, 5, 3) == pytest.approx(by_hand(6, 2 * math.sqrt(1 / 5 + 1 / 3)))
    assert foreseeable_gap(0.5, 3, 4) == pytest.approx(by_hand(5, 0.5 * math.sqrt(1 / 3 + 1 / 4)))
    assert (foreseeable_gap(2.0, 3, 2), foreseeable_gap(2.0, 2, 3)) == (None, None)


def test_a_judgement_cannot_be_changed():
    said = better_than_random([1.0], [0.0])
    assert said in {said}
    with pytest.raises(AttributeError):
        said.outcome = YES

"""Rank measures against scipy and scikit-learn, and cases worked out by hand."""

import time

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import ndcg_score

from winnow.measure import rank
from winnow.measure.rank import bootstrap, difference, ndcg, partial_spearman, spearman, top_precision

RNG = np.random.default_rng(0)
PAIRS = {
    "distinct": (RNG.normal(size=300), RNG.normal(size=300)),
    "related": (x := RNG.normal(size=300), x + RNG.normal(size=300)),
    "ties on one side": (RNG.integers(0, 5, 300), RNG.normal(size=300)),
    "ties on both": (RNG.integers(0, 28, 300), RNG.integers(0, 9, 300)),
    "reversed": (np.arange(50), -np.arange(50)),
    "two": (np.array([1.0, 2.0]), np.array([3.0, 1.0])),
    "huge": (10.0 ** RNG.integers(-300, 300, 200), RNG.normal(size=200)),
}


@pytest.mark.parametrize("case", PAIRS)
def test_correlations_are_those_of_scipy(case):
    a, b = PAIRS[case]
    assert rank.average_ranks(a) == pytest.approx(stats.rankdata(a))
    assert rank.spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert rank.kendall_tau(a, b) == pytest.approx(stats.kendalltau(a, b).statistic)


def test_constant_scores_have_no_correlation():
    assert np.isnan(rank.spearman([1, 1, 1], [1, 2, 3]))
    assert np.isnan(rank.kendall_tau([1, 1, 1], [1, 2, 3]))
    assert np.isnan(rank.ndcg([1, 2], [3, 3]))


def test_any_increasing_transform_keeps_ranks():
    a, b = PAIRS["related"]
    assert rank.kendall_tau(np.exp(a), b**3) == rank.kendall_tau(a, b)


def test_top_of_the_list():
    assert rank.top_precision([5, 4, 3, 2, 1], [5, 1, 4, 2, 3], 3) == pytest.approx(2 / 3)
    assert rank.top_precision([1, 2, 3], [1, 2, 3], 3) == 1


@pytest.mark.parametrize("k", [1, 10, 300])
def test_ndcg_is_that_of_scikit_learn(k):
    a, b = PAIRS["related"]
    assert rank.ndcg(a, b, k) == pytest.approx(ndcg_score([b - b.min()], [a], k=k))


def test_partial_correlation_is_the_textbook_formula():
    rng = np.random.default_rng(1)
    size = rng.normal(size=500)
    a, b = size + rng.normal(size=500), size + rng.normal(size=500)
    ab, ac, bc = (stats.spearmanr(*pair).statistic for pair in ((a, b), (a, size), (b, size)))
    expected = (ab - ac * bc) / np.sqrt((1 - ac**2) * (1 - bc**2))
    assert rank.partial_spearman(a, b, [size]) == pytest.approx(expected)
    assert rank.partial_spearman(a, b, [size, np.exp(size)]) == pytest.approx(expected)  # one ranking, told twice
    assert np.isnan(rank.partial_spearman(size, b, [size]))
    assert abs(rank.partial_spearman(size + rng.normal(size=500) * 1e-3, b, [size])) < 0.15


def test_bootstrap_covers_the_value_and_repeats():
    a, b = PAIRS["related"]
    first, again = (rank.bootstrap(rank.spearman, a, b, np.random.default_rng(3), 200) for _ in range(2))
    assert first == again
    assert first.low < first.value < first.high
    assert 0.05 < first.high - first.low < 0.4
    assert rank.bootstrap(rank.spearman, [1, 1, 1], [1, 2, 3], np.random.default_rng(0), 5).missing == 5


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1, 2], [1, 2, 3]),
        ([1], [1]),
        ([[1, 2]], [[1, 2]]),
        ([[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        ([1, np.nan], [1, 2]),
    ],
)
def test_what_cannot_be_ranked_is_an_error(a, b):
    with pytest.raises(ValueError, match="ranking takes"):
        rank.kendall_tau(a, b)


def test_k_beyond_the_list_is_an_error():
    with pytest.raises(ValueError, match="k takes 1 to 2"):
        rank.top_precision([1, 2], [1, 2], 3)


def test_a_hundred_thousand_are_ranked_at_once():
    a = RNG.normal(size=100_000)
    b = a + RNG.normal(size=100_000)
    began = time.perf_counter()
    tau = rank.kendall_tau(a, b)
    assert time.perf_counter() - began < 3  # pairs one by one would take hours
    assert tau == pytest.approx(0.5, abs=0.02)


def test_a_difference_of_two_orders_is_one_of_the_same_networks():
    """One is right throughout, the other wrong throughout: 2 in each resample, but where all drawn are one network."""
    truth = [1.0, 2.0, 3.0, 4.0]
    found = rank.difference(rank.spearman, truth, truth[::-1], truth, np.random.default_rng(0), 500)
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))
    rows = np.random.default_rng(0)
    drawn = [len(set(rows.integers(0, 4, 4))) for _ in range(500)]
    assert found.missing == drawn.count(1) > 0
    same = rank.difference(rank.spearman, truth, truth, truth, np.random.default_rng(0), 20)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_gain_and_discount_on_paper():
    """Truths 1, 3, 5 gain 0, 2, 4; places are discounted by 1, log2(3) and 2."""
    second = 1 / np.log2(3)
    ideal = 4 + 2 * second
    assert ndcg([3, 2, 1], [1, 3, 5]) == pytest.approx((0 + 2 * second + 4 / 2) / ideal)
    assert ndcg([1, 2, 3], [1, 3, 5]) == pytest.approx(1.0)
    assert ndcg([3, 2, 1], [1, 3, 5], 2) == pytest.approx(2 * second / ideal)
    assert ndcg([1, 3, 2], [1, 3, 5], 1) == pytest.approx(0.5)
    assert ndcg([2, 1, 3], [-5, -7, -9]) == pytest.approx((0 + 4 * second + 2 / 2) / ideal)


def test_of_equal_scores_the_earlier_is_the_better():
    assert top_precision([1, 1, 1], [3, 2, 1], 1) == 1.0
    assert top_precision([1, 1, 1], [1, 2, 3], 1) == 0.0
    assert top_precision([1, 2, 3, 4], [0, 0, 9, 9], 2) == 1.0
    assert ndcg([1, 1, 1], [5, 3, 1], 1) == 1.0


@pytest.mark.parametrize("k", [0, -1, 4])
def test_k_is_at_least_one_and_at_most_the_length(k):
    for measure in (top_precision, ndcg):
        with pytest.raises(ValueError, match=f"^k takes 1 to 3, not {k}$"):
            measure([1, 2, 3], [1, 2, 3], k)
        assert measure([1, 2, 3], [1, 2, 3], 3) == measure([1, 2, 3], [1, 2, 3], 1) == 1.0


@pytest.mark.parametrize(
    ("a", "b", "sentence"),
    [
        ([1], [2], r"ranking takes two lists of one length, 2 or more, not \(1,\) and \(1,\)"),
        ([1, 2, 3], [1, 2], r"ranking takes two lists of one length, 2 or more, not \(3,\) and \(2,\)"),
        ([1, np.nan], [1, 2], "ranking takes numbers: decide first where NaN belongs"),
        ([1, 2], [np.nan, 2], "ranking takes numbers: decide first where NaN belongs"),
    ],
)
def test_a_refusal_says_which_lists_came(a, b, sentence):
    for measure in (spearman, rank.kendall_tau, ndcg):
        with pytest.raises(ValueError, match=sentence):
            measure(a, b)


def test_each_side_that_is_constant_leaves_no_correlation():
    for measure in (spearman, rank.kendall_tau):
        assert np.isnan(measure([1, 2, 3], [4, 4, 4]))
        assert np.isnan(measure([4, 4, 4], [4, 4, 4]))
        assert measure([1, 2], [4, 5]) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(6))
def test_kendalls_tau_is_that_of_counting_pairs(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 3 + seed, 17), rng.integers(0, 9 - seed, 17)
    signs = [(np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i in range(17) for j in range(i)]
    total = sum(x * y for x, y in signs)
    untied = [sum(pair[side] != 0 for pair in signs) for side in (0, 1)]
    assert rank.kendall_tau(a, b) == pytest.approx(total / np.sqrt(untied[0] * untied[1]))


def residues(ranks, known):
    design = np.column_stack([np.ones(len(ranks)), *known])
    return ranks - design @ np.linalg.pinv(design) @ ranks


def test_a_partial_correlation_is_that_of_what_regressions_leave():
    rng = np.random.default_rng(4)
    size, depth = rng.normal(size=40), rng.integers(0, 6, 40)
    a, b = size + rng.normal(size=40), size + depth + rng.normal(size=40)
    left = [residues(stats.rankdata(x), [stats.rankdata(size), stats.rankdata(depth)]) for x in (a, b)]
    assert partial_spearman(a, b, [size, depth]) == pytest.approx(stats.pearsonr(*left).statistic)
    assert partial_spearman(a, b, []) == pytest.approx(spearman(a, b))
    assert np.isnan(partial_spearman(a, size, [size]))
    with pytest.raises(ValueError, match=r"2 or more, not \(3,\) and \(40,\)"):
        partial_spearman(a, b, [size[:3]])


def resampled(measure, seed, n, resamples):
    """What `measure(rows)` says of each resample that it has a value of."""
    rng = np.random.default_rng(seed)
    found = np.array([measure(rng.integers(0, n, n)) for _ in range(resamples)])
    return found[~np.isnan(found)]


def test_an_interval_holds_the_middle_95_percent_of_resamples():
    a, b = np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 3, 5, 4])
    found = bootstrap(spearman, a, b, np.random.default_rng(2), 300)
    with np.errstate(all="ignore"):
        draws = resampled(lambda rows: spearman(a[rows], b[rows]), 2, 5, 300)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(draws, [2.5, 97.5])))
    assert (found.value, found.missing) == (pytest.approx(0.8), 300 - len(draws))


def test_the_interval_of_a_difference_holds_the_middle_95_percent_of_differences():
    truth = np.arange(8.0)
    a, b = truth[[0, 1, 3, 2, 4, 5, 7, 6]], truth[[3, 2, 1, 0, 7, 6, 5, 4]]
    found = difference(spearman, a, b, truth, np.random.default_rng(5), 200)
    draws = resampled(lambda rows: spearman(a[rows], truth[rows]) - spearman(b[rows], truth[rows]), 5, 8, 200)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(draws, [2.5, 97.5])))
    assert found.value == pytest.approx(spearman(a, truth) - spearman(b, truth))
    assert (found.missing, len(draws)) == (0, 200)


def test_where_no_resample_has_a_value_there_is_no_interval():
    for found in (
        bootstrap(spearman, [1, 1, 1], [1, 2, 3], np.random.default_rng(0), 7),
        difference(spearman, [1, 1, 1], [1, 2, 3], [1, 2, 3], np.random.default_rng(0), 7),
    ):
        assert np.isnan([found.value, found.low, found.high]).all()
        assert found.missing == 7


def test_a_thousand_resamples_are_drawn_where_nobody_says_else():
    asked = []

    def first(a, b):
        asked.append(len(a))
        return float(a[0])

    bootstrap(first, [1, 2, 3], [1, 2, 3], np.random.default_rng(0))
    assert asked == [3] * 1001  # and once for the value
    asked.clear()
    difference(first, [1, 2, 3], [3, 2, 1], [1, 2, 3], np.random.default_rng(0))
    assert asked == [3] * 2002


def test_an_interval_without_missing_resamples_says_none_and_cannot_be_changed():
    found = rank.Interval(0.5, 0.25, 0.75)
    assert found.missing == 0
    assert found in {found}
    with pytest.raises(AttributeError):
        found.low = 0.0

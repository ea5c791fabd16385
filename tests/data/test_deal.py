import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.core.errors import Refused
from winnow.data.deal import at_random, by_groups
from winnow.data.schema import SPLITS
from winnow.data.source import Part, Source, checked
from winnow.data.splits import check_leakage, make_splits

FRACTIONS = {"weights": 0.4, "arch": 0.24, "select": 0.16, "test": 0.2}


def draws(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), sizes=st.lists(st.integers(1, 30), min_size=4, max_size=12))
def test_no_group_is_torn_apart_and_every_split_has_one(seed, sizes):
    groups = np.repeat([f"speaker {i}" for i in range(len(sizes))], sizes)
    dealt = by_groups(groups, FRACTIONS, draws(seed))
    assert set(dealt.tolist()) == {0, 1, 2, 3}
    assert all(len(set(dealt[groups == group].tolist())) == 1 for group in set(groups))


def test_many_small_groups_keep_the_shares():
    dealt = by_groups(np.repeat(np.arange(500), 3), FRACTIONS, draws())
    assert np.bincount(dealt) / 1500 == pytest.approx([0.4, 0.24, 0.16, 0.2], abs=0.01)


def test_six_equal_speakers_are_two_two_one_and_one():
    groups = np.repeat(np.arange(6), 50)
    dealt = by_groups(groups, FRACTIONS, draws())
    assert (np.bincount(dealt) // 50).tolist() == [2, 2, 1, 1]
    owners = {tuple(by_groups(groups, FRACTIONS, draws(seed))[::50].tolist()) for seed in range(20)}
    assert len(owners) > 5  # who goes where is drawn
    assert (dealt == by_groups(groups, FRACTIONS, draws())).all()


def test_fewer_groups_than_splits_are_refused():
    with pytest.raises(Refused, match=r"has 3 group\(s\) \(a, b, c\).* takes 4 or more, one for each of weights"):
        by_groups(np.array(["a", "b", "c"] * 4), FRACTIONS, draws())


def test_rows_of_one_kind_are_dealt_by_their_shares():
    assert np.bincount(at_random(100, FRACTIONS, draws())).tolist() == [40, 24, 16, 20]
    with pytest.raises(Refused, match="there are 3 different training rows; it takes 4 or more, one for each"):
        at_random(3, FRACTIONS, draws())


def source(**changes) -> Source:
    rng = np.random.default_rng(0)
    columns = {"wave": rng.integers(-99, 99, (60, 5)).astype(np.int16), "label": np.arange(60) % 2, **changes}
    return checked(Source(Part(columns, groups=np.repeat(list("abcdef"), 10)), None))


def split(source: Source):
    fractions = {"weights": 0.5, "arch": 0.3, "select": 0.2}
    settings = {"seed": 0, "fractions": fractions, "test_fraction": 0.2, "deal": None}
    return make_splits(source, reads=("wave",), target="label", **settings)


def test_a_source_with_groups_is_dealt_by_them_whatever_its_task_would_do():
    tables = split(source()).tables
    check_leakage(tables)
    owners = {name: {"abcdef"[row // 10] for row in table["row"].to_pylist()} for name, table in tables.items()}
    assert sum(map(len, owners.values())) == 6
    assert all(owners[name] for name in SPLITS)


def test_equal_rows_of_two_groups_cannot_be_held_apart():
    waves = np.random.default_rng(0).integers(-99, 99, (60, 5)).astype(np.int16)
    waves[11] = waves[12]  # of one group: kept together
    split(source(wave=waves))
    waves[11] = waves[55]
    with pytest.raises(Refused, match=r"groups b and f hold equal rows \(1 in all\), so neither can be held out"):
        split(source(wave=waves))

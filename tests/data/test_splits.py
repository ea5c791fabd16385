import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.core.errors import Refused
from winnow.data.labelled import classified, labelled
from winnow.data.schema import SPLITS, content_digest, fixed_numpy
from winnow.data.splits import check_leakage, make_splits
from winnow.tasks.classify import IMAGES

READING = {"reads": IMAGES.reads, "target": IMAGES.target, "deal": IMAGES.deal}

FRACTIONS = {"weights": 0.5, "arch": 0.25, "select": 0.25}


def split(source, seed=0, fractions=FRACTIONS, test_fraction=0.25):
    return make_splits(source, **READING, seed=seed, fractions=fractions, test_fraction=test_fraction)


def rows(table) -> list[int]:
    return table["row"].to_pylist()


def test_every_image_is_dealt_once_class_by_class(make_source):
    source = make_source(3, 16)
    tables = split(source).tables
    assert tuple(tables) == SPLITS
    assert sorted(row for table in tables.values() for row in rows(table)) == list(range(48))
    counts = {name: np.bincount(table["label"].to_numpy()).tolist() for name, table in tables.items()}
    assert counts == {"weights": [6] * 3, "arch": [3] * 3, "select": [3] * 3, "test": [4] * 3}
    for table in tables.values():
        assert rows(table) == sorted(rows(table))
        pixels = fixed_numpy(table["image"]).reshape(-1, 3, 8, 8)
        assert (pixels == source.train.columns["image"][rows(table)]).all()
        assert (table["label"].to_numpy() == source.train.columns["label"][rows(table)]).all()
        assert set(table["source"].to_pylist()) == {"train"}


def test_a_test_set_is_taken_as_it_is(make_source):
    source = make_source(with_test=True)
    tables = split(source, test_fraction=None).tables
    assert rows(tables["test"]) == list(range(12))
    assert set(tables["test"]["source"].to_pylist()) == {"test"}
    assert sum(len(tables[name]) for name in SPLITS[:3]) == 36


def test_groups_are_a_column_of_numbers_and_stay_whole(make_source):
    source = make_source()
    names = np.array(["anna", "bert", "carl", "dora", "emil", "fred"])[np.arange(len(source.train)) % 6]
    source = replace(source, train=replace(source.train, groups=names))
    tables = split(source).tables
    found = {name: set(table["group"].to_pylist()) for name, table in tables.items()}
    assert sorted(each for groups in found.values() for each in groups) == list(range(6))
    for table in tables.values():
        assert [row % 6 for row in rows(table)] == table["group"].to_pylist()
    assert "group" not in split(make_source()).tables["weights"].column_names
    taken = {**source.train.columns, "group": source.train.columns["label"]}
    with pytest.raises(Refused, match="a column of the source is called 'group'"):
        split(replace(source, train=replace(source.train, columns=taken)))


def test_the_seed_decides(make_source):
    source = make_source()
    digests = [[content_digest(table) for table in split(source, seed).tables.values()] for seed in (1, 1, 2)]
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_images_of_the_test_set_leave_training(make_source):
    source = make_source(with_test=True)
    source.train.columns["image"][[3, 30]] = source.test.columns["image"][5]
    source.train.columns["image"][8] = source.test.columns["image"][0]
    result = split(source)
    assert result.dropped == 3
    assert not {3, 8, 30} & {row for name in SPLITS[:3] for row in rows(result.tables[name])}
    assert len(result.tables["test"]) == 12
    check_leakage(result.tables)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), twins=st.lists(st.tuples(st.integers(0, 47), st.integers(0, 47)), max_size=20))
def test_equal_images_stay_together(seed, twins):
    images = np.random.default_rng(0).integers(0, 256, (96, 1, 4, 4), np.uint8)
    for a, b in twins:
        images[a] = images[b]  # also across classes; half of the images stay alone
    source = classified(labelled(images, np.arange(96) % 3, np.arange(96)), None, ("a", "b", "c"))
    result = split(source, seed)
    check_leakage(result.tables)
    assert sum(len(table) for table in result.tables.values()) == 96
    assert result.repeated == 96 - len(np.unique(images.reshape(96, -1), axis=0))


def test_leakage_is_found_and_counted(make_source):
    tables = split(make_source()).tables
    tables["arch"] = tables["weights"].slice(0, 2)
    tables["test"] = tables["weights"].slice(1, 3)
    with pytest.raises(Refused) as refused:
        check_leakage(tables)
    message = str(refused.value)
    assert "weights and arch share 2 row(s), weights and test share 3 row(s), arch and test share 1" in message
    assert "select" not in message


def test_too_few_images_of_a_class_are_refused(make_source):
    source = make_source(3, 4)
    split(source)
    labels = source.train.columns["label"].copy()
    labels[labels == 2] = [2, 2, 2, 1]
    with pytest.raises(Refused, match=r"class 'c' has 3 distinct training row\(s\); it takes 4, one for each of wei"):
        split(replace(source, train=labelled(source.train.columns["image"], labels, source.train.rows)))
    source.train.columns["image"][:] = source.train.columns["image"][0]  # twelve times the same
    with pytest.raises(Refused, match=r"class 'a' has 1 distinct"):
        split(source)


def test_all_small_classes_and_a_limit_are_named(make_source):
    source = make_source(3, 2)
    with pytest.raises(Refused, match=r"class 'a' has 2 .*; so it is with 3 of 3 classes \('b' 2, 'c' 2\)$"):
        split(source)
    with pytest.raises(Refused, match=r"data.limit_train is 6: raise it to about 12, or set it to null"):
        make_splits(source, **READING, seed=0, fractions=FRACTIONS, test_fraction=0.25, limit_train=6)


def test_equal_images_with_other_labels_are_counted(make_source):
    source = make_source(with_test=True)
    assert split(source).contradicted == 0
    source.train.columns["image"][[3, 30]] = source.test.columns["image"][5]  # labels 0 and 0 in training, 1 in test
    source.train.columns["image"][7] = source.train.columns["image"][8]  # labels 1 and 2
    result = split(source)
    assert (result.dropped, result.repeated, result.contradicted) == (2, 1, 5)


def test_very_many_classes_are_dealt_in_time():
    labels = np.repeat(np.arange(20_000), 4)
    images = np.arange(len(labels), dtype=np.uint32).view(np.uint8).reshape(-1, 1, 2, 2)
    source = classified(labelled(images, labels, np.arange(len(labels))), None, tuple(map(str, range(20_000))))
    began = time.perf_counter()
    result = split(source)
    assert time.perf_counter() - began < 20  # a look through all labels for each class takes minutes
    assert [len(table) for table in result.tables.values()] == [20_000] * 4


def test_a_class_without_images_is_refused(make_source):
    with pytest.raises(Refused, match=r"class 'ghost' has 0 distinct"):
        split(replace(make_source(), facts={"classes": ["a", "b", "c", "ghost"]}))


@pytest.mark.parametrize(
    "fractions",
    [{"weights": 0.5, "arch": 0.5}, {**FRACTIONS, "arch": 0.0}, {**FRACTIONS, "arch": 0.5}, {**FRACTIONS, "x": 0.1}],
)
def test_wrong_fractions_are_refused(make_source, fractions):
    with pytest.raises(Refused, match=r"data.fractions takes positive weights, arch and select that sum to 1"):
        split(make_source(), fractions=fractions)


@pytest.mark.parametrize("value", [0, 1, -0.5])
def test_wrong_test_fraction_is_refused_where_it_is_used(make_source, value):
    with pytest.raises(Refused, match=r"data.test_fraction must lie between 0 and 1"):
        split(make_source(), test_fraction=value)
    split(make_source(with_test=True), test_fraction=value)

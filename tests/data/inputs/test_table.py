"""Inputs of tables: ids from vocabularies of training rows, numbers brought to one scale, what is missing or unseen."""

import re

import numpy as np
import pytest
import torch

from winnow.core.errors import Refused
from winnow.data.inputs.table import Table, checked, learnt, sizes_of, unseen
from winnow.data.source import Part, Source

NAN = np.nan
TRAIN = np.array([[5, 70, 1.0], [5, 71, 3.0], [9, 70, NAN], [NAN, 70, 5.0]])
FACTS = {"fields": ["a", "b"], "dense": ["d"], "min_count": 1, "buckets": 0, "ordered": False}


def known(**facts):
    told = {**FACTS, **facts}
    return {**told, **learnt([{"cells": TRAIN[:2]}, {"cells": TRAIN[2:]}], told)}


def made(cells, facts):
    return Table(facts).make({"cells": torch.tensor(cells, dtype=torch.float64)}, {})


def test_what_training_knows_gets_an_id_and_the_rest_is_unseen_or_missing():
    facts = known()
    assert facts["vocabulary"] == [[5, 9], [70, 71]]
    assert sizes_of(facts) == {"a": 4, "b": 4}
    found = made([[5, 71, 3.0], [9, 72, NAN], [NAN, 70, 3.0], [4, NAN, 5.0]], facts)
    assert found.dtype == torch.float32
    assert found[:, :2].tolist() == [[2, 3], [3, 0], [1, 2], [0, 1]]
    assert found[:, 2].tolist() == pytest.approx([0, 0, 0, 2 / np.sqrt(8 / 3)])  # mean 3 of what is there


def test_what_is_rare_is_unseen():
    facts = known(min_count=2)
    assert facts["vocabulary"] == [[5], [70]]
    assert made(TRAIN, facts)[:, :2].tolist() == [[2, 2], [2, 0], [0, 2], [1, 2]]


def test_hashed_categories_need_no_vocabulary():
    facts = known(buckets=100)
    assert facts["vocabulary"] == [[], []]
    assert sizes_of(facts) == {"a": 102, "b": 102}
    assert made([[5, 99, 1.0], [NAN, 0, 1.0]], facts)[:, :2].tolist() == [[7, 101], [1, 2]]
    assert unseen({"cells": np.array([[55.0, 1, 1]])}, facts) == {}


def test_a_field_of_which_training_knows_nothing_is_unseen_everywhere():
    facts = {**FACTS, **learnt([{"cells": np.array([[NAN, NAN, NAN]])}], FACTS)}
    assert made([[1, NAN, 2.0]], facts).tolist() == [[0, 1, 2]]


def test_unseen_categories_are_counted():
    rows = np.array([[5, 72, 1.0], [6, 73, 1.0], [NAN, 70, 1.0]])
    assert unseen({"cells": rows}, known()) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("cells", "facts", "said"),
    [
        (np.zeros((4, 3)), {}, "facts fields and dense name its columns, each once; they are []"),
        (np.zeros((4, 3)), {"fields": ["a", "a", "b"]}, "each once"),
        (np.zeros((4, 3)), {"fields": ["a", "b"]}, "float64 of shape (4, 3); it takes real numbers (rows, 2)"),
        (np.zeros((4, 2), np.int64), {"fields": ["a", "b"]}, "int64 of shape (4, 2)"),
        (np.full((4, 2), np.inf), {"fields": ["a", "b"]}, "8 train cell(s) are infinite"),
    ],
)
def test_a_source_of_something_else_is_a_sentence(cells, facts, said):
    with pytest.raises(Refused, match=re.escape(said)):
        checked(Source(Part({"cells": cells}), None, facts))

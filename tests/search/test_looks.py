"""search.looks: numbers of many tensors in one look."""

import pytest
import torch

from winnow.search.looks import looked_at


def test_each_name_gets_its_own_numbers_in_order_a_number_alone_too():
    vectors = {"a": torch.tensor([1.0, 2.0, 3.0]), "b": torch.tensor(4.0), "c": torch.tensor([5.0])}
    assert looked_at(vectors) == {"a": [1, 2, 3], "b": [4], "c": [5]}


def test_what_is_looked_at_may_have_a_gradient_and_may_have_no_numbers():
    theta = torch.nn.Parameter(torch.tensor([0.5, -0.5]))
    assert looked_at({"none": torch.tensor([]), "a": 2 * theta}) == {"none": [], "a": [1.0, -1.0]}


@pytest.mark.parametrize("vectors", [{}, {"a": torch.tensor([])}])
def test_of_nothing_there_is_nothing(vectors):
    assert looked_at(vectors) == {name: [] for name in vectors}


def test_whole_numbers_stay_whole():
    (found,) = looked_at({"a": torch.tensor([3, 4]).argmax()}).values()
    assert found == [1]
    assert isinstance(found[0], int)

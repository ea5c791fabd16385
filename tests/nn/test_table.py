"""Rows of a table as vectors: where each field's rows lie, what begins as zero, and the linear model on them."""

import pytest
import torch

from winnow.nn.table import Additive, Embeddings


def test_each_field_has_rows_of_its_own_and_numbers_multiply_their_vectors():
    table = Embeddings([2, 3, 4], 2, 2)
    with torch.no_grad():
        table.weight.copy_(torch.arange(18.0).view(9, 2))
        table.numbers.copy_(torch.tensor([[1.0, 10.0], [100.0, 1000.0]]))
    assert table.starts.tolist() == [0, 2, 5]
    rows = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, -2.0, 0.5]])
    assert table(rows).tolist() == [
        [[0, 1], [4, 5], [10, 11], [0, 0], [0, 0]],
        [[2, 3], [8, 9], [16, 17], [-2, -20], [50, 500]],
    ]
    assert table.double()(rows).dtype == torch.float64


@pytest.mark.parametrize(("sizes", "numbers", "shape"), [([3], 0, (2, 1, 4)), ([], 3, (2, 3, 4)), ([3], 1, (2, 2, 4))])
def test_a_table_may_have_categories_or_numbers_alone(sizes, numbers, shape):
    assert Embeddings(sizes, numbers, 4)(torch.ones(2, len(sizes) + numbers)).shape == shape


def test_the_first_two_ids_of_each_field_begin_as_zeros_and_no_others():
    table = Embeddings([3, 4, 2], 1, 5)
    zeros = [not row.any() for row in table.weight]
    assert zeros == [True, True, False, True, True, False, False, True, True]
    assert table.numbers.all()
    with torch.no_grad():
        table.weight.fill_(1.0)
        table.starts.zero_()
    table.reset_parameters()
    assert [not row.any() for row in table.weight] == zeros
    assert table.starts.tolist() == [0, 3, 7]


@pytest.mark.parametrize(("more", "deviation"), [({}, 0.01), ({"deviation": 0.3}, 0.3)])
def test_the_others_begin_around_zero_with_the_deviation_asked_for(more, deviation):
    torch.manual_seed(0)
    table = Embeddings([102], 100, 60, **more)
    for values in (table.weight[2:], table.numbers):
        assert values.std().item() == pytest.approx(deviation, rel=0.05)
        assert abs(values.mean().item()) < deviation / 20


def test_narrow_names_the_axes_that_grow_with_k():
    less, more = (dict(Embeddings([3, 2], 4, k).named_parameters()) for k in (6, 7))
    grow = {
        name: tuple(d for d, (a, b) in enumerate(zip(less[name].shape, more[name].shape, strict=True)) if a != b)
        for name in less
    }
    assert grow == Embeddings.narrow


def test_a_linear_model_begins_at_zero_and_adds_up_for_each_output():
    linear = Additive([3, 2], 1, 2)
    rows = torch.tensor([[2.0, 1.0, 0.5], [0.0, 0.0, -1.0]])
    assert linear(rows).tolist() == [[0, 0], [0, 0]]
    with torch.no_grad():
        linear.each.weight.copy_(torch.arange(10.0).view(5, 2))
        linear.each.numbers.copy_(torch.tensor([[4.0, 40.0]]))
        linear.bias.copy_(torch.tensor([0.25, 100.0]))
    assert linear(rows).tolist() == [[4 + 8 + 2 + 0.25, 5 + 9 + 20 + 100], [0 + 6 - 4 + 0.25, 1 + 7 - 40 + 100]]
    for module in linear.modules():
        module.reset_parameters()
    assert not any(p.any() for p in linear.parameters())

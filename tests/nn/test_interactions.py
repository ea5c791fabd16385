"""Operators of feature interactions, on paper and at the sizes of published networks."""

import pytest
import torch

from winnow.measure.cost import macs, params
from winnow.nn import interactions as ops
from winnow.nn.table import Additive, Embeddings

E = torch.tensor([[[1.0, 2.0], [3.0, -1.0], [0.0, 4.0]]])
X0 = torch.tensor([[[1.0], [2.0], [3.0]]])


def filled(module, **values):
    with torch.no_grad():
        for name, value in values.items():
            module.get_parameter(name).copy_(torch.as_tensor(value).expand_as(module.get_parameter(name)))
    return module


def test_inner_products_of_all_pairs_and_of_some():
    assert ops.Inner(3)(E).tolist() == [[1, 8, -4]]
    assert ops.Inner(3, [(0, 2)])(E).tolist() == [[8]]
    total = E.sum(1)
    assert float(ops.Inner(3)(E).sum()) == float((total.square() - E.square().sum(1)).sum() / 2) == 5  # FM


def test_outer_products_by_every_kernel():
    matrix = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
    assert filled(ops.Matrix(3, 2), weight=matrix)(E).tolist() == [[3, 0, 28]]
    assert filled(ops.Matrix(3, 2), weight=torch.eye(2))(E).tolist() == [[1, 8, -4]]
    assert filled(ops.Vector(3, 2), weight=torch.tensor([2.0, -1.0]))(E).tolist() == [[8, -8, 4]]
    assert filled(ops.Vector(3, 2), weight=0.5)(E).tolist() == [[0.5, 4, -2]]
    assert ops.OuterSum()(E).tolist() == [[16, 20, 20, 25]]


def test_swapping_fields_swaps_pairs_and_a_full_kernel_by_its_transpose():
    matrix = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
    swapped = E[:, [1, 0, 2]]
    assert ops.Inner(3)(swapped).tolist() == [[1, -4, 8]]
    assert filled(ops.Matrix(3, 2), weight=matrix.T)(swapped)[0, 0] == 3


def test_cross_layers_of_both_kinds():
    half = {"bias": 0.5}
    one = filled(ops.Cross(3, 1), weight=torch.tensor([[1.0], [0.0], [-1.0]]), **half)
    assert ops.Crosses([one])(X0).tolist() == [[-0.5, -1.5, -2.5]]
    assert ops.Crosses([one, one])(X0).tolist() == [[2, 3, 4]]
    weight = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [1.0, 1.0, 0.0]]).view(3, 1, 3, 1)
    assert ops.Crosses([filled(ops.Cross2(3, 1), weight=weight, **half)])(X0).tolist() == [[2.5, 11, 13.5]]
    for kind in (ops.Cross, ops.Cross2):
        assert ops.Crosses([filled(kind(3, 1), weight=0.0, bias=0.0)])(X0).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(("fields", "pairs", "inputs", "mat", "vec", "v1", "v2"), [
    (39, 741, 1_365, 189_696, 11_856, 1_248, 390_000),
    (24, 276, 660, 70_656, 4_416, 768, 147_840),
])  # fmt: skip
def test_counts_at_the_size_of_criteo_and_avazu(fields, pairs, inputs, mat, vec, v1, v2):
    k = 16
    found = torch.zeros(1, fields, k)
    assert ops.Inner(fields)(found).shape == (1, pairs)
    assert fields * k + pairs == inputs
    sizes = [params(each) for each in (ops.Matrix(fields, k), ops.Vector(fields, k), ops.Inner(fields))]
    assert sizes == [mat, vec, 0]
    assert (params(ops.Cross(fields, k)), params(ops.Cross2(fields, k))) == (v1, v2)


def test_multiplications_are_counted():
    for layer, count in (
        (ops.Inner(4), 6 * 3),
        (ops.Vector(4, 3), 2 * 6 * 3),
        (ops.Matrix(4, 3), 6 * (9 + 3)),
        (ops.OuterSum(), 9),
        (ops.Crosses([ops.Cross(4, 3)]), 2 * 12),
        (ops.Crosses([ops.Cross2(4, 3)]), 12 * 12 + 12),
        (ops.Dense([4, 3], 5), 60),
    ):
        assert macs(layer, (4, 3)) == count, layer


def test_embeddings_of_categories_and_numbers():
    table = Embeddings([4, 3], 1, 2)
    filled(table, weight=torch.arange(14.0).view(7, 2), numbers=torch.tensor([[10.0, 20.0]]))
    assert table(torch.tensor([[2.0, 1.0, 0.5]])).tolist() == [[[4, 5], [10, 11], [5, 10]]]


def test_what_was_never_seen_begins_as_nothing():
    table = Embeddings([4, 3], 1, 2)
    assert not table(torch.tensor([[0.0, 1.0, 0.0]])).any()
    assert table(torch.tensor([[2.0, 2.0, 1.0]])).all()


def test_a_linear_model_adds_up():
    linear = Additive([4, 3], 1, 1)
    assert params(linear) == 4 + 3 + 1 + 1
    filled(linear.each, weight=torch.arange(7.0)[:, None], numbers=10.0)
    filled(linear, bias=0.25)
    assert linear(torch.tensor([[2.0, 1.0, 0.5]])).tolist() == [[2 + 5 + 5 + 0.25]]


@pytest.mark.parametrize(
    ("layer", "names", "inputs"),
    [
        (lambda: ops.Cross(4, 8), ["weight"], 32),
        (lambda: ops.Cross2(4, 8), ["weight"], 32),
        (lambda: ops.Cross2(1, 1), ["weight"], 1),
        (lambda: ops.Dense([4, 8], 300), ["weight", "bias"], 32),
    ],
)
def test_weights_begin_within_the_bounds_of_their_inputs_on_either_side(layer, names, inputs):
    """1 / sqrt(inputs), as torch's own linear layers begin."""
    torch.manual_seed(0)
    for name in names:
        values = torch.cat([layer().get_parameter(name).detach().flatten() for _ in range(300)])
        assert 0.9 / inputs**0.5 < values.max() <= 1 / inputs**0.5
        assert -0.9 / inputs**0.5 > values.min() >= -1 / inputs**0.5


@pytest.mark.parametrize("made", [
    lambda k: ops.Vector(4, k), lambda k: ops.Matrix(4, k), lambda k: ops.Cross(4, k), lambda k: ops.Cross2(4, k),
    lambda k: ops.Dense([4, k], 5, of_k=[1]), lambda k: ops.Normed([4, k], of_k=[1]),
])  # fmt: skip
def test_narrow_names_the_axes_that_grow_with_k(made):
    less, more = (dict(made(k).named_parameters()) for k in (3, 7))
    grow = {
        name: tuple(d for d, (a, b) in enumerate(zip(less[name].shape, more[name].shape, strict=True)) if a != b)
        for name in less
    }
    assert {name: axes for name, axes in grow.items() if axes} == made(3).narrow
    assert made(3).get_parameter("weight").isfinite().all()


def test_a_dense_layer_adds_a_bias_unless_told_not_to():
    x = torch.zeros(1, 2, 3)
    assert filled(ops.Dense([2, 3], 4), bias=2.0)(x).tolist() == [[2.0] * 4]
    assert ops.Dense([2, 3], 4, bias=False)(x).tolist() == [[0.0] * 4]

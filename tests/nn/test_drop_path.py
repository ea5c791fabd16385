"""nn.drop_path: whole samples are dropped, and the mean stays."""

import pytest
import torch
from torch import nn

from winnow.nn.drop_path import DropPath, set_drop_path


@pytest.fixture(autouse=True)
def _stream():
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("shape", [(4000, 3, 2, 2), (4000, 5)])
def test_each_sample_is_kept_and_enlarged_or_dropped_as_a_whole(shape):
    x = torch.rand(shape) + 1
    factors = (DropPath(0.2)(x) / x).flatten(1)
    assert torch.allclose(factors, factors[:, :1].expand_as(factors))
    kept = factors[:, 0] > 0
    assert torch.allclose(factors[kept], torch.tensor(1.25))
    assert kept.float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert factors.mean().item() == pytest.approx(1.0, abs=0.03)


def test_in_evaluation_and_at_rate_zero_nothing_happens():
    x = torch.rand(5, 3, 2, 2)
    assert DropPath(0.9).eval()(x) is x
    assert DropPath()(x) is x


def test_the_rate_is_set_everywhere_below():
    model = nn.Sequential(DropPath(), nn.Sequential(nn.Identity(), DropPath(0.1)))
    set_drop_path(model, 0.3)
    assert [m.rate for m in model.modules() if isinstance(m, DropPath)] == [0.3, 0.3]


def test_gradients_flow_through_the_kept_samples_only():
    x = torch.ones(50, 2, requires_grad=True)
    y = DropPath(0.5)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert {0.0, 2.0} == set(x.grad.unique().tolist())


def test_a_rate_of_nearly_one_drops_nearly_all_and_enlarges_what_is_left():
    y = DropPath(0.75)(torch.ones(4000, 1))
    assert set(y.unique().tolist()) == {0.0, 4.0}
    assert (y > 0).float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_a_single_vector_is_dropped_number_by_number_and_the_rate_begins_at_zero():
    y = DropPath(0.5)(torch.ones(64))
    assert set(y.tolist()) == {0.0, 2.0}
    assert DropPath().rate == 0.0
    path = DropPath(0.5).eval()
    assert torch.equal(path(torch.ones(64)), torch.ones(64))
    assert path.train()(torch.ones(64)).unique().tolist() == [0.0, 2.0]

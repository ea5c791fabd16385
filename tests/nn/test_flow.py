"""The flow: invertible, its change of volume that of its Jacobian, what a condition does, the published size."""

import math

import pytest
import torch

from winnow.nn.flow import CLAMP, Coupling, Flow


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def flow(size, **settings):
    torch.manual_seed(0)
    return Flow(size, **settings)


def test_there_and_back():
    made = flow(8)
    x, condition = draws(6, 8), draws(6, 8, seed=1)
    z, _ = made(x, condition)
    torch.testing.assert_close(made.inverse(z, condition), x, atol=1e-5, rtol=0)
    assert not torch.allclose(z, x)


def test_the_volume_is_that_of_the_jacobian():
    made = flow(4).double()
    x, condition = draws(3, 4).double(), draws(3, 4, seed=1).double()
    _, volume = made(x, condition)
    for row in range(3):
        jacobian = torch.autograd.functional.jacobian(lambda v, c=condition[row]: made(v[None], c[None])[0][0], x[row])
        assert torch.linalg.slogdet(jacobian)[1].item() == pytest.approx(volume[row].item(), abs=1e-12)


def test_one_coupling_by_hand():
    """u1 = 1, factor 2, shift 3: v1 = 5, ln 2 of volume; then the other half by what is made of v1."""
    coupling = Coupling(2, 1, 1)
    for network, factor, shift in ((coupling.first, 2.0, 3.0), (coupling.second, 1.0, 0.5)):
        with torch.no_grad():
            network[0].weight.zero_()
            network[0].bias.copy_(torch.tensor([math.tan(math.log(factor) / CLAMP), shift]))
    z, volume = coupling(torch.tensor([[1.0, 7.0]]), torch.zeros(1, 2))
    torch.testing.assert_close(z, torch.tensor([[5.0, 7.5]]))
    assert volume.item() == pytest.approx(0.6931, abs=1e-4)
    torch.testing.assert_close(coupling.inverse(z, torch.zeros(1, 2)), torch.tensor([[1.0, 7.0]]))


def test_the_condition_counts_and_rows_do_not_meet():
    made = flow(8)
    x, condition = draws(5, 8), draws(5, 8, seed=1)
    z, volume = made(x, condition)
    assert not torch.allclose(made(x, condition.flip(0))[0], z)
    order = torch.tensor([3, 1, 4, 0, 2])
    again, permuted = made(x[order], condition[order])
    torch.testing.assert_close(again, z[order])
    torch.testing.assert_close(permuted, volume[order])


@pytest.mark.parametrize(("size", "parameters"), [(8, 1_017_680), (128, 1_402_880), (512, 2_635_520)])
def test_the_published_size(size, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in Flow(size).parameters()) == parameters


def test_odd_vectors_have_no_halves():
    with pytest.raises(ValueError, match="even size, not 5"):
        Flow(5)


def test_factors_end_a_little_beyond_seven_either_way():
    """2 x 0.636 x atan: e^1.998 at most."""
    coupling = Coupling(2, 1, 1)
    for network, told in ((coupling.first, 1e9), (coupling.second, -1e9)):
        with torch.no_grad():
            network[0].weight.zero_()
            network[0].bias.copy_(torch.tensor([told, 0.0]))
    z, volume = coupling(torch.ones(1, 2), torch.zeros(1, 2))
    assert z[0].tolist() == pytest.approx([7.3747, 0.1356], abs=1e-4)
    assert volume.item() == pytest.approx(0, abs=1e-6)


def test_each_half_is_moved_by_what_is_made_of_the_other_and_the_condition():
    torch.manual_seed(0)
    coupling = Coupling(4, 2, 3)
    for network in (coupling.first, coupling.second):
        assert [type(m) for m in network] == [torch.nn.Linear, torch.nn.ReLU, torch.nn.Linear]
        assert [(m.in_features, m.out_features) for m in network[::2]] == [(6, 3), (3, 4)]
    x, condition = draws(5, 4), draws(5, 4, seed=1)
    z, volume = coupling(x, condition)
    scale, shift = coupling.first(torch.cat([x[:, 2:], condition], 1)).chunk(2, 1)
    one = x[:, :2] * (1.272 * scale.atan()).exp() + shift
    again, moved = coupling.second(torch.cat([one, condition], 1)).chunk(2, 1)
    other = x[:, 2:] * (1.272 * again.atan()).exp() + moved
    torch.testing.assert_close(z, torch.cat([one, other], 1))
    torch.testing.assert_close(volume, 1.272 * (scale.atan() + again.atan()).sum(1))


def test_the_order_of_each_block_is_fixed_whatever_the_seed_and_is_not_saved():
    torch.manual_seed(0)
    one = Flow(16, blocks=3, depth=2, width=4)
    torch.manual_seed(1)
    other = Flow(16, blocks=3, depth=2, width=4)
    orders = [getattr(one, f"order{block}").tolist() for block in range(3)]
    assert orders == [getattr(other, f"order{block}").tolist() for block in range(3)]
    assert [sorted(order) for order in orders] == [list(range(16))] * 3
    assert len({tuple(order) for order in orders}) == 3
    assert orders[1] == torch.randperm(16, generator=torch.Generator().manual_seed(1)).tolist()
    assert not [name for name in one.state_dict() if "order" in name]
    assert len(one.couplings) == 3
    assert len(Flow(2, blocks=1, depth=3, width=2).couplings[0].first) == 5


def test_blocks_follow_one_another_each_behind_its_order():
    made = flow(6, blocks=2, depth=2, width=4)
    x, condition = draws(3, 6), draws(3, 6, seed=1)
    first, grown = made.couplings[0](x[:, made.order0], condition)
    second, more = made.couplings[1](first[:, made.order1], condition)
    z, volume = made(x, condition)
    torch.testing.assert_close(z, second)
    torch.testing.assert_close(volume, grown + more)
    torch.testing.assert_close(made.inverse(z, condition), x, atol=1e-5, rtol=0)

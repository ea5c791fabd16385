"""Federated training against plain loops: pooled descent, averages by hand, limits of FedProx, turns, forgetting."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from winnow.core.errors import Refused
from winnow.data.loaders import Split
from winnow.tasks.classify import IMAGES
from winnow.train import checkpoint
from winnow.train.checkpoint import Keeper
from winnow.train.federation import Client, Local, averaged, federate, turns
from winnow.train.packing import from_bytes, to_bytes
from winnow.train.recipes import RECIPES, Federation
from winnow.train.watch import Diverged, Watch

PLAIN = replace(
    RECIPES["quick"], batch=1000, lr=0.1, momentum=0.0, nesterov=False, weight_decay=0.0, warmup_epochs=0, clip=None
)
RECIPE = replace(PLAIN, batch=4, momentum=0.9, weight_decay=1e-3, clip=1.0)


class Doubles:
    """Six numbers a row, in double."""

    reads = ("x",)

    def draw(self, count, generator):
        return {}

    def make(self, columns, draws):
        return columns["x"]


def rows(count: int, seed: int, kinds=(0, 1, 2)) -> Split:
    draws = torch.Generator().manual_seed(seed)
    y = torch.tensor(kinds)[torch.randint(len(kinds), (count,), generator=draws)]
    x = torch.randn(count, 6, dtype=torch.float64, generator=draws) + y.double()[:, None] * torch.arange(6) / 2
    return Split("weights", {"x": x, "label": y}, "label", Doubles(), {"classes": ["a", "b", "c"]}, str(seed))


def clients(*sizes: int, kinds=None) -> list[Client]:
    kinds = kinds or [(0, 1, 2)] * len(sizes)
    return [Client(rows(n, i, kinds[i]), rows(12, 100 + i, kinds[i])) for i, n in enumerate(sizes)]


def network(norm: bool = False) -> nn.Module:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        middle = nn.BatchNorm1d(5) if norm else nn.Tanh()
        return nn.Sequential(nn.Linear(6, 5), middle, nn.Linear(5, 3)).double()


def trained(people, federation=Federation(), recipe=RECIPE, *, model=None, seed=0, **course):  # noqa: B008
    model = model or network()
    local = Local(model, people, federation, recipe, IMAGES, seed)
    return model, federate(local, batch=64, watch=Watch(), **course)


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a, b) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def pooled(model, people):
    return torch.cat([c.train.columns["x"] for c in people]), torch.cat([c.train.answers for c in people])


def test_fedavg_of_one_full_step_is_pooled_gradient_descent():
    people, oracle = clients(5, 20, 11), network()
    model, _ = trained(people, Federation(rounds=4, local_steps=1), replace(PLAIN, schedule="linear", lr_min=0.1))
    for _ in range(4):
        x, y = pooled(oracle, people)
        grads = torch.autograd.grad(F.cross_entropy(oracle(x), y), list(oracle.parameters()))
        with torch.no_grad():
            for p, g in zip(oracle.parameters(), grads, strict=True):
                p -= 0.1 * g
    gap = max((a - b).abs().max() for a, b in zip(model.parameters(), oracle.parameters(), strict=True))
    assert gap < 1e-6


def test_weights_are_averaged_by_rows_and_identical_ones_stay_to_the_bit():
    assert averaged([{"w": torch.tensor(0.0)}, {"w": torch.tensor(4.0)}], [1, 3])["w"] == 3.0
    alike = {"w": torch.randn(100, generator=torch.Generator().manual_seed(0)), "count": torch.tensor(7)}
    assert same(averaged([alike] * 3, [5, 7, 11]), alike)


def test_proximal_without_mu_is_average_and_with_much_of_it_stays_where_it_was():
    people = clients(12, 9)
    moved = []
    for mu in (0.0, 0.1, 1.0, 10.0):
        model, _ = trained(people, Federation("proximal", rounds=1, local_epochs=5, mu=mu), replace(PLAIN, batch=4))
        moved.append(sum(((a - b) ** 2).sum() for a, b in zip(model.parameters(), network().parameters(), strict=True)))
        if not mu:
            plain, _ = trained(people, Federation("average", rounds=1, local_epochs=5), replace(PLAIN, batch=4))
            assert same(state(model), state(plain))
    assert moved == sorted(moved, reverse=True)
    assert moved[-1] < moved[0] / 4


def test_cyclic_is_one_plain_loop_over_the_clients():
    """Momentum goes along, and one schedule over all visits."""
    people, oracle = clients(8, 8), network()
    recipe = replace(PLAIN, momentum=0.9, schedule="linear", lr_min=0.0)
    model, record = trained(people, Federation("cyclic", rounds=3, local_steps=1), recipe)
    optimiser = torch.optim.SGD(oracle.parameters(), 0.1, 0.9)
    for visit in range(6):
        x, y = people[visit % 2].train.columns["x"], people[visit % 2].train.answers
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - visit / 6)
        optimiser.zero_grad()
        F.cross_entropy(oracle(x), y).backward()
        optimiser.step()
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(model.parameters(), oracle.parameters(), strict=True))
    assert [row["client"] for row in record if row["trained"]] == [0, 1] * 3


def test_cyclic_visits_to_other_labels_are_forgotten():
    people = clients(40, 40, kinds=[(0,), (2,)])
    for split in (each for client in people for each in (client.train, client.held)):
        split.columns["x"].div_(100)  # nothing but the shares of the labels can be learnt
    _, record = trained(people, Federation("cyclic", rounds=2, local_epochs=30), replace(PLAIN, batch=8))
    first = [row for row in record if row["client"] == 0]
    assert first[0]["value"] > 90
    assert first[1]["value"] < 20  # after the visit to client 1
    assert first[1]["forgetting"] == first[0]["value"] - first[1]["value"]
    whole = [row for row in record if row["client"] is None]
    assert whole[1]["forgetting"] == pytest.approx((first[1]["forgetting"] + 0) / 2)
    assert whole[1]["value"] == pytest.approx((first[1]["value"] + record[4]["value"]) / 2)  # as many rows each


def test_every_client_has_momentum_of_its_own():
    seen = []
    people = clients(8, 8)

    def visits(orders):
        local = Local(network(), people, Federation(rounds=2), RECIPE, IMAGES, 0)
        answers = [local(order) for order in orders]
        seen.append(([order["slot"] for order in orders], [answer["slot"] for answer in answers]))
        return answers

    trained(people, Federation(rounds=2), visits=visits)
    assert seen[0][0] == [None, None]
    assert seen[1][0] == seen[0][1]
    first, second = (slot["optimiser"]["state"][0]["momentum_buffer"] for slot in seen[0][1])
    assert not torch.equal(first, second)


def test_statistics_of_batches_are_averaged_or_each_clients_own():
    people = clients(16, 48, kinds=[(0,), (2,)])
    runs = {}
    for shared in (True, False):
        answers = []

        def visits(orders, shared=shared, answers=answers):
            local = Local(network(True), people, Federation(rounds=1, average_buffers=shared), RECIPE, IMAGES, 0)
            answers += [local(order) for order in orders]
            return answers

        course = Federation(rounds=1, average_buffers=shared)
        runs[shared] = trained(people, course, model=network(True), visits=visits)
        own = [answer["weights"]["1.running_mean"] for answer in answers]
        mean = (own[0] * 16 + own[1] * 48) / 64
        assert torch.allclose(runs[shared][0][1].running_mean, mean, atol=1e-12)  # what is delivered, either way
    assert all(torch.equal(a, b) for a, b in zip(runs[True][0].parameters(), runs[False][0].parameters(), strict=True))


def test_who_is_drawn_and_who_drops_out_follows_from_the_seed():
    federation = Federation(rounds=40, participation=0.5, drop_out=0.5)
    course = turns(federation, 6, 3)
    assert course == turns(federation, 6, 3) != turns(federation, 6, 4)
    sizes = [len(there) for _, there in course]
    assert (min(sizes), max(sizes)) == (1, 3)  # one always comes back
    assert [number for number, _ in course] == list(range(40))
    assert turns(Federation("cyclic", rounds=2), 3, 0) == [(0, [0]), (0, [1]), (0, [2]), (1, [0]), (1, [1]), (1, [2])]


@pytest.mark.parametrize("algorithm", ["average", "cyclic", "proximal"])
def test_twice_is_the_same_to_the_bit_and_so_is_another_order_of_clients(algorithm):
    people, federation = clients(9, 14, 5), Federation(algorithm, rounds=3, participation=0.7)
    first, record = trained(people, federation)

    def backwards(orders):
        others = Local(copy.deepcopy(network()), people, federation, RECIPE, IMAGES, 0)
        sent = [from_bytes(to_bytes(order)) for order in orders]
        return [from_bytes(to_bytes(others(order))) for order in reversed(sent)][::-1]

    second, again = trained(people, federation, visits=backwards)
    assert same(state(first), state(second))
    assert record == again
    assert not same(state(first), state(trained(people, federation, seed=1)[0]))


class Killed(Exception):
    pass


@pytest.mark.parametrize("algorithm", ["average", "cyclic"])
def test_killed_anywhere_it_goes_on_to_the_same_bytes(algorithm, monkeypatch):
    monkeypatch.setattr(checkpoint, "MOST", float("inf"))
    people, federation = clients(9, 14, 5), Federation(algorithm, rounds=3, average_buffers=False)
    whole, record = trained(people, federation, model=network(True))
    for last in range(1, 3):  # turns that were done
        kept: list[bytes] = []

        def save(state, kept=kept, last=last):
            kept.append(to_bytes(state))
            if len(kept) > last:
                raise Killed

        with pytest.raises(Killed):
            trained(people, federation, model=network(True), keeper=Keeper(save))
        keeper = Keeper(found=from_bytes(kept[-1]))
        model, again = trained(people, federation, model=network(True), keeper=keeper)
        assert to_bytes(state(model)) == to_bytes(state(whole))
        assert again == record


def test_a_loss_that_is_not_finite_ends_it_in_a_sentence():
    with pytest.raises(Diverged, match=r"lower retrain\.lr"):
        trained(clients(30, 30), recipe=replace(PLAIN, batch=4, lr=1e300))


def test_a_client_whose_rows_have_no_such_metric_is_left_out_of_forgetting():
    def measure(outputs, answers):
        if len(torch.cat(answers).unique()) == 1:
            raise ValueError("there is no pair to order")
        return IMAGES.measure(outputs, answers)

    people = clients(10, 10, kinds=[(0, 1), (2,)])
    local = Local(network(), people, Federation(rounds=2), RECIPE, replace(IMAGES, measure=measure), 0)
    record = federate(local, batch=64, watch=Watch())
    assert [row["value"] is None for row in record] == [False, True, False] * 2
    assert record[-1]["forgetting"] == record[-3]["forgetting"]


def test_a_loss_that_learns_is_refused():
    learning = replace(IMAGES, criterion=lambda facts, seed: nn.Bilinear(2, 2, 2))
    local = Local(network(), clients(6, 6), Federation(), RECIPE, learning, 0)
    with pytest.raises(Refused, match="the loss of task image_classification learns too"):
        federate(local, batch=64, watch=Watch())

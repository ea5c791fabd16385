"""Retrieval: every measure by hand, the losses against published formulas, classes held apart, a training resumed."""

import io
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score

from winnow.config.reading import check_params
from winnow.core.errors import Refused
from winnow.data.source import Part, Source
from winnow.data.source import checked as stored
from winnow.tasks.neighbours import clusters, hits, map_r, nearest, nmi, recall
from winnow.tasks.proxy_losses import proxy_loss, stretched
from winnow.tasks.retrieval import RETRIEVAL, checked, retrieval
from winnow.train.checkpoint import Keeper
from winnow.train.criteria import criterion_of
from winnow.train.fit import fit
from winnow.train.recipes import RECIPES
from winnow.train.watch import Watch

# on the circle, by their angles: a at 0, 10, 40; b at 15, 50; c alone at 100 degrees
ANGLES, LABELS = torch.tensor([0.0, 10.0, 40.0, 15.0, 50.0, 100.0]), torch.tensor([0, 0, 0, 1, 1, 2])


def circle(angles=ANGLES):
    return torch.stack([angles.deg2rad().cos(), angles.deg2rad().sin()], 1) * torch.arange(1, len(angles) + 1)[:, None]


# the others by distance: 0: a10 b15 a40 b50 | 10: b15 a0 a40 b50 | 40: b50 b15 a10 a0 | b15: a10 a0 a40 b50 |
# b50: a40 b15 ...
def test_recalls_by_hand():
    found, others = hits(circle(), LABELS, 4)
    assert others.tolist() == [2, 2, 2, 1, 1]  # c is alone: no query
    expected = [[1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 1], [0, 1, 0, 0]]
    assert found.int().tolist() == expected
    assert [recall(found, k) for k in (1, 2, 4)] == [20, 60, 100]


def test_average_precision_by_hand():
    found, others = hits(circle(), LABELS, 1)
    # over two places of a: (1 + 0) / 2, (0 + 1/2) / 2, 0; over one of b: 0, 0
    assert map_r(found, others) == pytest.approx(100 * (1 / 2 + 1 / 4) / 5)


def test_a_point_for_all_finds_nothing_and_nan_neither():
    for outputs in (torch.ones(6, 2), torch.full((6, 2), torch.nan)):
        assert RETRIEVAL.measure([outputs], [torch.tensor([0, 0, 0, 1, 1, 1])]) == {"recall_1": 0.0, "map_r": 0.0}


def test_where_nothing_is_to_be_found_all_is_zero():
    assert RETRIEVAL.measure([circle()], [torch.arange(6)]) == {"recall_1": 0.0, "map_r": 0.0}


def test_neighbours_by_hand():
    places, cosines = nearest(circle(), LABELS, torch.tensor([0]), 2)
    assert places.tolist() == [[1, 3]]
    assert cosines[0].tolist() == pytest.approx([math.cos(math.radians(10)), math.cos(math.radians(15))])


def test_mutual_information_by_hand_and_as_scikit_learn_has_it():
    one, other = torch.tensor([0, 0, 1, 1]), torch.tensor([5, 5, 9, 7])
    # entropies ln 2 and 1.5 ln 2, jointly 1.5 ln 2: ln 2 in common over their mean
    assert nmi(one, other) == pytest.approx(1 / 1.25)
    draws = torch.Generator().manual_seed(0)
    one, other = torch.randint(5, (200,), generator=draws), torch.randint(7, (200,), generator=draws)
    assert nmi(one, other) == pytest.approx(normalized_mutual_info_score(one, other))
    assert nmi(torch.zeros(3, dtype=torch.long), torch.zeros(3, dtype=torch.long)) == 1


def test_clusters_are_those_that_are_there():
    angles = torch.cat([torch.linspace(0, 5, 10), torch.linspace(120, 125, 10)])
    which = clusters(circle(angles), 2, seed=1)
    assert nmi(which, torch.arange(20) // 10) == 1
    assert torch.equal(which, clusters(circle(angles), 2, seed=1))


AXES, POINTS = torch.eye(3), torch.tensor([[0.6, 0.8, 0.0], [0.8, 0.0, 0.6], [0.0, 1.0, 0.0]])


def made(proxies, nir="off", align=0.01, size=3):
    return proxy_loss(size, range(3), 0, proxies, nir, align)


def test_proxy_anchor_by_hand():
    """Positive 0.315994, once a class; negative 1.641846, over all proxies (Kim et al. 2020, equation 4)."""
    loss = made("anchor")
    loss.proxies.proxies.data.copy_(AXES)
    loss.proxies.alpha = 2
    assert loss(3 * POINTS, torch.tensor([0, 0, 1])).item() == pytest.approx(0.315994 + 1.641846, abs=1e-5)


def test_proxy_nca_by_hand():
    """-ln softmax of minus nine squared distances, which are 2 - 2 cos."""
    loss = made("nca")
    loss.proxies.proxies.data.copy_(AXES)
    labels = torch.tensor([0, 0, 1])
    expected = torch.nn.functional.cross_entropy(18 * POINTS @ AXES.T, labels)
    assert loss(POINTS, labels).item() == pytest.approx(expected.item(), abs=1e-5)


def test_the_term_of_an_identity_flow():
    """|z|^2 = 1 and no volume: exp(1/2), and 1/2 for the mean; plus align times what the proxies say."""
    outputs, labels = torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 2, 0])
    for nir, expected in (("exp", 1.6487), ("mean", 0.5)):
        loss = made("anchor", nir, 0.3, size=8)
        for weight in loss.flow.parameters():
            weight.data.zero_()
        plain = made("anchor", size=8)(outputs, labels)
        assert loss(outputs, labels).item() == pytest.approx(expected + 0.3 * plain.item(), abs=1e-4)


def test_the_exponential_ends_in_a_straight_line():
    nll = torch.tensor([0.0, 1.0, 20.0, 500.0], requires_grad=True)
    found = stretched(nll)
    torch.testing.assert_close(found[:3], nll[:3].exp())
    found[3].backward()
    assert nll.grad[3].item() == pytest.approx(math.exp(20))


def test_much_align_is_the_loss_of_proxies():
    outputs = torch.randn(9, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(9) % 3
    ways = []
    for loss in (made("anchor", size=8), made("anchor", "exp", 1e6, size=8)):
        given = outputs.clone().requires_grad_()
        loss(given, labels).backward()
        ways.append(given.grad.flatten())
    assert torch.cosine_similarity(*ways, dim=0) > 0.99


def test_the_flow_keeps_rows_of_a_class_apart():
    """Two classes, each a long cloud; over 60 steps cosines to the proxy spread more with the flow than without."""
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 2
    x = torch.randn(120, 6, generator=draws) * torch.tensor([3.0, 1, 1, 1, 1, 1]) + 4 * labels[:, None]
    spread = {}
    for nir in ("off", "exp"):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(6, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8))
        loss = proxy_loss(8, range(2), 0, "anchor", nir, 0.01)
        optimiser = torch.optim.Adam([*net.parameters(), *loss.parameters()], 3e-3)
        for _ in range(60):
            optimiser.zero_grad()
            loss(net(x), labels).backward()
            optimiser.step()
        near = torch.cosine_similarity(net(x), loss.proxies.proxies[labels])
        spread[nir] = torch.stack([near[labels == kind].std() for kind in (0, 1)]).mean().item()
    print(spread)
    assert spread["exp"] > spread["off"]


FACTS = {"classes": [f"c{i}" for i in range(7)]}


def test_classes_that_are_not_trained_on_have_no_proxy():
    loss = RETRIEVAL.criterion({**FACTS, "present": [1, 4, 6]}, 0)
    assert loss.proxies.proxies.shape == (3, 64)
    outputs = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    dense = RETRIEVAL.criterion({"classes": ["x", "y", "z"]}, 0)
    assert torch.equal(loss(outputs, torch.tensor([4, 6, 1])), dense(outputs, torch.tensor([1, 2, 0])))


def test_the_recipe_says_which_loss():
    recipe = replace(RECIPES["quick"], loss={"proxies": "nca", "nir": "mean", "align": 0.3})
    loss = criterion_of(RETRIEVAL, FACTS, 0, recipe)
    assert (type(loss.proxies).__name__, loss.nir, loss.align) == ("ProxyNCALoss", "mean", 0.3)
    assert sum(p.numel() for p in criterion_of(RETRIEVAL, FACTS, 0).parameters()) == 7 * 64


def test_params_yaml_says_which_loss():
    params = check_params({"task": "retrieval", "retrain": {"loss": {"nir": "exp", "align": 0.3}}})
    assert params.retrain.recipe().loss == {"nir": "exp", "align": 0.3}
    with pytest.raises(Refused, match=r"retrain.loss.proxy .did you mean .proxies"):
        check_params({"task": "retrieval", "retrain": {"loss": {"proxy": "nca"}}})
    with pytest.raises(Refused, match=r"retrain.loss"):
        check_params({"task": "clicks", "retrain": {"loss": {"nir": "exp"}}})


def test_without_the_package_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning", None)
    with pytest.raises(Refused, match=r"pip install 'winnow\[metric\]'"):
        RETRIEVAL.criterion(FACTS, 0)


def source(train, test=None, **rest):
    parts = [
        None if each is None else Part({"image": np.zeros((len(each), 1, 4, 4), np.uint8), "label": np.array(each)})
        for each in (train, test)
    ]
    return stored(Source(*parts, {"classes": list("abcdef")}, **rest))


def test_test_rows_of_known_classes_are_left_out_and_counted():
    found = checked(source([0, 0, 1, 1, 2], [3, 1, 3, 4, 4]))
    assert found.train.groups.tolist() == ["a", "a", "b", "b", "c"]
    assert found.test.columns["label"].tolist() == [3, 3, 4, 4]
    assert found.test.rows.tolist() == [0, 2, 3, 4]
    assert found.left_out == {"test row of a class that training has": 1}


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(Refused, match=r"all 2 test rows are of classes that training has.*new_classes"):
        checked(source([0, 0, 1, 1], [0, 1]))
    with pytest.raises(Refused, match="no class of the test set has two rows"):
        checked(source([0, 0, 1, 1], [2, 3]))
    with pytest.raises(Refused, match="one class alone"):
        checked(source([0, 0, 1, 1], [2, 2]))
    grouped = source([0, 1])
    with pytest.raises(Refused, match="take no groups"):
        checked(replace(grouped, train=replace(grouped.train, groups=np.array(["x", "y"]))))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 0, 1, 1, 2, 2], r"split \w+ has 1 class\(es\) of up to 2 row"),
        (list(range(9)), r"split \w+ has 2 class\(es\) of up to 1 row"),
    ],
)
def test_a_split_that_cannot_judge_is_refused(labels, said):
    fractions = {"weights": 0.5, "arch": 0.25, "select": 0.25}
    with pytest.raises(Refused, match=said):
        RETRIEVAL.deal({"label": np.array(labels)}, {}, fractions, np.random.default_rng(0), None)
    enough = np.repeat(np.arange(9), 2)
    assert len(RETRIEVAL.deal({"label": enough}, {}, fractions, np.random.default_rng(0), None)) == 18


def test_what_is_noted_of_the_splits():
    tables = {name: {"label": np.array(each)} for name, each in {"weights": [0, 0, 1], "test": [4, 5, 5]}.items()}
    classes, alone = RETRIEVAL.noted(tables, FACTS)
    assert classes == "no class is in two splits: weights 2, test 2"
    assert alone.startswith("1 test row(s) are alone of their class")


def test_what_is_told_of_several_models():
    told = RETRIEVAL.told([circle(), circle().flip(0)], LABELS, FACTS)
    assert told["recall_1"] == (20 + told["models"][1]["recall_1"]) / 2
    assert told["recall_4"] == (100 + told["models"][1]["recall_4"]) / 2
    assert told["recall_1_by_chance"] == pytest.approx(100 * (3 * 2 + 2 * 1) / 5 / 5)


def test_another_size_of_embeddings():
    assert retrieval("mine:WIDE", 128).facts({"shape": [1, 4, 4]})["classes"] == 128


def batches():
    draws = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 4, generator=draws), torch.arange(8) % 3) for _ in range(3)]


@pytest.mark.parametrize("loss", [{}, {"proxies": "nca"}, {"nir": "exp"}])
def test_a_killed_training_goes_on_to_the_same_bits(loss, monkeypatch):
    """Proxies and flow are kept with the weights, and so is what the optimiser knows of them."""
    monkeypatch.setattr("winnow.train.checkpoint.MOST", float("inf"))  # after every step
    recipe = replace(RECIPES["quick"], epochs=3, warmup_epochs=0, optimiser="adamw", lr=1e-2, loss=loss)
    kept = []

    def trained(keeper):
        torch.manual_seed(0)
        net = torch.nn.Linear(4, 64)
        fit(net, batches(), recipe, RETRIEVAL, seed=0, watch=Watch(), facts=FACTS, keeper=keeper)
        return torch.cat([p.flatten() for p in net.parameters()])

    def save(state):
        written = io.BytesIO()
        torch.save(state, written)
        kept.append(written.getvalue())

    whole = trained(Keeper(save, None, 1e-9))
    assert torch.equal(whole, trained(Keeper()))
    assert len(kept) > 8
    state = torch.load(io.BytesIO(kept[len(kept) // 2]), weights_only=False)
    assert torch.equal(whole, trained(Keeper(lambda state: None, state, 1e-9)))

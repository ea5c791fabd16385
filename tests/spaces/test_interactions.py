"""Space interactions: as large as published branches make it, and open in size without a weight out of place."""

import re
from dataclasses import replace

import pytest
import torch

from tests.search.planted import bench_of, split_options
from tests.search.toys import Loader
from winnow.config.methods import strategy
from winnow.core.errors import Refused
from winnow.measure.cost import params
from winnow.search.methods import STRATEGIES
from winnow.search.objective import objective
from winnow.search.relax import softmax
from winnow.search.selections.magnitude import magnitude
from winnow.search.strategy import INITIALISED, LOGITS, MIXTURE, TRIALS
from winnow.spaces import build
from winnow.spaces.interactions import deepfm
from winnow.tasks.clicks import CLICKS, LogLoss, auc
from winnow.train.fit import fit
from winnow.train.recipes import RECIPES
from winnow.train.seeds import seeded
from winnow.train.watch import Watch

FIELDS = [("user", 30), ("item", 20), ("hour", 26)]


def space(**options):
    with seeded(0):
        return build("interactions", options, fields=FIELDS, dense=["price"])


def test_it_has_as_many_networks_as_its_genes_allow():
    assert space().count() == 10_905  # 3 * 2 * 4 * 7 * 13 * 5, less 15 with all branches off
    assert space(pairs=[["user", "item"], ["price", "item"]]).count() == 15 * (728 * 4 - 1)
    assert space(embedding=[16]).count() == 10_905 // 3


def test_a_branch_that_is_off_has_no_parameters_and_no_gradient():
    whole = space(widths=[8], depths=[1], hidden=[8])
    alone = {"embedding": 8, "fusion": "sum", "branches": ("inner",)}
    linear, table = 30 + 20 + 26 + 1 + 1, (30 + 20 + 26 + 1) * 8
    assert params(whole.derive(alone)) == linear + table + 6 + 1  # six pairs, and the bias of their logit
    x = torch.tensor([[2.0, 3.0, 4.0, 0.5]])
    whole(x, alone).sum().backward()
    touched = {name for name, p in whole.named_parameters() if p.grad is not None}
    assert all(re.search("embeddings|linear|sum.0.candidates.inner", name) for name in touched)


def test_the_one_made_by_hand_is_linear_with_products_and_an_mlp():
    whole = space(embedding=[2, 4, 8], widths=[4, 8, 16], pairs=[["user", "item"]])
    made = deepfm(whole)
    assert dict(made) == {"embedding": 4, "fusion": "sum", "branches": ("inner", "mlp"), "mlp": "2x8"}
    linear, table = 30 + 20 + 26 + 1 + 1, (30 + 20 + 26 + 1) * 4
    mlp = (4 * 4 * 8 + 8) + (8 * 8 + 8) + (8 + 1)
    assert params(whole.derive(made)) == linear + table + 6 + 1 + mlp


def test_a_smaller_embedding_is_the_beginning_of_a_larger_one():
    whole = space()
    arch = {"embedding": 16, "fusion": "linear", "branches": ("cross",), "cross": "v2x1"}
    child = whole.derive(arch)
    table = whole.model.embeddings.whole.weight
    assert torch.equal(child.embeddings.weight, table[:, :16])
    whole(torch.tensor([[2.0, 3.0, 4.0, 0.5]]), arch).sum().backward()
    assert table.grad[:, :16].any()
    assert not table.grad[:, 16:].any()


def test_pairs_are_those_that_are_named():
    whole = space(pairs=[["item", "user"], ["hour", "price"]], embedding=[8])
    assert whole.decisions["pairs"].options == ("user*item", "hour*price")
    arch = {"fusion": "sum", "branches": ("pairs",), "pairs": ("user*item",)}
    child = whole.derive(arch).eval()
    x = torch.tensor([[2.0, 3.0, 4.0, 0.5]])
    e, tail = child.embeddings(x), child.fusion[0][0][0][1]
    expected = child.linear(x) + tail((e[:, 0] * e[:, 1]).sum(-1, keepdim=True))
    torch.testing.assert_close(child(x), expected)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"embedding": [0]}, "embedding takes a list of different whole numbers of 1 or more, not [0]"),
        ({"widths": []}, "widths takes a list"),
        ({"pairs": [["user", "usr"]]}, "pairs names 'usr', and the fields are user, item, hour, price"),
        ({"pairs": [["user", "user"]]}, "pairs takes different fields, each pair once, not ['user', 'user']"),
        ({"pairs": "some"}, "pairs takes 'all', or a list of pairs like [a, b], not 'some'"),
        ({"dropout": 1.0}, "dropout takes 0 to less than 1, not 1.0"),
        ({"fields": [("a", 3)], "dense": []}, "fields interact, and there is one alone: 'a'"),
        ({"layer": [1]}, "has no option 'layer'"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(options, said):
    with pytest.raises(Refused, match=re.escape(said)):
        space(**options)


SMALL = {"widths": [4], "depths": [1, 2], "layers": [1], "hidden": [5]}
SHORT = {"sgas": {"epochs": 10, "warmup": 0, "interval": 1}, "unas": {"warmup": 0}, "subset": {"draws": 1}}
SHORT |= {name: {"first": 1, "until": 9} for name in ("abs", "neas")}
CANNOT = {"pc_darts": "partial channels narrow convolutions", "ofa": "progressive shrinking opens sizes"}
CANNOT |= {"nse": "and no mixture of them"}
TRAINING = [name for name in STRATEGIES if not {INITIALISED, TRIALS} & strategy(name).leaves]


def events(count: int, seed: int):
    draws = torch.Generator().manual_seed(seed)
    x = torch.cat([torch.randint(5, (count, 3), generator=draws).float(), torch.randn(count, 1, generator=draws)], 1)
    return x, (x[:, 0] > 2).long()


def searched(name: str, whole):
    options = {"epochs": 2} | SHORT.get(name, {}) | ({"judge": False} if "judge" in strategy(name).options() else {})
    recipe, own = split_options(options)
    whole = strategy(name).formed(whole, {})
    train, valid = Loader([events(8, 0)]), Loader([events(8, 1)])
    whole.example = CLICKS.example({"fields": FIELDS, "dense": ["price"]})
    bench = bench_of(whole, train, valid, task=CLICKS, objective=objective(whole, LogLoss(), "fp32"))
    return strategy(name).search(bench, recipe, **own)


@pytest.mark.parametrize("name", TRAINING)
def test_every_strategy_that_means_something_runs(name):
    """Mixtures of all that has one size; children of all sizes. What cannot is a sentence."""
    mixes = bool({LOGITS, MIXTURE} & strategy(name).leaves)
    whole = space(embedding=[3] if mixes else [2, 3], **SMALL)
    before = {key: value.clone() for key, value in whole.state_dict().items()}
    if name in CANNOT:
        with pytest.raises(Refused, match=CANNOT[name]):
            searched(name, whole)
        return
    found = searched(name, whole)
    assert any(not torch.equal(value, before[key]) for key, value in found.space.state_dict().items())
    assert all(value.isfinite().all() for value in found.space.state_dict().values())
    if mixes:
        assert all(vector.isfinite().all() for vector in found.logits.values())
        with pytest.raises(Refused, match=r"no logits for option 'inner' of decision 'branches'.*perturbation"):
            magnitude(found.space, softmax(found.logits))


def test_sizes_that_are_open_take_no_mixture():
    with pytest.raises(Refused, match=r"decision 'embedding' \(Gathered\) takes one of \(2, 3\) and no mixture"):
        searched("darts", space(embedding=[2, 3], **SMALL))


@pytest.mark.slow
def test_products_find_what_a_multilayer_perceptron_does_not():
    """Two of six fields interact; AUC of inner products .794, of an MLP .778."""
    draws = torch.Generator().manual_seed(0)
    ids = torch.randint(30, (60_000, 6), generator=draws)
    u, v = (torch.randn(30, 4, generator=draws) for _ in range(2))
    logit = 0.75 * (u[ids[:, 0]] * v[ids[:, 1]]).sum(1) + 0.3 * torch.randn(30, generator=draws)[ids[:, 2]] - 0.8
    clicks = (torch.rand(60_000, generator=draws) < logit.sigmoid()).long()
    x = (ids + 2).float()
    fields = [(name, 32) for name in "abcdef"]
    with seeded(0):
        whole = build("interactions", {"embedding": [8], "widths": [64], "hidden": [64]}, fields=fields)
    recipe = replace(RECIPES["quick"], epochs=4, batch=500, optimiser="adamw", lr=3e-3, weight_decay=0.0)
    found = {}
    for branch in ("inner", "mlp"):
        arch = {"fusion": "hidden64" if branch == "inner" else "linear", "branches": (branch,)}
        child = whole.derive(arch | ({"mlp": "2x64"} if branch == "mlp" else {}))
        batches = [(x[i : i + 500], clicks[i : i + 500]) for i in range(0, 48_000, 500)]
        fit(child, batches, recipe, CLICKS, seed=0, watch=Watch())
        with torch.no_grad():
            found[branch] = auc(child(x[48_000:])[:, 0], clicks[48_000:])
    assert found["inner"] > found["mlp"] + 0.005
    assert found["inner"] > 0.97 * auc(logit[48_000:], clicks[48_000:])

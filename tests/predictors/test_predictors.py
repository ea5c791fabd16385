"""A problem with a known answer: accuracies that are a sum over the edges of a cell."""

import random

import numpy as np
import pytest
import torch

from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.measure.rank import kendall_tau
from winnow.predictors import PREDICTORS, neural, predictor
from winnow.predictors.encode import ENCODINGS
from winnow.predictors.gcn import Gcn
from winnow.spaces import build
from winnow.spaces.graphs import graphs

WORTH = {"none": 0.0, "skip_connect": 1.0, "nor_conv_1x1": 2.0, "nor_conv_3x3": 3.0, "avg_pool_3x3": 0.5}


@pytest.fixture(scope="module")
def task():
    with torch.device("meta"):
        space = build("nas_bench_201", {})
    rng = random.Random(0)
    archs = [space.decide(uniform(rng)) for _ in range(240)]
    values = np.array([80 + sum(WORTH[op] for op in arch.values()) for arch in archs])
    return {name: ENCODINGS[name](space.decisions, graphs)(archs) for name in ENCODINGS}, values


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    monkeypatch.setattr(neural, "STEPS", 150)
    monkeypatch.setattr(neural, "MEMBERS", 2)


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_sum_over_edges_is_learnt_and_said_in_its_unit(task, name):
    encodings, values = task
    x = encodings[PREDICTORS[name].encoding]
    found = PREDICTORS[name].fit(x[:160], values[:160], 0)(x[160:])
    assert kendall_tau(found.mean, values[160:]) > 0.75
    orders_only = name == "tg_nas"  # it keeps the epoch that orders best, whatever its scale
    assert orders_only or np.abs(found.mean - values[160:]).mean() < 1.0
    assert found.mean.shape == (80,)
    assert found.sd is None or ((found.sd >= 0).all() and found.sd.shape == (80,))
    again = PREDICTORS[name].fit(x[:160], values[:160], 0)(x[160:])
    assert np.array_equal(again.mean, found.mean)


def test_a_gaussian_process_is_less_sure_of_what_it_has_not_seen(task):
    encodings, values = task
    x = encodings["one_hot"]
    predict = PREDICTORS["gp"].fit(x[:40], values[:40], 0)
    assert predict(x[:40]).sd.mean() < predict(x[40:]).sd.mean()


def test_global_streams_are_left_alone(task):
    encodings, values = task
    before, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    for p in PREDICTORS.values():
        p.fit(encodings[p.encoding][:20], values[:20], 0)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numbers, np.random.get_state()[1])


def test_the_graph_network_does_not_mind_the_order_of_nodes(task):
    graph = torch.as_tensor(task[0]["graph"][:4], dtype=torch.float32)
    nodes = graph.shape[1]
    model = neural.fresh(lambda: Gcn(graph.shape[2] - nodes), torch.Generator().manual_seed(0))
    order = torch.randperm(nodes, generator=torch.Generator().manual_seed(1))
    moved = torch.cat([graph[:, order][:, :, order], graph[:, order, nodes:]], 2)
    assert torch.allclose(model(graph), model(moved), atol=1e-5)
    assert not torch.allclose(model(graph)[0], model(graph)[1])


def test_equal_values_are_no_accident(task):
    x = task[0]["one_hot"][:10]
    for name in ("ridge", "trees", "mlp"):
        assert np.allclose(PREDICTORS[name].fit(x, np.full(10, 5.0), 0)(x).mean, 5, atol=0.2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *(("rigde", "did you mean 'ridge'"), ("gp:paht", "did you mean 'path'"), ("gcn:path", "not 'path'")),
        *(("mlp:graph", "graphs are for gcn alone"),),
    ],
)
def test_what_does_not_exist_is_a_sentence(name, message):
    with pytest.raises(Refused, match=message):
        predictor(name)

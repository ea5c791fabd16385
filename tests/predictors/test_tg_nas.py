"""The graph of the published conversion by hand, and a transfer that a description alone makes possible."""

import itertools

import numpy as np
import pytest
import torch

from winnow.core.errors import Refused
from winnow.core.graph import Graph
from winnow.measure.rank import kendall_tau
from winnow.predictors.tg_nas import initial, tensors, tg_nas, transfers
from winnow.predictors.words import COLUMNS, vector
from winnow.spaces.descriptions import OPERATIONS
from winnow.spaces.graphs import graphs
from winnow.spaces.nas_bench_201 import EDGES, OPS
from winnow.spaces.nb101_cells import OPS as OPS_101
from winnow.spaces.nb101_cells import Cell, architecture


def cell(*ops: str):
    return graphs({f"{node}<-{source}": op for (source, node), op in zip(EDGES, ops, strict=True)})


def test_the_all_3x3_cell_has_ten_edges_and_a_global_node():
    (graph,) = tensors([cell(*["nor_conv_3x3"] * 6)])
    hears = graph[:, :9]
    assert hears.shape == (9, 9)
    assert (hears.diagonal() == 1).all()
    assert (hears[8] == 1).all()
    assert hears[:8, 8].sum() == 0
    fed = {(int(j), int(i)) for i, j in hears[:8, :8].nonzero() if i != j}
    assert fed == {(0, 1), (0, 2), (0, 4), (1, 3), (1, 5), (2, 6), (3, 6), (4, 7), (5, 7), (6, 7)}
    assert graph[8, -1] == 1
    assert graph[:8, -1].sum() == 0


def test_alike_operations_are_described_alike():
    def cosine(a: str, b: str) -> float:
        return float(torch.cosine_similarity(*(torch.tensor(vector(OPERATIONS[op])) for op in (a, b)), dim=0))

    assert cosine("nor_conv_3x3", "nor_conv_1x1") > cosine("nor_conv_3x3", "none")
    assert cosine("max_pool_3x3", "avg_pool_3x3") > cosine("max_pool_3x3", "skip_connect")
    assert cosine("k3_e3", "k5_e3") > cosine("k3_e3", "nor_conv_3x3") > cosine("k3_e3", "skip")
    assert OPERATIONS["conv3x3"] == OPERATIONS["nor_conv_3x3"]  # another benchmark's name of the same


def test_the_order_of_nodes_does_not_matter():
    graph = tensors([cell("nor_conv_3x3", "none", "nor_conv_1x1", "skip_connect", "avg_pool_3x3", "none")])
    order = torch.tensor([3, 0, 6, 1, 7, 2, 5, 4, 8])  # the global node stays last
    moved = torch.cat([graph[:, order][:, :, order], graph[:, order, 9:]], 2)
    model = initial(torch.Generator().manual_seed(0)).eval()
    assert torch.allclose(model(graph), model(moved), atol=1e-6)


def test_what_it_learns_holds_for_an_operation_it_has_not_seen():
    """Values go up with the weights of a cell: 1x1 and none are seen, 3x3 is only described."""

    def worth(ops):
        return sum({"nor_conv_3x3": 2.0, "nor_conv_1x1": 1.0}.get(op, 0.0) for op in ops)

    seen = list(itertools.product(["none", "skip_connect", "nor_conv_1x1"], repeat=6))[::3]
    unseen = [ops for ops in itertools.product(OPS, repeat=6) if "nor_conv_3x3" in ops][::100]
    x, new = (tensors([cell(*ops) for ops in these]).numpy() for these in (seen, unseen))
    y = np.array([worth(ops) for ops in seen])
    score = tg_nas(x, y, 0, epochs=15)
    assert kendall_tau(score(x).mean, y) > 0.6
    assert kendall_tau(score(new).mean, [worth(ops) for ops in unseen]) > 0.3
    assert abs(score(x).mean - y).mean() < y.std(), "in the unit of the source"
    assert np.array_equal(score(new[:5]).mean, tg_nas(x, y, 0, epochs=15)(new[:5]).mean)


def test_words_that_the_source_never_says_say_nothing():
    """A source without kernels of 5 by 5 knows kernels; one of cells knows nothing of attention."""
    x = tensors([cell(*ops) for ops in itertools.islice(itertools.product(OPS, repeat=6), 0, None, 300)]).numpy()
    score = tg_nas(x, np.arange(len(x), dtype=float), 0, epochs=2)
    changed = x[:4].copy()
    changed[:, :-1, x.shape[1] + COLUMNS.index("heads")] = 1.0
    assert np.array_equal(score(x[:4]).mean, score(changed).mean)
    changed[:, :-1, x.shape[1] + COLUMNS.index("kernel")] += 1.0
    assert not np.array_equal(score(x[:4]).mean, score(changed).mean)


def test_use_as_a_proxy_asks_for_five_seeds_of_one_sign():
    assert transfers([0.5] * 5)
    assert not transfers([0.5] * 4)
    assert not transfers([0.9, 0.9, 0.9, 0.9, -0.01])
    assert not transfers([0.4] * 5)


def test_what_has_no_description_is_refused_and_it_is_said_where_one_goes():
    with pytest.raises(Refused, match=r"no description of operation 'mine': .*space\.descriptions"):
        tensors([{"chain": Graph(((0, 1, "mine"),), (0,), (1,))}])


def test_what_fills_up_smaller_cells_counts_nowhere():
    """Cells of NAS-Bench-101 of two to seven nodes: alone, together, and beside one of another space."""
    small, large = nb101((0, 1), (1, 2), ops=["conv1x1"]), nb101(*((i, i + 1) for i in range(6)), ops=["conv3x3"] * 5)
    model = initial(torch.Generator().manual_seed(0))
    model(tensors([small, large, small]))  # statistics of three cells
    model.eval()
    together, alone = model(tensors([small, large])), [model(tensors([each])) for each in (small, large)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)
    wider = model(tensors([small, cell(*["nor_conv_3x3"] * 6)]))
    assert torch.allclose(wider[:1], alone[0], atol=1e-6)
    # in training, too: statistics are of nodes that there are
    first, second = (initial(torch.Generator().manual_seed(0)) for _ in range(2))
    first(tensors([small, small])), second(filled(tensors([small, small])))
    assert torch.allclose(first.norms[3].running_mean, second.norms[3].running_mean, atol=1e-6)


def filled(graphs):
    """Two more rows and columns of zeros before the global node."""
    n = graphs.shape[1]
    hears, features = graphs[:, :, :n], graphs[:, :, n:]
    at = [*range(n - 1), n + 1]
    out = torch.zeros(len(graphs), n + 2, n + 2 + features.shape[2])
    out[:, at, n + 2 :] = features
    for i, place in enumerate(at):
        out[:, place, at] = hears[:, i]
    return out


def nb101(*edges, ops):
    return graphs(architecture(Cell(edges, tuple(ops))))


def test_cells_of_nas_bench_101_are_a_source_for_nas_bench_201():
    sources = [
        nb101(*((i, i + 1) for i in range(n + 1)), ops=ops)
        for n in (1, 2, 3)
        for ops in itertools.product(OPS_101, repeat=n)
    ]
    worth = np.array([sum(2.0 * (op == "conv3x3") + (op == "conv1x1") for op in each["cell"].ops) for each in sources])
    x = tensors(sources).numpy()
    score = tg_nas(x, worth, 0, epochs=40)
    assert kendall_tau(score(x).mean, worth) > 0.6
    targets = [cell(*ops) for ops in (["nor_conv_3x3"] * 6, ["nor_conv_1x1"] * 6, ["none"] * 6)]
    assert np.isfinite(score(tensors([*targets, *sources]).numpy()).mean).all()

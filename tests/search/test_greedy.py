"""search.greedy: the worked example of SGAS's scores, and what a decision closes."""

import pytest
import torch

from tests.search.planted import bench_of, split_options
from tests.search.toys import Loader, Recorded, cells, images
from tests.splits import image_split
from winnow.core.decision import Decision
from winnow.core.errors import Refused
from winnow.data.loaders import Batches
from winnow.search.bench import Found
from winnow.search.greedy import Edges, certainty, edge_scores, importance, normalised, shares, stability
from winnow.search.methods import sgas as module
from winnow.search.methods.sgas import sgas
from winnow.search.recipe import Recipe
from winnow.search.relax import softmax
from winnow.search.selections.magnitude import magnitude

DECISIONS = [Decision(f"e{i}", ("none", "a", "b", "c")) for i in range(3)]
ROWS = ([0.1, 0.5, 0.2, 0.2], [0.4, 0.3, 0.2, 0.1], [0.05, 0.9, 0.03, 0.02])
WEIGHTS = {d.name: torch.tensor(row, dtype=torch.float64) for d, row in zip(DECISIONS, ROWS, strict=True)}
PAST = ([0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.9, 0.05, 0.05])


def test_the_worked_example():
    of = [(d, WEIGHTS[d.name]) for d in DECISIONS]
    assert [float(importance(*each)) for each in of] == pytest.approx([0.90, 0.60, 0.95])
    assert [float(certainty(shares(*each))) for each in of] == pytest.approx([0.0943, 0.0794, 0.7801], abs=1e-4)
    assert edge_scores(DECISIONS, WEIGHTS, [], 1).tolist() == pytest.approx([0.0182, 0, 1], abs=1e-4)
    overlaps = [
        float(stability(shares(*each), [torch.tensor(past, dtype=torch.float64)]))
        for each, past in zip(of, PAST, strict=True)
    ]
    assert overlaps == pytest.approx([0.9222, 0.9667, 0.9526], abs=1e-4)


def test_without_a_history_criterion_two_is_zero_everywhere():
    assert edge_scores(DECISIONS, WEIGHTS, [], 2).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("name", "turns"), [("darts", 8), ("nas_bench_201", 6)])
def test_a_cell_type_decides_as_often_as_it_keeps_edges(name, turns):
    assert Edges(cells(name)).turns() == turns


def test_a_node_with_two_edges_closes_the_others():
    space = cells("darts", candidates="s3")
    edges = Edges(space)
    for source in (3, 0):
        edges.decide(space.decisions[f"normal/5/{source}"], "sep_conv_3x3")
    assert edges.decided["normal/5"] == (0, 3)
    assert not [name for name in edges.open if name.startswith("normal/5/")]
    assert "normal/4/0" in edges.open


def run(space, **options):
    watch, batches = Recorded(), Loader([images(8, 0)])
    recipe, own = split_options(options)
    return sgas(bench_of(space, batches, batches, watch=watch), recipe, **own).logits, watch


@pytest.mark.parametrize(("operation", "criterion"), [("magnitude", 2), ("perturbation", 1)])
def test_one_edge_a_cell_type_is_decided_at_each_turn_and_its_logits_rest(operation, criterion):
    space = cells("darts", candidates="s3")
    options = {"warmup": 1, "interval": 1, "operation": operation, "criterion": criterion}
    logits, watch = run(space, epochs=11, **options)
    told = [len(weights) for weights in watch.weights]
    assert told[:2] == [28, 28]  # epoch 1 ends with the first decision
    assert told[2] == 26
    assert told == sorted(told, reverse=True)
    arch = magnitude(space, softmax(logits))
    space.check(arch)
    assert "none" not in arch.values()
    for name, value in arch.items():
        if isinstance(value, str):
            weights = softmax(logits)[name].detach()
            assert float(weights[space.decisions[name].options.index(value)]) > 0.999


def test_a_schedule_longer_than_the_training_is_refused():
    with pytest.raises(
        Refused, match=r"decides 6 times, the last time after epoch 34.*search.epochs takes 36 or more, not 30"
    ):
        run(cells(), epochs=30, warmup=9, interval=5)
    with pytest.raises(Refused) as told:
        run(cells(), epochs=3, warmup=0, interval=1)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("epochs", "warmup", "interval"), [(50, 9, 5), (100, 18, 10), (49, 8, 4), (60, 10, 6)])
def test_decisions_come_after_the_published_epochs_in_proportion_and_batches_grow_then(
    monkeypatch, epochs, warmup, interval
):
    _, labels = images(80)
    split = image_split(torch.zeros(80, 1, 8, 8, dtype=torch.uint8), labels, ("a", "b", "c"))
    train = Batches(split, 8, generator=torch.Generator())
    grown = []

    def told(bench, recipe, *, begin, logits, **_):
        for epoch in range(recipe.epochs):
            before = train.batch
            begin(epoch)
            grown.extend([epoch] * (train.batch - before))
        return Found(bench.space, logits)

    monkeypatch.setattr(module, "bilevel", told)
    sgas(bench_of(cells(), train, Loader([images(8)])), Recipe(epochs=epochs), batch_growth=1)
    assert grown == [warmup + 1 + interval * i for i in range(6)]  # at the beginning of the epoch after


def test_scores_are_normalised_from_the_least_to_the_largest():
    assert normalised(torch.tensor([3.0, -1.0, 1.0])).tolist() == [1, 0, 0.5]
    assert normalised(torch.tensor([0.25, 0.25])).tolist() == [0, 0]


def test_certainty_goes_from_equal_shares_to_a_single_one():
    assert float(certainty(torch.full((4,), 0.25))) == pytest.approx(0, abs=1e-6)
    assert float(certainty(torch.tensor([0.0, 1.0, 0.0]))) == 1
    assert float(certainty(torch.tensor([0.5, 0.5, 0.0, 0.0]))) == pytest.approx(0.5)
    assert float(certainty(torch.ones(1))) == 1


def test_stability_is_the_mean_overlap_with_earlier_epochs():
    share = torch.tensor([0.5, 0.5])
    assert float(stability(share, [])) == 0
    assert float(stability(share, [torch.tensor([1.0, 0.0]), torch.tensor([0.25, 0.75])])) == (0.5 + 0.75) / 2


def test_without_none_an_edge_is_told_by_certainty_and_under_criterion_two_by_stability_too():
    decisions = [Decision(f"e{i}", ("a", "b")) for i in range(3)]
    weights = {"e0": torch.tensor([0.5, 0.5]), "e1": torch.tensor([0.9, 0.1]), "e2": torch.tensor([0.0, 1.0])}
    assert all(float(importance(d, weights[d.name])) == 1 for d in decisions)
    sure = normalised(torch.stack([certainty(weights[d.name]) for d in decisions]))
    assert edge_scores(decisions, weights, [], 1).tolist() == pytest.approx(sure.tolist())
    history = [{"e0": weights["e0"], "e1": torch.tensor([0.4, 0.6]), "e2": torch.tensor([1.0, 0.0])}]
    assert edge_scores(decisions, weights, history, 1).tolist() == pytest.approx(sure.tolist())
    assert edge_scores(decisions, weights, history, 2).tolist() == pytest.approx([0, float(sure[1]) / 2, 0])


def test_one_edge_with_none_brings_importance_in_and_others_count_whole():
    decisions = [Decision("e0", ("none", "a", "b")), Decision("e1", ("a", "b")), Decision("e2", ("none", "a", "b"))]
    weights = {
        "e0": torch.tensor([0.5, 0.5, 0.0]),
        "e1": torch.tensor([0.8, 0.2]),
        "e2": torch.tensor([0.75, 0.25, 0.0]),
    }
    assert [float(importance(d, weights[d.name])) for d in decisions] == [0.5, 1, 0.25]
    assert shares(decisions[0], weights["e0"]).tolist() == [1, 0]
    assert edge_scores(decisions, weights, [], 1).tolist() == pytest.approx([1 / 3, 0, 0])


def test_what_is_decided_comes_back():
    space = cells("darts", candidates="s3")
    edges, other = Edges(space), Edges(space)
    for source in (1, 0):
        edges.decide(space.decisions[f"reduce/4/{source}"], "sep_conv_3x3")
    other.decide(space.decisions["normal/2/0"], "skip_connect")
    other.restore(edges.state())
    assert (
        other.decided
        == edges.decided
        == {
            "reduce/4/1": "sep_conv_3x3",
            "reduce/4/0": "sep_conv_3x3",
            "reduce/4": (0, 1),
        }
    )
    assert other.open == edges.open
    assert not edges.open & {f"reduce/4/{i}" for i in range(4)}

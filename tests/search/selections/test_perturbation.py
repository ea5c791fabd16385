"""search.selections.perturbation: the whole of DARTS-PT, on networks where the right answer is known."""

import itertools
import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.judging import accuracy_and_loss, cross_entropy
from tests.search.toys import CLASSES, Loader, cells, changed, images, logits_of, points, smooth, snapshot
from tests.splits import image_split
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.nn.ops import Zero
from winnow.search.bench import Bench, Further
from winnow.search.costs import Costs
from winnow.search.recipe import Recipe
from winnow.search.relax import softmax
from winnow.search.selections.magnitude import magnitude
from winnow.search.selections.perturbation import by_perturbation, expected, masks, perturbation, resume_mixture
from winnow.search.strategy import decided_softmax
from winnow.train.evaluate import batch_statistics


def tuned(space, logits, objective, train, valid, recipe):
    """`resume_mixture` on a bench, by the usual steps."""
    bench = Bench(space, 0, objective=objective, train=Loader(train), valid=Loader(valid), logits=logits)
    return resume_mixture(bench, decided_softmax(space, objective, torch.Generator()), recipe)


class Fixed(nn.Module):
    """Class scores that do not depend on the image, or with `values` that do on its label alone."""

    def __init__(self, *values: float, of_label: bool = False):
        super().__init__()
        self.register_buffer("values", torch.tensor(values))
        self.of_label = of_label

    def forward(self, x: Tensor) -> Tensor:
        table = torch.diag(self.values)[x[:, 0].long()] if self.of_label else self.values.expand(len(x), -1)
        return table


def labelled(count: int = 30) -> list[tuple[Tensor, Tensor]]:
    """Images that say their label in the first number."""
    y = torch.arange(count) % 3
    return [(torch.stack([y.float(), torch.zeros(count)], 1), y)]


def judge(space: Space, batches):
    """What the pipeline does: batch statistics, everything as it was afterwards."""
    prepared = list(batches)

    def evaluate(setting):
        space.eval()
        with batch_statistics(space):
            return accuracy_and_loss(lambda x: space(x, setting), prepared)

    return evaluate


def no_tuning(decided):
    return None


def run(space, weights, evaluate, *, tune=no_tuning, seed=0, **options):
    return perturbation(space, lambda: weights, evaluate=evaluate, tune=tune, rng=random.Random(seed), **options)


def events(name: str, seed: int = 0, **options):
    """Order and number of decisions with arbitrary scores: (tunes, evidence, architecture, what each tune was told)."""
    with torch.device("meta"):
        space = cells(name, **options)
    chance, told = random.Random(1), []
    weights = {
        d.name: torch.full((len(d.options),), 1 / len(d.options)) for d in space.decisions.values() if d.pick == 1
    }
    arch, evidence = run(
        space,
        weights,
        lambda setting: (chance.random(), chance.random()),
        tune=lambda d: told.append(dict(d)),
        seed=seed,
    )
    return space, told, evidence, arch


def order(evidence) -> list[tuple[int, str]]:
    return list(dict.fromkeys((row.event, row.decision) for row in evidence))


# masks


@pytest.mark.parametrize("name", ["nas_bench_201", "darts"])
def test_a_masked_option_is_a_net_without_it(name):
    space, (x, _) = cells(name), images(8)
    space.eval()
    weights = softmax(logits_of(space))
    decision = "normal/3/1" if name == "darts" else "3<-1"
    option = "sep_conv_3x3" if name == "darts" else "nor_conv_3x3"
    d = space.decisions[decision]
    masked = weights[decision].detach().clone()
    masked[d.options.index(option)] = 0.0
    with torch.no_grad(), batch_statistics(space):
        got = space(x, {**weights, decision: masked})
        assert not torch.allclose(got, space(x, weights), atol=1e-4)
        for hole in space.holes:
            if hole.decision.name == decision:
                hole.candidates[option] = Zero(1)
        expected = space(x, weights)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_masking_none_changes_no_bit_of_the_scores():
    space, (x, _) = cells(), images(8)
    weights = {name: vector.detach() for name, vector in softmax(logits_of(space)).items()}
    with torch.no_grad(), batch_statistics(space):
        whole = space(x, weights)
        for name, vector in weights.items():
            masked = torch.cat([torch.zeros(1), vector[1:]])
            assert space.decisions[name].options[0] == "none"
            assert torch.equal(space(x, {**weights, name: masked}), whole)


@pytest.mark.parametrize(("name", "options"), [("nas_bench_201", {}), ("darts", {"candidates": "s2"})])
def test_the_fast_sweep_finds_what_the_plain_one_finds(name, options):
    space, batches = cells(name, **options), [images(12, 1), images(12, 2)]
    weights = {name: vector.detach() for name, vector in softmax(logits_of(space)).items()}
    found = []
    for plain in (True, False):
        space.board.plain = plain
        found.append(run(space, weights, judge(space, batches)))
    (arch, rows), (fast_arch, fast_rows) = found
    assert arch == fast_arch
    assert [(row.decision, row.option, row.accuracy, row.kept) for row in rows] == [
        (row.decision, row.option, row.accuracy, row.kept) for row in fast_rows
    ]
    assert [row.loss for row in rows] == pytest.approx([row.loss for row in fast_rows], rel=1e-4)


def test_magnitude_in_the_sweep_decides_by_weights_and_masks_nothing():
    space, weights, told = smooth(), {"a": torch.tensor([0.5, 0.3, 0.2]), "b": torch.tensor([0.1, 0.2, 0.7])}, []
    arch, rows = run(space, weights, None, tune=told.append, criterion="magnitude")
    assert dict(arch) == {"a": "tanh", "b": "skip"}
    assert rows == []
    assert len(told) == 1


def test_the_others_are_not_renormalised():
    space = smooth()
    seen: list[dict[str, Tensor]] = []

    def evaluate(setting):
        seen.append(setting)
        return 0.0, 0.0

    weights = {"a": torch.tensor([0.5, 0.3, 0.2]), "b": torch.tensor([0.1, 0.2, 0.7])}
    arch, _ = run(space, weights, evaluate)
    (first, second) = ("a", "b") if isinstance(seen[0]["b"], Tensor) and 0 in seen[0]["a"] else ("b", "a")
    for i, setting in enumerate(seen[:3]):
        assert setting[first].tolist() == [0.0 if j == i else float(w) for j, w in enumerate(weights[first])]
        assert torch.equal(setting[second], weights[second])
    for i, setting in enumerate(seen[3:]):
        assert setting[first] == arch[first]  # projected: constant from then on
        assert setting[second].tolist() == [0.0 if j == i else float(w) for j, w in enumerate(weights[second])]
    assert len(seen) == masks(space) == 6


def test_masks_leave_weights_statistics_and_optimiser_alone():
    space, batch = cells(), images(8)
    logits = logits_of(space)
    before, before_logits = snapshot(space), snapshot(logits)
    recipe = Recipe(1, 0.1, weight_decay=0.1, logits_lr=0.1, logits_weight_decay=0.1)
    tune = tuned(space, logits, cross_entropy(space), [batch], [batch], recipe)
    weights = {name: vector.detach().clone() for name, vector in softmax(logits).items()}
    run(space, weights, judge(space, [batch]))
    assert not changed(space, before)
    assert not changed(logits, before_logits)
    assert all(w.grad is None and w.requires_grad for w in space.parameters())
    tune({})
    assert changed(space, before)


# what is kept


@pytest.mark.parametrize("scale", [0.0, -3.0])
def test_the_candidate_that_knows_the_label_stays_whatever_its_weight(scale):
    knowing, constant = Fixed(1.0, 1.0, 1.0, of_label=True), Fixed(9.0, 0.0, 0.0)
    space = Space(Choice("edge", {"constant": constant, "knowing": knowing}))
    weights = {"edge": torch.tensor([0.0, scale]).softmax(0)}
    arch, evidence = run(space, weights, judge(space, labelled()), criterion="loss")
    assert arch["edge"] == "knowing"
    assert [row.kept for row in evidence] == [False, True]
    if scale < 0:
        assert magnitude(space, weights)["edge"] == "constant"


def test_accuracy_decides_though_magnitude_says_otherwise():
    knowing, constant = Fixed(1.0, 1.0, 1.0, of_label=True), Fixed(0.01, 0.0, 0.0)
    space = Space(Choice("edge", {"constant": constant, "knowing": knowing}))
    weights = {"edge": torch.tensor([0.95, 0.05])}  # 0.05 > 0.95 x 0.01: the label still wins in the mixture
    arch, evidence = run(space, weights, judge(space, labelled()))
    assert magnitude(space, weights)["edge"] == "constant"
    assert arch["edge"] == "knowing"
    assert {row.option: row.accuracy for row in evidence} == pytest.approx({"constant": 100.0, "knowing": 100 / 3})


def scored(scores: dict[tuple[str, str], tuple[float, float]], space: Space, weights):
    """Accuracies and losses by (decision, masked option)."""

    def evaluate(setting):
        for (decision, option), score in scores.items():
            value, d = setting[decision], space.decisions[decision]
            if isinstance(value, Tensor) and value[d.options.index(option)] == 0:
                return score
        raise AssertionError(setting)

    return evaluate


@pytest.mark.parametrize(
    ("criterion", "scores", "kept"),
    [
        ("accuracy", [(50.0, 9.0), (40.0, 1.0), (60.0, 5.0)], "tanh"),  # lowest accuracy, whatever the loss
        ("loss", [(40.0, 1.0), (50.0, 9.0), (60.0, 5.0)], "tanh"),  # highest loss, whatever the accuracy
        ("accuracy", [(40.0, 1.0), (40.0, 2.0), (60.0, 5.0)], "tanh"),  # the loss breaks the tie
        ("accuracy", [(40.0, 2.0), (40.0, 2.0), (40.0, 2.0)], "norm"),  # then the order of the options
        ("loss", [(40.0, 2.0), (30.0, 2.0), (20.0, 2.0)], "norm"),
    ],
)
def test_the_criterion_and_its_ties(criterion, scores, kept):
    space = Space(Choice("a", {"norm": nn.Identity(), "tanh": nn.Tanh(), "relu": nn.ReLU()}))
    weights = {"a": torch.full((3,), 1 / 3)}
    table = {("a", option): score for option, score in zip(("norm", "tanh", "relu"), scores, strict=True)}
    arch, evidence = run(space, weights, scored(table, space, weights), criterion=criterion)
    assert arch["a"] == kept
    assert [(row.accuracy, row.loss) for row in evidence] == scores


def test_nodes_keep_the_two_edges_that_hurt_most():
    space = Space(
        Choice("node", {i: Choice(f"node/{i}", {"up": nn.Identity(), "off": nn.ReLU()}) for i in range(4)}, pick=2)
    )
    harm = {0: 70.0, 1: 30.0, 2: 60.0, 3: 40.0}

    def evaluate(setting):
        kept = setting.get("node", (0, 1, 2, 3))
        missing = set(range(4)) - set(kept)
        return (harm[missing.pop()], 0.0) if missing else (0.0, 0.0)

    weights = {f"node/{i}": torch.tensor([0.5, 0.5]) for i in range(4)}
    arch, evidence = run(space, weights, evaluate)
    assert arch["node"] == (1, 3)
    assert [(row.option, row.kept) for row in evidence if row.decision == "node"] == [
        (0, False), (1, True), (2, False), (3, True),
    ]  # fmt: skip
    assert set(arch) == {"node", "node/1", "node/3"}  # what hangs on a dropped edge is not answered


# events


def test_event_counts_of_the_darts_space():
    space, told, evidence, arch = events("darts", none=False)
    assert len(told) == 16  # 17 events a cell type, tuning between them
    assert {row.event for row in evidence} == set(range(17))
    assert len(evidence) == masks(space) == 2 * (14 * 7 + 3 + 4 + 5)
    decisions = order(evidence)
    for kind in ("normal", "reduce"):
        mine = [decision for _, decision in decisions if decision.startswith(kind)]
        assert [event for event, decision in decisions if decision.startswith(kind)] == list(range(17))
        assert sorted(mine[:14]) == sorted(f"{kind}/{n}/{s}" for n in (2, 3, 4, 5) for s in range(n))  # each edge once
        assert sorted(mine[14:]) == [f"{kind}/3", f"{kind}/4", f"{kind}/5"]  # nodes only after all of them
        assert all(len(arch[f"{kind}/{node}"]) == 2 for node in (2, 3, 4, 5))
    for (_, normal), (_, reduce) in zip(decisions[::2], decisions[1::2], strict=True):
        assert normal.startswith("normal")
        assert reduce.startswith("reduce")


def test_none_is_never_masked_where_it_cannot_be_selected():
    _, _, evidence, arch = events("darts")
    assert "none" not in {row.option for row in evidence} | set(arch.values())
    assert len(evidence) == 2 * (14 * 7 + 3 + 4 + 5)


def test_event_counts_of_nas_bench_201():
    space, told, evidence, arch = events("nas_bench_201")
    assert [event for event, _ in order(evidence)] == list(range(6))
    assert sorted(decision for _, decision in order(evidence)) == sorted(space.decisions)
    assert (len(told), len(evidence), len(arch)) == (5, 30, 6)


def test_what_tuning_is_told_grows_and_never_changes():
    _, told, _, arch = events("darts", candidates="s2")
    for before, after in itertools.pairwise(told):
        assert before.items() < after.items()
    assert arch.items() <= {**told[-1], **arch}.items()
    assert all(arch[name] == value for name, value in told[-1].items() if name in arch)


def test_the_order_is_the_seeds():
    first, again, other = (order(events("darts", candidates="s2", seed=seed)[2]) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert sorted(name for _, name in first) == sorted(name for _, name in other)
    sources = [name.removeprefix("normal") for _, name in first if name.startswith("normal")]
    assert sources != [name.removeprefix("reduce") for _, name in first if name.startswith("reduce")]


def test_the_watch_hears_of_every_mask():
    space, heard = smooth(), []
    weights = {"a": torch.full((3,), 1 / 3), "b": torch.full((3,), 1 / 3)}
    run(space, weights, lambda setting: (0.0, 0.0), watch=heard.append)
    assert sum(heard) == masks(space)


# from a real supernet


@pytest.mark.parametrize("name", ["darts", "nas_bench_201"])
def test_the_child_is_the_projected_supernet(name):
    space, batches = cells(name, **({"candidates": "s2"} if name == "darts" else {})), [images(4, s) for s in (1, 2)]
    logits = logits_of(space)
    last: dict[str, object] = {}
    recipe = Recipe(1, 0.05, weight_decay=1e-3, logits_lr=0.01)
    tune = tuned(space, logits, cross_entropy(space), batches[:1], batches[1:], recipe)

    def tune_and_tell(decided):
        tune(decided)
        last.update(decided)

    def weights():
        return {name: vector.detach() for name, vector in softmax(logits).items()}

    arch, evidence = perturbation(
        space, weights, evaluate=judge(space, batches[:1]), tune=tune_and_tell, rng=random.Random(0)
    )
    kept = {row.decision: [r.option for r in evidence if r.decision == row.decision and r.kept] for row in evidence}
    for decision, value in arch.items():
        if decision in kept:
            assert kept[decision] == (list(value) if isinstance(value, tuple) else [value])
    x = batches[0][0]
    projected = {**last, **arch}  # decisions that no node kept too
    for mode in (False, True):
        space.train(mode)
        before = snapshot(space)
        child = space.derive(arch)
        assert torch.equal(space(x, projected), child(x))
        space.load_state_dict(before)


def test_projected_logits_stand_still_and_open_ones_move():
    space, logits = smooth(), None
    logits = logits_of(space)
    before = snapshot(logits)
    recipe = Recipe(2, 0.1, weight_decay=0.1, logits_lr=0.1, logits_weight_decay=0.5)
    objective = lambda batch, setting: nn.functional.cross_entropy(space(batch[0], setting), batch[1])  # noqa: E731
    tune = tuned(space, logits, objective, [points(8, 1)], [points(8, 2)], recipe)
    tune({})
    assert sorted(changed(logits, before)) == ["a", "b"]
    before, weights = snapshot(logits), snapshot(space)
    tune({"a": "tanh"})
    assert changed(logits, before) == ["b"]  # no decay, no momentum of Adam
    moved = changed(space, weights)
    assert not [name for name in moved if "model.2.candidates.norm" in name]  # nor of what is out of the mixture
    assert [name for name in moved if "model.2.candidates.tanh" in name]
    before = snapshot(logits)
    tune({"a": "tanh", "b": "skip"})
    assert not changed(logits, before)


@pytest.mark.parametrize("none", ["never", "masked"])
def test_none_may_win_an_edge_of_s3_where_it_is_masked_too(none):
    """Wang et al. 2021, public code: the projection on S3 takes `none` as any other; the parser cannot write it."""
    with torch.device("meta"):
        space = cells("darts", candidates="s3")
    weights = {d.name: torch.full((3,), 1 / 3) for d in space.decisions.values() if d.pick == 1}
    told = []

    def evaluate(setting):
        """Without `none` on normal/2/0 nothing is right; everywhere else sep_conv_3x3 is what is missed."""
        here = setting["normal/2/0"]
        if isinstance(here, Tensor) and not float(here[0]):
            return 0.0, 9.0
        return 90.0 - sum(isinstance(w, Tensor) and not float(w[2]) for w in setting.values()), 1.0

    arch, evidence = run(space, weights, evaluate, tune=lambda decided: told.append(dict(decided)), none=none)
    space.check(arch)
    assert len(evidence) == masks(space, none)
    assert masks(space, "masked") == masks(space) + 28
    projected = told[-1]["normal/2/0"]
    assert projected == ("none" if none == "masked" else "sep_conv_3x3")
    assert arch["normal/2/0"] == "sep_conv_3x3"
    assert {value for name, value in told[-1].items() if name.count("/") == 2} == {"sep_conv_3x3", projected}


def further(space: Space, objective, **more) -> Further:
    recipe = Recipe(1, 0.05, logits_lr=0.1, logits_weight_decay=0.0)
    return Further(recipe, lambda draws: decided_softmax(space, objective, draws), **more)


def selected(logits_too: bool = True, **options):
    """Weights and logits before and after `perturbation` of a bench, and what it chose."""
    space = cells()
    _, labels = images(12)
    pixels = torch.randint(256, (12, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    judged = image_split(pixels, labels, tuple(map(str, range(CLASSES))))
    logits, objective = logits_of(space), cross_entropy(space)
    shown = {"train": Loader([images(8, 0)]), "valid": Loader([images(8, 1)]), "logits": logits, "batch": 8}
    goes_on = further(space, objective, **({} if logits_too else {"remembered": False}))
    bench = Bench(space, 0, objective=objective, judged=judged, further=goes_on, **shown)
    before = snapshot(space), snapshot(logits)
    found = by_perturbation(bench, **options)
    return bool(changed(space, before[0])), bool(changed(logits, before[1])), found


def test_between_decisions_the_search_goes_on_unless_told_not_to():
    *moved, (arch, rows) = selected(tune_epochs=1, tune_lr=0.01)
    assert moved == [True, True]
    assert {row["decision"] for row in rows} == set(arch)
    assert selected(tune_epochs=0)[:2] == (False, False)


def test_nothing_trains_on_without_what_adam_remembers():
    with pytest.raises(Refused, match=r"set select\.perturbation\.tune_epochs to 0"):
        selected(False, tune_epochs=1)
    assert selected(False, tune_epochs=0)[:2] == (False, False)


def test_a_plan_counts_every_mask_and_the_steps_between_events():
    """Six edges of one cell type are an event each; of darts, each event decides an edge of both types."""
    costs = Costs(cells(), 10, 20, 5, 7.0, lambda: 0.25, lambda: pytest.fail("no child is judged"))
    assert expected(costs, tune_epochs=3) == 6 * 5 * 10 * 0.25 + 6 * 3 * 5 * 7.0
    assert expected(costs, tune_epochs=0) == 6 * 5 * 10 * 0.25
    darts = replace(costs, space=cells("darts"))
    assert (
        expected(darts) - expected(darts, tune_epochs=0) == (14 + 3) * 2 * 5 * 7.0
    )  # edges, then nodes that drop some

"""Every method, left after any step and begun again in fresh objects, ends in the bytes it would have ended in."""

import random

import pytest
import torch
from torch import nn

from tests.judging import accuracy_and_loss, cross_entropy
from tests.search.planted import bench_of, split_options
from tests.splits import image_split
from winnow.config.methods import strategy
from winnow.core.decision import Number
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.data.inputs.images import Augment, Images
from winnow.data.loaders import Batches
from winnow.holes.depth import Depth
from winnow.holes.elastic import Linear
from winnow.search import collapse
from winnow.search.bench import Bench
from winnow.search.collapse import CollapseWatch
from winnow.search.methods import STRATEGIES
from winnow.search.recipe import Recipe
from winnow.search.relax import Logits, softmax
from winnow.search.selections.perturbation import perturbation, resume_mixture
from winnow.search.strategy import CHILDREN, INITIALISED, TRIALS
from winnow.train import checkpoint
from winnow.train.checkpoint import Keeper
from winnow.train.evaluate import batch_statistics
from winnow.train.packing import from_bytes, to_bytes
from winnow.train.seeds import generator, seeded
from winnow.train.watch import Watch

TRAINED = [name for name in STRATEGIES if not {TRIALS, INITIALISED} & strategy(name).leaves]
PUBLISHED = {
    "spos": {"lr": 0.5, "lr_min": 0.0, "weight_decay": 4e-5},
    "subset": {"logits_weight_decay": 0.0},
}
OPTIONS = {
    "darts": {"order": "second"},
    "sdarts": {"noise": "adversarial"},
    "pc_darts": {"warmup": 1},
    "sgas": {"epochs": 5, "warmup": 1, "interval": 2, "criterion": 2, "operation": "perturbation", "batch_growth": 3},
    "unas": {"warmup": 1},
    "subset": {"weights": "resampled", "draws": 2},
    "ofa": {"epochs": 5},  # four phases
    "cream": {"rows": 2, "lessons": 3, "size": 2},
    "abs": {"first": 1, "later": 1, "until": 2, "drop": 1, "children": 5, "refresh": 1},
    "neas": {"first": 1, "later": 1, "until": 2, "drop": 1, "contexts": 1, "batches": 1},
    "nse": {"samples": 3, "target": 120.0, "band": [100.0, 140.0], "warmup": 0},  # two rounds
}


@pytest.fixture(autouse=True)
def _at_every_step(monkeypatch):
    monkeypatch.setattr(checkpoint, "MOST", float("inf"))


class Curve(Watch):
    def __init__(self):
        self.rows: list = []

    def epoch(self, epoch, metrics, weights=None):
        self.rows.append([epoch, dict(metrics), {name: v.tolist() for name, v in (weights or {}).items()}])

    def state(self):
        return {"rows": self.rows}

    def restore(self, state):
        self.rows = state["rows"]


def small_space() -> Space:
    def candidates():
        return {
            "none": nn.Threshold(0, 0),
            "linear": nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6)),
            "skip": nn.Identity(),
        }

    with seeded(3):
        layers = [nn.Flatten(), nn.Linear(16, 6), Choice("a", candidates()), nn.Dropout(0.3), Choice("b", candidates())]
        return Space(nn.Sequential(*layers, nn.Linear(6, 3)))


def elastic_space() -> Space:
    width = Number.open("b/width", (2, 4, 6))
    with seeded(3):
        body = Depth("b/depth", [nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6)) for _ in range(2)], (1, 2))
        layers = [nn.Flatten(), Linear(16, width), nn.ReLU(), nn.Dropout(0.3), Linear(width, 6), body, nn.Linear(6, 3)]
        return Space(nn.Sequential(*layers))


def batches(name: str) -> Batches:
    draws = generator(0, "images", name)
    pixels = torch.randint(256, (33, 1, 4, 4), generator=draws, dtype=torch.uint8)
    labels = torch.randint(3, (33,), generator=draws)
    split = image_split(pixels, labels, name=name, digest=name)
    augment = Images(split.facts, Augment(1, True))
    return Batches(split, 8 if name == "weights" else 7, generator=generator(1, name), augment=augment)


def searched(method, keeper: Keeper, on_alarm: str = "warn", **options) -> tuple:
    space, curve = elastic_space() if method == "ofa" else small_space(), Curve()
    objective, valid = cross_entropy(space), batches("arch")
    found = strategy(method)
    held = next(iter(valid))
    watch = curve if found.leaves == {CHILDREN} else CollapseWatch(curve, space, objective, held, on_alarm=on_alarm)
    recipe, own = split_options({**PUBLISHED.get(method, {}), **options})
    with seeded(7):
        bench = bench_of(space, batches("weights"), valid, seed=5, watch=watch, keeper=keeper)
        logits = found.run(bench, recipe, own).logits
        stream = torch.rand(1)
    return space.state_dict(), dict(logits or {}), curve.rows, stream


def selected(name: str, keeper: Keeper, **options) -> tuple:
    """DARTS-PT with tuning between its decisions."""
    space = small_space()
    logits, objective = Logits(space, generator(2, "logits")), cross_entropy(space)
    judged = list(batches("judged"))

    def evaluate(setting):
        space.eval()
        with batch_statistics(space), seeded(1):
            return accuracy_and_loss(lambda x: space(x, setting), judged)

    with seeded(7):
        draws = generator(4, "tuning")
        keeper.add(draws=draws)
        bench = Bench(
            space, 0, objective=objective, train=batches("weights"), valid=batches("arch"), logits=logits, keeper=keeper
        )
        recipe = Recipe(epochs=2, lr=0.05, weight_decay=1e-3, logits_lr=0.1)
        tune = resume_mixture(bench, strategy(name).between(space, objective, draws), recipe)
        weights = lambda: {name: v.detach() for name, v in softmax(logits).items()}  # noqa: E731
        arch, evidence = perturbation(
            space, weights, evaluate=evaluate, tune=tune, rng=random.Random(1), keeper=keeper, **options
        )
    return space.state_dict(), dict(logits), [dict(arch), evidence], torch.zeros(1)


def same(one: tuple, other: tuple) -> bool:
    tensors = all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        for a, b in zip(one[:2], other[:2], strict=True)
    )
    return tensors and repr(one[2]) == repr(other[2]) and torch.equal(one[3], other[3])


def check(run, points: int) -> None:
    """`run(keeper)`, gone on with from some of the states that it kept, the first and the last among them."""
    kept: list[bytes] = []
    whole = run(Keeper(lambda state: kept.append(to_bytes(state))))
    assert same(whole, run(Keeper())), "keeping changes nothing"
    chosen = {0, len(kept) - 1, *random.Random(0).sample(range(len(kept)), points)}
    for number in sorted(chosen):
        assert same(whole, run(Keeper(found=from_bytes(kept[number])))), f"left at {number} of {len(kept)}"


@pytest.mark.parametrize("name", TRAINED)
def test_a_search_goes_on_from_any_step(name):
    options = {"epochs": 3, **OPTIONS.get(name, {})}
    check(lambda keeper: searched(name, keeper, **options), 4)


def test_one_that_judges_between_its_trainings_goes_on_from_there():
    """While networks are judged no loop over batches runs, and the order of the next ones must be kept all the same."""
    kept: list[bytes] = []
    whole = searched("nse", Keeper(lambda state: kept.append(to_bytes(state))), epochs=2, **OPTIONS["nse"])
    judging = [state for state in kept if not from_bytes(state)["levels"][-1]["label"]]
    for state in (judging[0], judging[1]):
        assert same(whole, searched("nse", Keeper(found=from_bytes(state)), epochs=2, **OPTIONS["nse"]))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("darts", {"optimiser": "adamw", "schedule": "linear", "clip": None}),
        ("gdas", {"nesterov": True}),
        ("spos", {"optimiser": "adam", "schedule": "cosine"}),
        ("spos", {"balanced": (114.0, 190.0), "bins": 2}),
    ],
)
def test_so_does_one_by_another_recipe(name, options):
    check(lambda keeper: searched(name, keeper, epochs=2, **options), 3)


def test_so_does_one_that_goes_back_to_earlier_logits(monkeypatch):
    """An alarm after twelve measurements, in epoch 22, ends it with the logits of epoch 10, wherever it was left."""
    monkeypatch.setattr(collapse, "sharpening", lambda measured: 2.0 if len(measured) == 12 else None)
    kept: list[bytes] = []
    whole = searched("darts", Keeper(lambda state: kept.append(to_bytes(state))), "rollback", epochs=40)
    _, logits, rows, _ = whole
    assert [row[0] for row in rows] == list(range(23))
    for name, vector in logits.items():
        assert vector.softmax(0).tolist() == rows[10][2][name]
        assert vector.softmax(0).tolist() != rows[22][2][name]
    for number in (0, 60, len(kept) - 1):
        assert same(whole, searched("darts", Keeper(found=from_bytes(kept[number])), "rollback", epochs=40))


@pytest.mark.parametrize(("strategy", "criterion"), [("darts", "accuracy"), ("sdarts", "loss"), ("blank", "magnitude")])
def test_a_selection_goes_on_from_any_step(strategy, criterion):
    check(lambda keeper: selected(strategy, keeper, criterion=criterion), 6)

"""config.methods: a selection on a supernet either runs from end to end or is refused with what would work."""

import itertools
import random
from dataclasses import dataclass

import pytest
import torch

from tests.judging import accuracy_and_loss, cross_entropy
from tests.search.planted import bench_of, split_options
from tests.search.toys import CLASSES, Loader, cells, images
from tests.splits import image_split
from winnow.config.methods import objection, selection, strategy, unlimited
from winnow.core.choosers import distinct
from winnow.core.space import Space
from winnow.search.bench import Bench
from winnow.search.evolve import evolution
from winnow.search.methods import STRATEGIES
from winnow.search.recipe import Recipe
from winnow.search.relax import softmax
from winnow.search.selections import SELECTIONS, annealing, exact, finalists, shortlist
from winnow.search.selections.likeliest import likeliest
from winnow.search.selections.magnitude import magnitude
from winnow.search.selections.perturbation import perturbation, resume_mixture
from winnow.search.selections.threshold import threshold
from winnow.search.strategy import decided_softmax
from winnow.train.evaluate import batch_statistics, calibrate
from winnow.train.seeds import generator

TRAIN, VALID, JUDGED = (Loader([images(8, seed)]) for seed in range(3))
PIXELS = torch.randint(256, (8, 1, 8, 8), generator=generator(0)).to(torch.uint8)
ROWS = image_split(PIXELS, images(8, 2)[1], [str(i) for i in range(CLASSES)])
OFFERS = {name: strategy(name).leaves for name in STRATEGIES}
KEEP_LIMITS = [name for name in SELECTIONS if selection(name).keeps_limits]
PAIRS = list(itertools.product(OFFERS, SELECTIONS))
SPACES = {"nas_bench_201": {}, "darts": {"candidates": "s2"}, "mobile": {}, "ofa": {}}


def by_magnitude(space, logits):
    return magnitude(space, softmax(logits))


def by_perturbation(space, logits):
    bench = Bench(space, 0, objective=cross_entropy(space), train=TRAIN, valid=VALID, logits=logits)
    tune = resume_mixture(bench, decided_softmax(space, bench.objective, generator(0)), Recipe(epochs=1, lr=0.01))

    def evaluate(setting):
        space.eval()
        with batch_statistics(space):
            return accuracy_and_loss(lambda x: space(x, setting), JUDGED)

    weights = lambda: {name: vector.detach() for name, vector in softmax(logits).items()}  # noqa: E731
    return perturbation(space, weights, evaluate=evaluate, tune=tune, rng=random.Random(0))[0]


def by_evolution(space, logits):
    def score(arch):
        return accuracy_and_loss(calibrate(space.derive(arch), TRAIN), JUDGED)[0]

    return evolution(space, score, rng=random.Random(0), population=3, generations=1)[0].architecture


def by_threshold(space, logits):
    return threshold(space, softmax(logits))


def by_likeliest(space, logits):
    return likeliest(space, softmax(logits), 2, random.Random(0))[0]


@dataclass(frozen=True)
class Judging(Bench):
    """A bench that judges children on the batches of these tests."""

    def child(self, arch):
        return calibrate(self.space.derive(arch), TRAIN)

    def score(self, arch):
        return accuracy_and_loss(self.child(arch), JUDGED)[0]


def by_finalists(space, logits):
    bench = Judging(space, 0, judged=ROWS, trained=lambda arch, *_: calibrate(space.derive(arch), TRAIN))
    return finalists.by_finalists(bench, count=2, population=3, generations=1)[0]


def by_annealing(space, logits):
    return annealing.by_annealing(Judging(space, 0), samples=6, runs=1, candidates=2, model="options")[0]


def by_optimum(space, logits):
    return exact.by_optimum(Judging(space, 0), samples=6, population=2, generations=1)[0]


def by_shortlist(space, logits):
    draws = random.Random(0)
    return shortlist.by_shortlist(Judging(space, 0, shortlist=tuple(distinct(space, draws, 3))))[0]


RUN = {
    "shortlist": by_shortlist,
    "magnitude": by_magnitude,
    "threshold": by_threshold,
    "likeliest": by_likeliest,
    "perturbation": by_perturbation,
    "evolution": by_evolution,
    "finalists": by_finalists,
    "annealing": by_annealing,
    "exact": by_optimum,
}
SHORT = {
    "sgas": {"epochs": 7, "warmup": 0, "interval": 1},
    "pc_darts": {"warmup": 0},
    "unas": {"warmup": 0},
    "ofa": {"epochs": 4},
    "cream": {"rows": 2, "start": 0},
    "abs": {"first": 1, "until": 9, "children": 9},
    "neas": {"first": 1, "until": 9, "contexts": 1, "batches": 1},
    "nse": {"rounds": [1], "samples": 3},
}
OF_SIZES = ("ofa",)  # what opens sizes, of which cells have none


def supernet(searched: str, name: str) -> tuple[Space, object]:
    space = cells(name, **SPACES[name])
    found = strategy(searched)
    recipe, own = split_options({"epochs": 1, "lr": 0.01} | SHORT.get(searched, {}))
    space = found.formed(space, {})
    return space, found.run(bench_of(space, TRAIN, VALID), recipe, own).logits


def test_every_selection_is_run_here_or_with_the_stages():
    assert set(SELECTIONS) == {*RUN, "best", "random", "prune"}


STAGES = ("trials", "econas", "training_free")  # tested with the stages
ON_BOTH = ("darts", "spos")  # of the others the large cell would show nothing that the small one does not


@pytest.mark.parametrize(
    ("name", "searched", "method"),
    [
        ("ofa" if pair[0] in OF_SIZES else "nas_bench_201", *pair)
        for pair in PAIRS
        if pair[0] not in STAGES and objection(*pair) is None
    ]
    + [("darts", *pair) for pair in PAIRS if objection(*pair) is None and pair[0] in ON_BOTH],
)
def test_a_pair_without_objection_runs(name, searched, method):
    space, logits = supernet(searched, name)
    arch = RUN[method](space, logits)
    space.check(arch)
    assert space.derive(arch).eval()(images(2)[0]).isfinite().all()


def test_what_runs_on_paths_runs_on_the_mobile_space():
    space, logits = supernet("spos", "mobile")
    space.check(by_evolution(space, logits))


@pytest.mark.parametrize(("searched", "method"), [pair for pair in PAIRS if objection(*pair) is not None])
def test_an_objection_names_what_works(searched, method):
    text = objection(searched, method)
    assert repr(method) in text
    assert repr(searched) in text
    remedy = text.split(": ")[1]
    assert "\n" not in text
    for word in remedy.replace("select with ", "").replace("search with ", "").replace(", or ", " or ").split(" or "):
        if word in SELECTIONS:
            assert objection(searched, word) is None
        else:
            assert objection(word, method) is None


def test_the_pairs_that_mean_nothing_are_these():
    apart = {
        "trials",
        "econas",
        "best",
        "training_free",
        "random",
        "prune",
    }  # they have stages of their own to be tested in
    refused = {pair for pair in PAIRS if objection(*pair) is not None and apart.isdisjoint(pair)}
    paths = ("spos", "fair", "sandwich", "ofa", "cream", "abs", "neas", "nse")
    untrained = {(s, m) for s in (*paths, "blank") for m in ("magnitude", "threshold", "likeliest")}
    decided = {("sgas", "perturbation"), ("sgas", "likeliest")}
    of_children = ("evolution", "finalists", "annealing", "exact")
    weightless = {("subset", m) for m in ("perturbation", "likeliest", *of_children)}
    unlisted = {(s, "shortlist") for s in OFFERS if s not in ("cream", "nse", *apart)}
    assert refused == untrained | decided | weightless | unlisted | {(s, "perturbation") for s in paths}


def test_what_is_tried_or_never_trained_is_selected_from_in_its_own_ways():
    for each in ("trials", "econas"):
        assert [method for method in SELECTIONS if objection(each, method) is None] == ["best"]
    assert [method for method in SELECTIONS if objection("training_free", method) is None] == [
        "evolution",
        "finalists",
        "random",
        "prune",
    ]


def test_a_refused_pair_could_not_have_run():
    _, logits = supernet("spos", "nas_bench_201")
    assert logits is None


def test_a_limit_is_kept_or_refused_with_a_selection_that_keeps_it():
    for searched, method in [pair for pair in PAIRS if objection(*pair) is None]:
        text = unlimited(searched, method)
        assert (text is None) == (method in KEEP_LIMITS)
        if text is not None and "select with" in text:
            for word in text.split("select with ")[1].split(" or "):
                assert objection(searched, word) is unlimited(searched, word) is None
    without = {s for s in OFFERS if all(unlimited(s, m) for m in SELECTIONS if objection(s, m) is None)}
    assert without == {"subset"}, "whose supernet leaves nothing but logits"

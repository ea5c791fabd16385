"""search.methods: what every mixture method promises, on planted problems and against each other."""

import math
from dataclasses import replace

import pytest
import torch

from tests.search.planted import SEES, bench_of, data, planted, search, split_options
from tests.search.toys import Loader as Batched
from tests.search.toys import Recorded, cells, images, snapshot
from winnow.config.methods import strategy
from winnow.core.decision import Decision
from winnow.core.errors import Refused
from winnow.core.holes import Choice, Hole
from winnow.core.space import Space
from winnow.holes.partial import partial_channels
from winnow.search import bilevel as bilevel_module
from winnow.search.methods import STRATEGIES
from winnow.search.methods import beta_darts as beta_module
from winnow.search.methods import gdas as gdas_module
from winnow.search.methods import unas as unas_module
from winnow.search.objective import Learning
from winnow.search.recipe import Recipe
from winnow.search.relax import softmax
from winnow.search.selections.magnitude import magnitude
from winnow.search.strategy import CHILDREN, LOGITS, MIXTURE

METHODS = {name: strategy(name).search for name in STRATEGIES if {LOGITS, MIXTURE, CHILDREN} & strategy(name).leaves}
del METHODS["training_free"]

FAST = {  # shortened schedules; the rest as published
    "sgas": {"warmup": 3, "interval": 4},
    "pc_darts": {"warmup": 1},
    "gdas": {"temperature": 2.0},
    "unas": {"warmup": 2, "epochs": 25},
    "gumbel": {"epochs": 20},
    "subset": {"weights": "alternating", "strength": 0.02, "start": 0.1},
    "beta_darts": {"strength": 0.3},
}
MIXING = [name for name in METHODS if LOGITS in strategy(name).leaves]  # the others train children and have no logits
LEARNING = [name for name in MIXING if name != "blank"]


@pytest.mark.parametrize("name", LEARNING)
def test_the_planted_candidate_wins(name):
    space, logits, _ = search(METHODS[name], **FAST.get(name, {}))
    assert dict(magnitude(space, softmax(logits))) == {"e0": SEES, "e1": SEES}


@pytest.mark.parametrize("name", MIXING)
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(name):
    options = FAST.get(name, {}) | {"epochs": 9 if name == "sgas" else 3}
    runs = [search(METHODS[name], seed=seed, **options)[:2] for seed in (0, 0, 1)]
    (one, a), (two, b), (_, c) = runs
    assert all(torch.equal(one.state_dict()[key], two.state_dict()[key]) for key in one.state_dict())
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not all(torch.equal(a[key], c[key]) for key in a)


@pytest.mark.parametrize("name", MIXING)
@pytest.mark.parametrize("where", ["nas_bench_201", "darts"])
def test_every_method_takes_every_published_cell(name, where):
    options = {"epochs": 2}
    space = cells(where, **({"candidates": "s3"} if where == "darts" else {}))
    if name == "sgas":
        options = {"epochs": 10, "warmup": 0, "interval": 1}
    if name == "pc_darts":
        space, options = partial_channels(space, 4), {"epochs": 2, "warmup": 0}
    if name in ("unas", "subset"):
        options |= {"warmup": 0} if name == "unas" else {"draws": 1}
    train, valid, watch = Batched([images(8, 0)]), Batched([images(8, 1)]), Recorded()
    recipe, own = split_options(options)
    logits = METHODS[name](bench_of(space, train, valid, watch=watch), recipe, **own).logits
    assert all(vector.isfinite().all() for vector in logits.values())
    assert all({"train_loss", "valid_loss", "lr"} == set(row) for row in watch.epochs)
    space.check(magnitude(space, softmax(logits)))


@pytest.mark.parametrize("name", MIXING)
def test_sizes_that_cannot_be_mixed_are_refused(name):
    class Width(Hole):
        def kept(self, value):
            return []

        def forward(self, x):
            return x

    model = planted().model
    model.append(Width(Decision("width", (8, 16))))
    with pytest.raises(
        Refused, match=r"decision 'width' \(Width\) takes one of \(8, 16\) and no mixture.*spos"
    ) as told:
        search(METHODS[name], Space(model), epochs=1)
    assert "\n" not in str(told.value)


def test_the_blank_mixture_never_moves():
    _, logits, watch = search(METHODS["blank"], epochs=3)
    start = search(METHODS["blank"], epochs=1)[1]
    assert all(torch.equal(logits[name], start[name]) for name in logits)
    assert all(vector.abs().max() < 0.01 for vector in logits.values())
    assert watch.epochs[0]["valid_loss"] != watch.epochs[-1]["valid_loss"]


class Enough(Recorded):
    """Asks for an end after the second epoch."""

    def epoch(self, epoch, metrics, weights=None):
        super().epoch(epoch, metrics, weights)
        return epoch == 1


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sdarts", {"epsilon": 0.0, "epsilon_min": 0.0}),
        ("beta_darts", {"strength": 0.0, "flood": 0.0}),
        ("sgas", {"warmup": 4, "interval": 1}),  # before its first decision
    ],
)
def test_without_what_is_theirs_it_is_darts_to_the_bit(name, options):
    space, logits, _ = search(METHODS[name], watch=Enough(), **options)
    plain, of_darts, _ = search(METHODS["darts"], watch=Enough())
    assert all(torch.equal(logits[key], of_darts[key]) for key in logits)
    assert all(torch.equal(space.state_dict()[key], plain.state_dict()[key]) for key in space.state_dict())


def test_a_watch_may_end_the_search():
    assert len(search(METHODS["darts"], watch=Enough(), epochs=9)[2].epochs) == 2


def test_beta_decay_is_off_in_the_first_epoch_and_flattens_later():
    first = [search(METHODS[name], epochs=1)[1] for name in ("darts", "beta_darts")]
    assert all(torch.equal(first[0][key], first[1][key]) for key in first[0])
    spread = {}
    for strength in (0.0, 50.0):
        logits = search(METHODS["beta_darts"], strength=strength)[1]
        spread[strength] = max(float(weights.detach().std()) for weights in softmax(logits).values())
    assert spread[50.0] < 0.5 * spread[0.0]


@pytest.mark.parametrize(("ramp", "last"), [(None, 50 * 3 / 4), (100, 50 * 3 / 100)])
def test_the_ramp_of_beta_decay(ramp, last, monkeypatch):
    """Ye et al. 2022, public code: half the number of the epoch, in a search of any length."""
    used = []
    real = beta_module.beta_decay
    monkeypatch.setattr(
        beta_module, "beta_decay", lambda space, strength: used.append(strength) or real(space, strength)
    )
    search(METHODS["beta_darts"], epochs=4, ramp_epochs=ramp)
    assert used == pytest.approx([last * epoch / 3 for epoch in range(4)])


def test_gdas_differs_by_whose_gradient_it_takes():
    logits = {way: search(METHODS["gdas"], epochs=2, gradient=way)[1] for way in ("all", "drawn")}
    assert not torch.equal(logits["all"]["e0"], logits["drawn"]["e0"])


def test_flooding_keeps_the_training_loss_up():
    low, high = (search(METHODS["beta_darts"], strength=0.0, flood=b, epochs=20)[2].epochs for b in (0.0, 0.6))
    assert low[-1]["train_loss"] < 0.3
    assert 0.35 < high[-1]["train_loss"] < 0.9


def test_gdas_cools_in_a_line_from_its_first_epoch_to_its_last(monkeypatch):
    used = []
    real = gdas_module.sampled
    monkeypatch.setattr(
        gdas_module, "sampled", lambda space, t, *more, **own: used.append(t) or real(space, t, *more, **own)
    )
    search(METHODS["gdas"], epochs=4)
    assert used == pytest.approx([10.0, 6.7, 3.4, 0.1])


def test_the_cells_of_a_type_share_what_gdas_draws():
    space, drawn = cells(cells=2), []
    for number, cell in enumerate(m for m in space.modules() if type(m).__name__ == "Cell"):
        for edge in cell.edges:
            for option, candidate in edge.candidates.items():
                note = lambda *_, at=(edge.decision.name, option), to=number: drawn.append((to, at))  # noqa: E731
                candidate.register_forward_hook(note)
    space.board.plain = True
    METHODS["gdas"](bench_of(space, Batched([images(8)]), Batched([images(8, 1)])), Recipe(epochs=1))
    by_cell = [[at for to, at in drawn if to == number] for number in range(6)]
    assert len(by_cell[0]) == 2 * 6
    assert all(cell == by_cell[0] for cell in by_cell)


@pytest.mark.parametrize("draws", ["example", "batch"])
def test_unas_draws_for_each_row_or_for_the_batch(draws, monkeypatch):
    shapes = []
    real = unas_module.draw
    monkeypatch.setattr(unas_module, "draw", lambda *given, **own: shapes.append(real(*given, **own)) or shapes[-1])
    search(METHODS["unas"], epochs=1, warmup=0, draws=draws)
    assert {tuple(found.index["e0"].shape) for found in shapes} == {(24,) if draws == "example" else ()}


def test_the_weights_of_unas_see_the_relaxed_draws_of_its_logits(monkeypatch):
    """On the same training batch, and none of them asks for a gradient."""
    seen, drawn = [], []
    real = unas_module.draw
    monkeypatch.setattr(unas_module, "draw", lambda *given, **own: drawn.append(real(*given, **own)) or drawn[-1])
    space, train = planted(), data(seed=1)
    bench = bench_of(space, train, data(seed=2))
    told = bench.objective
    noted = Noting(told.space, told.criterion)
    vars(noted)["seen"] = seen
    METHODS["unas"](replace(bench, objective=noted), Recipe(epochs=1, lr=0.1), warmup=0)
    assert len(seen) == len(drawn) == 4
    for setting, found in zip(seen, drawn, strict=True):
        assert all(torch.equal(setting[name], found.relaxed[name]) for name in setting)
        assert not any(weights.requires_grad for weights in setting.values())


class Noting(Learning):
    """Notes the settings of steps of the weights in `seen`, a list of its own."""

    def __call__(self, batch, setting):
        self.seen.append(dict(setting))
        return super().__call__(batch, setting)


def test_the_rate_of_the_logits_of_unas_falls_to_three_tenths(monkeypatch):
    rates, made = [], []
    real = bilevel_module.adam
    monkeypatch.setattr(bilevel_module, "adam", lambda *given: made.append(real(*given)) or made[0])

    class Rates(Recorded):
        def epoch(self, *told, **more):
            rates.append(made[0].param_groups[0]["lr"])
            return super().epoch(*told, **more)

    search(METHODS["unas"], watch=Rates(), epochs=4, logits_lr=0.1)
    assert rates == pytest.approx([0.065 + 0.035 * math.cos(math.pi * epoch / 4) for epoch in range(4)])


def test_gdas_trains_only_what_it_draws():
    space = planted()
    computed = []
    for hole in space.holes:
        for option, candidate in hole.candidates.items():
            candidate.register_forward_hook(lambda *_, at=(hole.decision.name, option): computed.append(at))
    search(METHODS["gdas"], space, epochs=1)
    assert len(computed) == 4 * 2 * 2  # batches x steps x edges: one candidate each


def test_the_defaults_of_temperatures_and_noise_are_the_published_ones():
    def default(name):
        return {option: given for option, (_, given) in strategy(name).options().items()}

    assert default("sdarts") == {"noise": "random", "epsilon_min": 0.03, "epsilon": 0.3}
    assert default("beta_darts") == {"strength": 50.0, "ramp_epochs": None, "flood": 0.0}
    assert default("gdas") == {"temperature": 10.0, "temperature_min": 0.1, "gradient": "all"}
    assert default("pc_darts") == {"warmup": None, "share": 4}
    sgas = {"criterion": 1, "warmup": None, "interval": None, "history": 4, "batch_growth": 8}
    assert default("sgas") == {**sgas, "operation": "magnitude"}
    unas = default("unas")
    assert (unas["temperature"], unas["gap"], unas["reward_weight"]) == (0.4, 0.5, 0.1)
    assert (unas["draws"], unas["softening"], unas["twice"], unas["logits_fall"]) == ("example", 0.0, 0.2, 0.3)


@pytest.mark.parametrize(
    ("name", "published", "options"),
    [("sgas", 50, {"warmup": 9, "interval": 5}), ("pc_darts", 50, {"warmup": 15}), ("unas", 100, {"warmup": 15})],
)
def test_what_is_left_open_is_the_published_schedule(name, published, options):
    watch = [Recorded(), Recorded()]
    space = [planted(), planted()]
    for each, told, given in zip(space, watch, ({}, options), strict=True):
        search(METHODS[name], each, watch=told, epochs=published, **given)
    assert watch[0].epochs == watch[1].epochs


@pytest.mark.parametrize("name", ["gdas", "gumbel", "unas", "subset"])
def test_a_temperature_of_zero_is_refused(name):
    key = "cold" if name == "subset" else "temperature"
    with pytest.raises(Refused, match="a temperature is a number above zero, not 0"):
        search(METHODS[name], epochs=1, **{key: 0.0})


def test_setn_trains_uniform_paths_and_its_evaluator_no_weights():
    space = planted()
    before = snapshot(space)
    _, logits, _ = search(METHODS["setn"], space, epochs=1, lr=1e-12, lr_min=0.0, weight_decay=0.0)
    after = snapshot(space)
    assert all(torch.allclose(after[key], before[key], atol=1e-9) for key in before)
    assert max(float(vector.detach().abs().max()) for vector in logits.values()) > 0.05


def test_with_an_evaluator_that_rests_setn_draws_the_paths_of_spos():
    ours, theirs = planted(), planted()
    drawn: tuple[list, list] = ([], [])
    for space, calls in zip((ours, theirs), drawn, strict=True):
        for hole in space.holes:
            for option, candidate in hole.candidates.items():
                note = lambda *_, at=(hole.decision.name, option), to=calls: to.append(at)  # noqa: E731
                candidate.register_forward_hook(note)
    search(METHODS["setn"], ours, epochs=2)
    METHODS["spos"](bench_of(theirs, data(seed=1), []), Recipe(epochs=2, lr=0.1))
    paths = [drawn[0][i + 6 : i + 8] for i in range(0, len(drawn[0]), 8)]  # each after the six of a mixture
    assert [at for path in paths for at in path] == drawn[1]


def test_choices_are_what_mixes():
    assert Choice.mixes
    assert not Hole.mixes

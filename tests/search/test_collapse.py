"""search.collapse: signs that can be worked out by hand or from the full Hessian."""

import math

import pytest
import torch

from tests.search.toys import Recorded, cells, changed, images, logits_of, loss_of, snapshot
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search import collapse
from winnow.search.collapse import CollapseWatch, chance, entropy, heaviest, parameter_free
from winnow.search.curvature import centre, hessian, largest_eigenvalue, sharpening
from winnow.train.evaluate import batch_statistics


def test_what_has_no_parameters():
    assert parameter_free(cells()) == {"none", "skip_connect", "avg_pool_3x3"}
    free = parameter_free(cells("darts"))
    assert free == {"none", "max_pool_3x3", "avg_pool_3x3", "skip_connect"}  # strided skips have, the others not
    assert parameter_free(cells("darts", candidates="s4")) == {"noise"}


def spectrum(name: str, scale: float, **options):
    """A space with ReLUs, a batch, logits and the eigenvalues of the exact Hessian over them, by the plain sums."""
    space, batch = cells(name, **options).double(), (images(16)[0].double(), images(16)[1])
    logits = {name: vector.detach() for name, vector in logits_of(space, scale).items()}
    sizes = [len(vector) for vector in logits.values()]

    def loss(flat):
        setting = {name: part.softmax(0) for name, part in zip(logits, flat.split(sizes), strict=True)}
        with batch_statistics(space):
            return loss_of(space)(batch, setting)

    at = torch.cat(list(logits.values()))
    space.board.plain = True
    matrix = torch.autograd.functional.hessian(loss, at)
    space.board.plain = False
    return space, batch, logits, matrix, lambda x: torch.autograd.functional.jacobian(loss, x)


@pytest.fixture(scope="module")
def with_kinks():
    return spectrum("nas_bench_201", 0.5)


def test_products_are_those_of_the_exact_hessian_through_our_own_functions(with_kinks):
    space, batch, logits, matrix, _ = with_kinks
    v = torch.randn(len(matrix), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before = snapshot(space)
    with hessian(space, loss_of(space), batch, logits) as product:
        torch.testing.assert_close(product(v), matrix @ v, rtol=1e-10, atol=1e-13)
    assert not changed(space, before)
    assert all(p.requires_grad and p.grad is None for p in space.parameters())


def test_the_eigenvalue_is_the_largest_of_the_exact_hessian_of_a_network_with_relus(with_kinks):
    """Zela et al. 2020 measure it exactly. A difference of gradients finds kinks in its place: here it must be off."""
    space, batch, logits, matrix, gradient = with_kinks
    largest = float(torch.linalg.eigvalsh(matrix)[-1])
    with hessian(space, loss_of(space), batch, logits) as product:
        found = largest_eigenvalue(product, len(matrix))
    assert found == pytest.approx(largest, rel=0.02)
    at = torch.cat(list(logits.values()))
    v = torch.linalg.eigh(matrix)[1][:, -1]
    difference = float(v @ (gradient(at + 0.01 * v) - gradient(at - 0.01 * v))) / 0.02
    assert abs(difference - largest) > 0.5 * largest


@pytest.mark.parametrize("values", [(-5.0, 1.0, 0.5), (-3.0, -2.0, -1.0), (4.0, -4.5, 0.0), (0.0, 0.0, 0.0)])
def test_the_largest_is_not_the_largest_in_size(values):
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64))[0]
    matrix = turn @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ turn.T
    assert largest_eigenvalue(lambda v: matrix @ v, 3) == pytest.approx(max(values), abs=1e-9)


def test_lanczos_finds_the_end_of_a_long_spectrum_in_few_products():
    values = torch.cat([torch.linspace(-1, 0.5, 223, dtype=torch.float64), torch.tensor([0.8], dtype=torch.float64)])
    asked = []
    found = largest_eigenvalue(lambda v: asked.append(1) or values * v, 224)
    assert found == pytest.approx(0.8, rel=0.02)
    assert len(asked) <= 40
    assert math.isnan(largest_eigenvalue(lambda v: v * math.nan, 3))


@pytest.mark.parametrize(
    ("count", "probabilities", "expected"),
    [(6, [0.6] * 6, 0.6**6), (0, [0.3, 0.2], 1.0), (1, [0.3, 0.2], 1 - 0.7 * 0.8), (5, [0.6] * 6, 0.6**6 * 5)],
)
def test_chances_of_counts(count, probabilities, expected):
    assert chance(count, probabilities) == pytest.approx(expected)


def test_entropy_is_a_share_of_the_largest():
    mixtures = {"a": torch.full((5,), 0.2), "b": torch.tensor([1.0, 0.0])}
    assert entropy(mixtures) == pytest.approx(0.5)
    assert entropy({**mixtures, "decided": torch.ones(1)}) == pytest.approx(0.5)


def test_what_an_architecture_may_not_hold_is_never_heaviest():
    d = cells("darts").decisions["normal/2/0"]
    weights = torch.zeros(8)
    weights[0], weights[3] = 0.7, 0.3
    assert heaviest(d, weights) == "skip_connect"


def test_the_published_rule_of_early_stopping():
    """Zela et al. 2020, public code: measured at epochs 0, 2, ...; means of five, the earlier one four measurements
    back and centred at epoch 10 or later; stop above 1.3."""
    flat = [1.0] * 40
    assert sharpening(flat[:11]) is None  # the earlier mean is centred at epoch 8
    assert centre(12) == 10
    assert sharpening(flat[:12]) == pytest.approx(1.0)
    rising = [1.0] * 8 + [1.0 + 0.2 * i for i in range(5)]
    assert sharpening(rising) == pytest.approx(((1.0 + 1.2 + 1.4 + 1.6 + 1.8) / 5) / 1.0)
    assert sharpening([-1.0] * 20) is None


@pytest.mark.parametrize("on_alarm", ["warn", "stop", "rollback"])
def test_a_search_that_stops_for_its_curvature_ends_with_the_logits_of_the_earlier_centre(on_alarm, monkeypatch):
    """1 until epoch 18 and then 2: the mean grows to 1.4 by epoch 22; the earlier window is centred at epoch 10."""
    space, inner, told = cells(), Recorded(), iter([1.0] * 10 + [2.0] * 10)
    monkeypatch.setattr(collapse, "largest_eigenvalue", lambda product, size: next(told))
    watch, stop = CollapseWatch(inner, space, loss_of(space), images(8), on_alarm=on_alarm), on_alarm != "warn"
    logits = logits_of(space, 0.01)
    watch.follow(logits)
    seen, ended = [], False
    for epoch in range(30):
        logits["1<-0"].data[3] = 1.0 + epoch / 100  # convolutions lead: no alarm of that kind
        seen.append(snapshot(logits))
        setting = {n: torch.eye(5)[3] * 0.8 + 0.04 for n in space.decisions} | {
            "1<-0": logits["1<-0"].detach().softmax(0)
        }
        ended = watch.epoch(epoch, {}, setting)
        if ended or watch.alarm:
            break
    assert epoch == 22
    assert watch.since == 22
    assert bool(ended) is stop
    assert watch.alarm.startswith("the largest eigenvalue of the validation loss grew by 1.4 times in 8 epochs")
    assert ("so that the logits are those of epoch 10 again" in watch.alarm) is stop
    assert not changed(logits, seen[10 if stop else 22])
    assert [row["eigenvalue"] for row in inner.epochs] == [1.0] * 20 + [2.0] * 3  # epochs between tell the last again


class Attention(torch.nn.Module):
    def __init__(self, quick: bool = False):
        super().__init__()
        self.quick = quick

    def forward(self, x):
        if self.quick:  # whatever is asked for: a kernel without a second derivative
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(x, x, x)[0]
        return torch.nn.functional.scaled_dot_product_attention(x, x, x)


def attentive(quick: bool):
    options = {"attention": Attention(quick), "skip": torch.nn.Identity()}
    before = Choice("before", {"tanh": torch.nn.Tanh(), "skip": torch.nn.Identity()})
    layers = [before, Choice("a", options), torch.nn.Flatten(), torch.nn.Linear(24, 3)]
    space = Space(torch.nn.Sequential(*layers))
    return space, (torch.randn(8, 2, 3, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3)


@pytest.mark.parametrize("quick", [False, True])
def test_what_cannot_be_differentiated_twice_is_told_and_the_other_signs_stay(quick):
    """PyTorch's quick kernels of attention have no second derivative; the watch asks for plain ones."""
    (space, batch), inner = attentive(quick), Recorded()
    watch = CollapseWatch(inner, space, loss_of(space), batch)
    for epoch in range(3):
        watch.epoch(epoch, {}, dict.fromkeys(("before", "a"), torch.tensor([0.4, 0.6])))
    signs = {"parameter_free", "entropy", "discretisation_gap"}
    assert all(set(row) == (signs if quick else signs | {"eigenvalue"}) for row in inner.epochs)
    assert watch.unmeasured.startswith("the network cannot be differentiated twice (derivative for") is quick


def watched(weights, *, on_alarm="warn"):
    space = cells()
    before = snapshot(space)
    inner = Recorded()
    watch = CollapseWatch(inner, space, loss_of(space), images(8), on_alarm=on_alarm)
    ended = watch.epoch(0, {"train_loss": 1.0}, weights(space))
    assert not changed(space, before)
    return watch, inner, ended


def all_on(option: str):
    def weights(space):
        row = torch.full((5,), 0.05)
        row[cells().decisions["1<-0"].options.index(option)] = 0.8
        return dict.fromkeys(space.decisions, row)

    return weights


@pytest.mark.parametrize(("on_alarm", "stop"), [("warn", False), ("stop", True), ("rollback", False)])
def test_a_mixture_of_skips_raises_the_alarm(on_alarm, stop):
    watch, inner, ended = watched(all_on("skip_connect"), on_alarm=on_alarm)
    assert watch.alarm.startswith("6 of the 6 heaviest operations have no parameters, as 4.7 % of random")
    assert bool(ended) is stop
    told = inner.epochs[0]
    assert told["parameter_free"] == 1
    assert set(told) == {"train_loss", "parameter_free", "entropy", "eigenvalue", "discretisation_gap"}
    assert all(math.isfinite(value) for value in told.values())


def test_a_mixture_of_convolutions_raises_none():
    watch, inner, ended = watched(all_on("nor_conv_3x3"), on_alarm="stop")
    assert watch.alarm == ""
    assert not ended
    assert inner.epochs[0]["parameter_free"] == 0


def test_the_gap_of_a_decided_mixture_is_nothing():
    def weights(space):
        return {n: torch.eye(5)[d.options.index("nor_conv_1x1")] for n, d in space.decisions.items()}

    _, inner, _ = watched(weights)
    assert inner.epochs[0]["discretisation_gap"] == pytest.approx(0, abs=1e-5)


def test_gates_and_paths_are_not_watched():
    for weights in (lambda space: dict.fromkeys(space.decisions, torch.ones(5)), lambda space: None):
        watch, inner, ended = watched(weights)
        assert inner.epochs == [{"train_loss": 1.0}]
        assert not ended
        assert watch.alarm == ""

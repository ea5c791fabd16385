"""Each proxy against numbers worked out by hand, and against another way to compute it."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from winnow.core.errors import Refused
from winnow.proxies import PROXIES, az_nas, common, jacobian, ntk, patterns
from winnow.proxies.live import live_modules, live_relus
from winnow.proxies.meco import smallest_eigenvalue
from winnow.proxies.synflow import absolute
from winnow.proxies.zico import from_gradients
from winnow.spaces.nas_bench_201 import from_string, nas_bench_201
from winnow.train.seeds import seeded

of = {name: proxy.score for name, proxy in PROXIES.items()}


def linear(*weights: list[list[float]]) -> nn.Sequential:
    layers = [nn.Linear(len(w[0]), len(w), bias=False) for w in weights]
    for layer, weight in zip(layers, weights, strict=True):
        layer.weight.data = torch.tensor(weight)
    return nn.Sequential(*layers)


def half_square(answer: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return ((answer - target) ** 2).mean() / 2


@pytest.mark.parametrize(
    ("name", "value"), [("grad_norm", 15), ("plain", 30), ("snip", 30), ("grasp", -270), ("fisher", 450)]
)
def test_gradient_scores_of_one_weight(name, value):  # y = 2 * 3, target 1: g = 5 * 3, H = 9
    batch = torch.tensor([[3.0]]), torch.tensor([[1.0]])
    options = {"generator": None, "init": None} if name == "plain" else {}
    assert of[name](linear([[2.0]]), batch, loss=half_square, **options) == pytest.approx(value)


def test_plain_has_weights_of_its_own():
    """Two networks that share their weights are two draws to `plain`; a network that stays itself keeps its score."""
    with seeded(0):
        model, x = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), torch.randn(8, 4)
    scaled = copy.deepcopy(model)
    for weight in scaled.parameters():
        weight.data *= 3
    draws = lambda: torch.Generator().manual_seed(1)  # noqa: E731
    batch = x, torch.arange(8) % 3
    assert of["plain"](model, batch, draws()) == of["plain"](scaled, batch, draws())
    assert of["plain"](model, batch, draws(), init=None) != of["plain"](scaled, batch, draws(), init=None)


@pytest.mark.parametrize("name", ["grad_norm", "snip", "fisher", "grasp", "plain", "zico", "grad_sign"])
def test_a_label_without_a_logit_is_a_sentence(name):
    batch = torch.randn(4, 2), torch.tensor([0, 1, 2, 1])
    with pytest.raises(Refused, match="the network has 2 logits, and the images have labels up to 2"):
        of[name](linear([[1.0, 2.0], [3.0, 4.0]]), batch, *[torch.Generator()] * PROXIES[name].draws)


def test_layers_are_summed_not_concatenated():
    batch = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0]])
    model = linear([[1.0, 1.0], [2.0, 0.0]], [[1.0, -1.0]])  # hidden (3, 2), y = 1: g of layer 1 is (1, 2; -1, -2)
    assert of["grad_norm"](model, batch, loss=half_square) == pytest.approx(math.sqrt(10) + math.sqrt(13))
    assert of["l2_norm"](model, batch) == pytest.approx(math.sqrt(6) + math.sqrt(2))


def test_synflow_is_conserved_from_layer_to_layer():
    model = linear([[1.0, -2.0], [3.0, 4.0]], [[5.0, -6.0]])  # R = 5 * 3 + 6 * 7 = 57, and 57 from each layer
    assert of["synflow"](model, (torch.zeros(1, 2), None)) == pytest.approx(math.log(114))


def test_synflow_of_a_deep_net_does_not_overflow():
    model = nn.Sequential(*[nn.Linear(10, 10) for _ in range(40)])
    for parameter in model.parameters():
        parameter.data.fill_(1e4)
    assert 400 < of["synflow"](model, (torch.zeros(1, 10), None)) < 500


def test_synflow_ignores_norms_wherever_they_are():
    model, bare = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU()), nn.Sequential(nn.Conv2d(1, 2, 1))
    bare[0].load_state_dict(model[0].state_dict())
    batch = torch.zeros(1, 1, 3, 3), None
    assert of["synflow"](model, batch) == pytest.approx(of["synflow"](bare, batch))


@pytest.mark.parametrize(
    ("correlation", "value"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], -2.0000),
        ([[1.0, 0.5], [0.5, 1.0]], -2.3790),
        ([[1.0, 1.0], [1.0, 1.0]], -99989.68),
        (np.eye(64).tolist(), -64.0000),
    ],
)
def test_jacobian_covariance(correlation, value):
    assert jacobian.from_correlation(torch.tensor(correlation).double()) == pytest.approx(value, rel=1e-4)


def test_jacobians_of_a_net_without_coupling():
    with seeded(0):
        model, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(5, 4)
    rows = [torch.autograd.functional.jacobian(lambda v: model(v).sum(), x[i]) for i in range(5)]
    values = np.linalg.eigvalsh(np.corrcoef(torch.stack(rows).double().numpy()))
    assert of["jacob_cov"](model, (x, None)) == pytest.approx(-np.sum(np.log(values + 1e-5) + 1 / (values + 1e-5)))


def test_epe_of_one_class():
    correlation = torch.tensor([[1.0, 0.5], [0.5, 1.0]]).double()
    assert abs(float(jacobian.from_class(correlation))) == pytest.approx(1.3862, rel=1e-4)


@pytest.mark.parametrize(("classes", "value"), [(100, 4.60500), (101, 0.91626)])
def test_epe_of_many_classes_leaves_single_images_out(classes, value):
    """By hand, after the authors' code. Correlations 0.5 and 0.2 in the classes of two images, nothing to correlate in
    the third: s = 2 ln 1.00001 + 2 ln 0.50001 = -1.38625 and 2 ln 0.20001 + 2e-5 = -3.21876, halved above 100 classes:
    (|a - b| + |b - a|) / 2 = 0.91626. Up to 100 classes the single image counts ln 1.00001."""
    rows = torch.randn(5, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = torch.linalg.qr(rows.T - rows.T.mean(0))[0].T  # uncorrelated, of mean 0
    rows[1] = 0.5 * rows[0] + math.sqrt(0.75) * rows[1]
    rows[3] = 0.2 * rows[2] + math.sqrt(0.96) * rows[3]
    y = torch.tensor([7, 7, 2, 2, 5])
    assert jacobian.epe_of(rows, classes, y) == pytest.approx(value, abs=1e-4)


def test_epe_needs_a_pair():
    with pytest.raises(Refused, match="one image only"):
        of["epe"](linear([[1.0, 2.0]]), (torch.randn(2, 2), torch.tensor([0, 1])))


def test_naswot_counts_what_images_switch_alike():
    model = nn.Sequential(linear([[1.0]])[0], nn.ReLU())
    model[0] = nn.Identity()
    x = torch.tensor([[1.0, -1.0, 1.0, -1.0], [1.0, -1.0, -1.0, 1.0]])  # K = [[4, 2], [2, 4]]
    assert of["naswot"](model, (x, None)) == pytest.approx(math.log(12))
    assert of["naswot"](model, (torch.stack([x[0], x[0]]), None)) == -common.WORST


def test_naswot_counts_functions_and_modules():
    class Both(nn.Module):
        def forward(self, x):
            return F.relu(x) + torch.relu(x - 0.5) + x.clone().relu_() + nn.ReLU()(x)

    x = torch.tensor([[1.0, -1.0, 1.0, -1.0], [1.0, -1.0, -1.0, 1.0]])
    assert live_relus(Both(), x) == [True] * 4
    assert of["naswot"](Both(), (x, None)) == pytest.approx(math.log(16**2 - 8**2))


def test_naswot_without_relus_is_refused():
    with pytest.raises(Refused, match="calls none"):
        of["naswot"](nn.Sequential(nn.Linear(2, 2), nn.GELU()), (torch.randn(3, 2), None))


def test_agreement_is_elements_less_hamming_distance_in_either_layout():
    x = torch.randn(6, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    codes = (x > 0).flatten(1)
    expected = torch.stack([(codes == row).sum(1) for row in codes]).double()
    assert torch.equal(patterns.agreement(x), expected)
    assert torch.equal(patterns.agreement(x.to(memory_format=torch.channels_last)), expected)


def test_linear_regions_are_distinct_codes():
    x = torch.tensor([[1.0, -1.0], [1.0, -1.0], [1.0, 1.0]]).view(3, 2, 1, 1)  # codes a, a, b
    assert of["linear_regions"](nn.ReLU(), (x, None), None, init=None) == 2


def test_ntk_of_two_rows():
    assert ntk.condition(torch.tensor([[1.0, 0.0], [0.0, 2.0]])) == pytest.approx(4)
    assert ntk.condition(torch.zeros(2, 2)) == ntk.UNKNOWN
    assert ntk.condition(torch.ones(2, 2)) > 1e6


def test_ntk_of_a_linear_net_is_that_of_its_images():
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    values = np.linalg.eigvalsh((x @ x.T).double().numpy())
    assert of["ntk_condition"](linear([[1.0] * 5]), (x, None), None, init=None) == pytest.approx(
        values[-1] / values[0], rel=1e-4
    )


def test_zico_of_two_weights():
    gradients = [[torch.tensor([1.0, -1.0])], [torch.tensor([3.0, 1.0])]]  # 2 / 1 and 1 / 1
    assert from_gradients(gradients) == pytest.approx(math.log(3))


def test_zico_leaves_out_what_does_not_vary():
    steady = torch.tensor([2.0, 2.0])
    gradients = [[torch.tensor([1.0, 5.0]), steady], [torch.tensor([3.0, 5.0]), steady]]
    assert from_gradients(gradients) == pytest.approx(math.log(2))
    assert from_gradients([[steady], [steady]]) == -common.WORST


def test_meco_of_equal_and_of_uncorrelated_channels():
    row = torch.tensor([1.0, -1.0, 2.0, 0.0])
    assert float(smallest_eigenvalue(torch.stack([row, row]))) == pytest.approx(0, abs=1e-9)
    assert float(smallest_eigenvalue(torch.tensor([[1.0, -1, 1, -1], [1, 1, -1, -1]]))) == pytest.approx(1)
    with_constant = torch.stack([row, torch.ones(4)])  # NaN becomes 0
    assert float(smallest_eigenvalue(with_constant)) == pytest.approx(0)


def test_meco_counts_containers():
    inner, x = nn.Conv2d(2, 3, 1), (torch.zeros(1, 2, 4, 4), None)
    alone, nested = (of["meco"](m, x, torch.Generator().manual_seed(0)) for m in (inner, nn.Sequential(inner)))
    assert nested == pytest.approx(2 * alone)


def test_grad_sign_counts_votes():
    model = linear([[1.0, 1.0]])
    batch = torch.tensor([[1.0, -1.0], [1.0, 1.0]]), torch.tensor([[-9.0], [-9.0]])  # signs (1, -1), (1, 1)
    assert of["grad_sign"](model, batch, loss=half_square) == 2


@pytest.mark.parametrize(
    ("eigenvalues", "value"), [((1, 1), 0.693147), ((1, 0), 0.0), ((1,) * 16, 2.772589), ((3, 1), 0.562335)]
)
def test_entropy_of_a_spectrum(eigenvalues, value):
    root = torch.diag(torch.tensor(eigenvalues, dtype=torch.float64).sqrt())
    rows = torch.cat([root, -root])  # covariance proportional to diag(eigenvalues)
    assert float(az_nas.entropy(rows)) == pytest.approx(value, abs=1e-6)


def test_spectral_term_is_symmetric_in_the_logarithm():
    values = az_nas.spectral_term(torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64))
    assert values.tolist() == pytest.approx([0, -0.5, -0.5], abs=1e-5)


class Doubling(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.inner, self.factor = nn.Identity(), factor

    def forward(self, x):
        return self.inner(x) * self.factor


def trainability_of(block: nn.Module) -> float:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), block, nn.Sequential(nn.ReLU()), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    features = az_nas.block_features(model, torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(0)))[:2]
    return float(az_nas.mean_trainability(features, az_nas.rademacher(features, torch.Generator().manual_seed(0))))


def test_trainability_of_an_identity_and_of_a_doubling():
    assert trainability_of(Doubling(1.0)) == -math.inf
    assert trainability_of(Doubling(2.0)) == pytest.approx(-0.5, abs=0.05)


def test_trainability_of_pooling_is_that_of_four_quarters():
    pooling = nn.Sequential(nn.AvgPool2d(2))
    sigma = 0.5  # every column of the unshuffled Jacobian has four entries of 1/4
    assert trainability_of(pooling) == pytest.approx(2 - sigma - 1 / sigma, abs=0.05)


def test_nas_bench_201_has_eighteen_features():
    with torch.device("meta"):
        space = nas_bench_201(cells=5)
    child = space.derive(space.decide(lambda d: "nor_conv_3x3"))
    with torch.no_grad():
        shapes = [f.shape[1:] for f in az_nas.block_features(child, torch.empty(2, 3, 32, 32, device="meta"))]
    assert shapes == [(16, 32, 32)] * 6 + [(32, 16, 16)] * 6 + [(64, 8, 8)] * 6


def test_published_sizes_of_nas_bench_201():
    with seeded(0):
        space = nas_bench_201(final=True)
    nor = space.derive(space.decide(lambda d: "nor_conv_3x3"))
    batch = torch.zeros(2, 3, 32, 32), None
    assert of["params"](nor, batch) == of["live_params"](nor, batch) == 1_531_546
    assert of["macs"](nor, batch) == of["complexity"](nor, batch) == 220_119_680
    assert of["l2_norm"](nor, batch) == pytest.approx(333.8, rel=0.01)
    assert of["synflow"](nor, batch) == pytest.approx(114.8, abs=0.3)


@pytest.mark.parametrize(
    ("cell", "logarithm"),
    [
        ("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|", 101.17),
        ("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|", 79.67),
    ],
)
def test_published_synflow_of_nas_bench_201(cell, logarithm):  # indices 6111 and 11472
    with seeded(1):
        child = nas_bench_201(final=True).derive(from_string(cell))
    assert of["synflow"](child, (torch.zeros(1, 3, 32, 32), None)) == pytest.approx(logarithm, abs=0.3)


def test_live_parts_of_a_dead_end():
    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.taken, self.left, self.unfed = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            F.relu(self.left(x))
            return F.relu(self.taken(x)) + F.relu(self.unfed(torch.zeros_like(x)))

    model = Forked()
    assert set(live_modules(model, torch.randn(2, 2))) == {model, model.taken}
    assert live_relus(model, torch.randn(2, 2)) == [False, True, False]
    assert of["live_params"](model, (torch.randn(2, 2), None)) == 6


def test_zen_of_a_linear_net():
    """Features move by 0.01 * w * x', and no BatchNorm adds anything."""
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.AdaptiveAvgPool2d(1))
    model[0].weight.data.fill_(3.0)
    stream = torch.Generator().manual_seed(0)
    torch.randn(2, 1, 4, 4, generator=stream)
    step = torch.randn(2, 1, 4, 4, generator=stream)
    expected = math.log(0.01 * 3 * float(step.abs().sum()) / 2)
    batch = torch.zeros(2, 1, 4, 4), None
    assert of["zen"](model, batch, torch.Generator().manual_seed(0), init=None) == pytest.approx(expected, rel=1e-4)


def test_zen_adds_what_a_norm_takes_away():
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1))
    batch, scores = (torch.zeros(4, 1, 4, 4), None), []
    for scale in (1.0, 7.0):
        model[0].weight.data.fill_(scale)
        scores.append(of["zen"](model, batch, torch.Generator().manual_seed(0), init=None))
    assert scores[1] - scores[0] == pytest.approx(math.log(7), abs=1e-3)


def test_absolute_networks_have_nothing_negative():
    model = absolute(common.working_copy(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))))
    assert all(bool((p >= 0).all()) and p.dtype == torch.float64 for p in model.parameters())

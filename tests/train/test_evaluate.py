"""train.evaluate: accuracy and loss by hand, and BatchNorm statistics that come, go and come back."""

import math

import pytest
import torch
from torch import Tensor, nn

from tests.judging import accuracy_and_loss
from winnow.train.evaluate import batch_statistics, calibrate, every_module


def normal(count: int, seed: int = 0, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    return shift + scale * torch.randn(count, 2, 3, 3, generator=torch.Generator().manual_seed(seed))


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(2, momentum=0.3),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(18, 4),
        nn.BatchNorm1d(4, affine=False),
    )


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_accuracy_and_loss_by_hand():
    scores = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 3.5], [0.0, 0.0], [1.0, -1.0]])
    labels = torch.tensor([0, 1, 0, 1, 0])
    accuracy, loss = accuracy_and_loss(
        lambda x: scores[x], [(torch.tensor([0, 1, 2]), labels[:3]), (torch.tensor([3, 4]), labels[3:])]
    )
    terms = [math.log1p(math.exp(-gap)) for gap in (2.0, 1.0, -0.5, 0.0, 2.0)]
    assert accuracy == pytest.approx(60.0)  # the third is wrong, and the tie goes to the first class
    assert loss == pytest.approx(sum(terms) / 5)  # over images: the last, smaller batch counts for less


def test_scores_in_bf16_are_added_up_in_full():
    scores = torch.zeros(1, 2, dtype=torch.bfloat16)
    batches = [(torch.zeros(1000, dtype=torch.long), torch.zeros(1000, dtype=torch.long))] * 3
    assert accuracy_and_loss(lambda x: scores[x], batches) == pytest.approx((100.0, math.log(2)), rel=1e-6)


def test_accuracy_asks_for_no_gradient():
    layer = nn.Linear(2, 2)
    seen = []

    def predict(x: Tensor) -> Tensor:
        y = layer(x)
        seen.append(y.requires_grad)
        return y

    accuracy_and_loss(predict, [(torch.zeros(2, 2), torch.zeros(2, dtype=torch.long))])
    assert seen == [False]


@pytest.mark.parametrize("training", [True, False])
def test_batch_statistics_normalise_by_the_batch_and_leave_no_trace(training):
    model = network().train(training)
    frozen = model[4].eval()
    model.requires_grad_(False)
    before, x = state(model), normal(8, scale=5.0, shift=3.0)
    with batch_statistics(model):
        y = model[0](x)
        assert torch.allclose(y.mean((0, 2, 3)), torch.zeros(2), atol=1e-5)
        model(x)
        assert model[1].training is training  # dropout is not its business
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert (model[0].training, model[0].track_running_stats, frozen.training) == (training, True, False)


def test_batch_statistics_nest_and_survive_an_error():
    model = network()
    with batch_statistics(model):
        with batch_statistics(model):
            pass
        assert not model[0].track_running_stats
    with pytest.raises(ZeroDivisionError), batch_statistics(model):
        model(1 / 0)
    assert model[0].track_running_stats
    assert model[0].training


def test_calibration_is_the_plain_average_of_the_batches_own_statistics():
    model = network().train()
    with torch.no_grad():
        for _ in range(3):
            model(normal(8, 9, scale=50.0))  # statistics of something else
    weights = {name: p.clone() for name, p in model.named_parameters()}
    batches = [(normal(8, seed, scale=seed + 1.0, shift=seed), None) for seed in range(3)]
    assert calibrate(model, batches) is model
    means, variances = (torch.stack([f(x) for x, _ in batches]).mean(0) for f in (
        lambda x: x.mean((0, 2, 3)), lambda x: x.var((0, 2, 3)),
    ))  # fmt: skip
    torch.testing.assert_close(model[0].running_mean, means, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model[0].running_var, variances, rtol=1e-4, atol=1e-5)
    assert not any(m.training for m in model.modules())
    assert (model[0].momentum, model[4].momentum) == (0.3, 0.1)
    assert all(torch.equal(p, weights[name]) for name, p in model.named_parameters())


def test_later_layers_are_calibrated_on_batch_statistics_and_without_dropout():
    model, x = network(), normal(16)
    calibrate(model, [(x, None)])
    normalised = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    expected = model[3](normalised.flatten(1)).detach()
    torch.testing.assert_close(model[4].running_mean, expected.mean(0), rtol=1e-4, atol=1e-5)


def test_calibrating_again_forgets_the_first_time():
    model, a, b = network(), [(normal(8, 1), None)], [(normal(8, 2, scale=4.0), None)]
    first = state(calibrate(model, a))
    calibrate(model, b)
    assert not torch.equal(model[0].running_var, first["0.running_var"])
    again = state(calibrate(model, a))
    assert all(torch.equal(again[name], first[name]) for name in first)


def test_a_network_without_statistics_is_left_alone():
    model = nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False))
    x = normal(8)
    y = calibrate(model, [(x, None)])(x)
    assert torch.allclose(y.mean((0, 2, 3)), torch.zeros(2), atol=1e-5)


def test_every_module_is_there_once():
    shared = nn.BatchNorm2d(2)
    model = nn.Sequential(shared, nn.Sequential(shared, nn.ReLU()))
    model.register_module("nothing", None)
    assert len(every_module(model)) == len(set(every_module(model))) == 4
    assert set(every_module(model)) == set(model.modules())


@pytest.mark.gpu
def test_calibrating_never_waits_for_the_device():
    model = nn.Sequential(nn.BatchNorm2d(2)).cuda()
    batches = [(normal(8, seed).cuda(), None) for seed in range(3)]
    calibrate(model, batches)
    torch.cuda.set_sync_debug_mode("error")
    try:
        calibrate(model, batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")

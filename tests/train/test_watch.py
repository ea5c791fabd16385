"""train.watch: losses that are no numbers."""

import math

import pytest
import torch

from winnow.core.errors import Refused
from winnow.train.watch import Watch, check_finite, epoch_loss


@pytest.mark.parametrize(("value", "shown"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_what_is_no_number_is_refused_with_what_to_try(value, shown):
    loss = torch.tensor(value, requires_grad=True) * 1
    with pytest.raises(Refused) as refusal:
        check_finite(loss, 3, 17, 0.025, "search")
    assert str(refusal.value) == (
        f"the loss is {shown} at epoch 3, step 17, with learning rate 0.025: "
        "lower search.lr, lower search.clip, or set search.precision to fp32"
    )


def test_numbers_pass():
    check_finite(torch.tensor(1e30), 0, 0, 0.1, "search")


def test_a_quiet_device_is_looked_at_every_twentieth_step():
    loss = torch.empty((), device="meta")  # any look would fail
    for step in (1, 19, 21):
        check_finite(loss, 0, step, 0.1, "search")
    with pytest.raises((RuntimeError, NotImplementedError)):
        check_finite(loss, 0, 20, 0.1, "search")


def test_an_epoch_ends_with_its_mean_or_names_its_first_bad_step():
    losses = [torch.tensor(float(i)) for i in range(4)]
    assert epoch_loss(losses, 0, 0.1, "retrain") == 1.5
    losses[2] = losses[3] = torch.tensor(math.nan)
    with pytest.raises(Refused, match=r"loss is nan at epoch 5, step 2, with learning rate 0.1: lower retrain.lr"):
        epoch_loss(losses, 5, 0.1, "retrain")


def test_a_watch_may_be_ignored():
    watch = Watch()
    watch.start("search", 3)
    watch.step()
    watch.epoch(0, {"loss": 1.0}, {"a": torch.ones(2)})

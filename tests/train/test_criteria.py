"""The loss of a task in training: what it may learn itself, how several outputs count, what it does not know."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.objective import objective
from winnow.tasks.classify import IMAGES
from winnow.train.criteria import criterion_of, outputs_and_loss
from winnow.train.fit import fit
from winnow.train.recipes import RECIPES
from winnow.train.watch import Watch

RECIPE = replace(RECIPES["quick"], epochs=2, warmup_epochs=0)


class Anchored(nn.Module):
    """Squared distance to an anchor of each class, which it learns."""

    def __init__(self, seed: int):
        super().__init__()
        self.anchors = nn.Parameter(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)))

    def forward(self, outputs, labels):
        return (outputs - self.anchors[labels]).square().mean()


MADE: list[Anchored] = []


def anchored(facts, seed):
    MADE.append(Anchored(seed))
    return MADE[-1]


TASK = replace(IMAGES, name="anchored", criterion=anchored)


def batches():
    draws = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 4, generator=draws), torch.randint(3, (8,), generator=draws)) for _ in range(3)]


def test_a_criterion_that_learns_is_trained_along():
    MADE.clear()
    fit(nn.Linear(4, 3), batches(), RECIPE, TASK, seed=0, watch=Watch())
    begun = Anchored(0).anchors.shape
    (criterion,) = MADE
    again = anchored({}, 0)
    assert criterion.anchors.shape == begun
    assert criterion.anchors.grad is not None
    fit(nn.Linear(4, 3), batches(), replace(RECIPE, epochs=1, lr=1e-9, lr_min=0.0), TASK, seed=0, watch=Watch())
    hardly = MADE[-1]
    assert not torch.allclose(criterion.anchors, hardly.anchors)  # of one seed, moved by the other learning rate
    assert not torch.equal(again.anchors, hardly.anchors)  # drawn from a seed of its own


def test_a_supernet_refuses_a_criterion_that_learns():
    space = Space(nn.Sequential(Choice("a", {"one": nn.Identity(), "other": nn.ReLU()}), nn.Linear(4, 3)))
    with pytest.raises(Refused, match="Anchored has weights of its own, which a supernet does not train"):
        objective(space, Anchored(0))((torch.zeros(2, 4), torch.tensor([0, 1])), {"a": "one"})


def test_smoothing_is_asked_of_those_that_know_it():
    recipe = replace(RECIPE, label_smoothing=0.1)
    assert criterion_of(IMAGES, {}, 0, recipe).label_smoothing == 0.1
    with pytest.raises(Refused, match=r"task anchored takes no label smoothing: set retrain.label_smoothing to 0"):
        criterion_of(TASK, {}, 0, recipe)


def test_each_output_counts_and_the_first_is_the_answer():
    criterion, y = nn.CrossEntropyLoss(), torch.tensor([0, 2])
    outputs = tuple(torch.randn(2, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    first, loss = outputs_and_loss(outputs, y, criterion, 0.4)
    assert first is outputs[0]
    one, two, three = (criterion(each, y) for each in outputs)
    assert loss.item() == pytest.approx((one + 0.4 * (two + three)).item())

"""search.recipe: the optimiser that a recipe says, step by step."""

import pytest
import torch
from torch import nn

from winnow.search.recipe import Recipe


def moved(recipe: Recipe, gradients: list[float], start: float = 2.0) -> list[float]:
    """Where one weight goes under these gradients."""
    weight, found = nn.Parameter(torch.tensor(start, dtype=torch.float64)), []
    optimiser = recipe.descent([weight])
    for gradient in gradients:
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimiser.step()
        found.append(weight.item())
    return found


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_takes_momentum_and_decay_of_the_recipe(nesterov):
    at, buffer, wanted = 2.0, 0.0, []
    for gradient in (1.0, -0.5, 0.25):
        move = gradient + 0.1 * at
        buffer = 0.8 * buffer + move
        at -= 0.05 * (move + 0.8 * buffer if nesterov else buffer)
        wanted.append(at)
    recipe = Recipe(lr=0.05, momentum=0.8, weight_decay=0.1, nesterov=nesterov)
    assert moved(recipe, [1.0, -0.5, 0.25]) == pytest.approx(wanted)


def test_adam_adds_the_decay_to_the_gradient_and_adamw_shrinks_the_weight():
    """A first step of Adam is as long as the rate, whatever the gradient."""
    given = {"lr": 0.1, "weight_decay": 0.5}
    assert moved(Recipe(optimiser="adam", **given), [0.25]) == pytest.approx([2 - 0.1])
    assert moved(Recipe(optimiser="adam", **given), [-0.75]) == pytest.approx([2 - 0.1]), "-0.75 and half of 2"
    assert moved(Recipe(optimiser="adamw", **given), [-0.75]) == pytest.approx([2 - 0.05 * 2 + 0.1])


def test_the_usual_recipe_is_the_published_one():
    """Liu et al. 2019, section 3.1.1 and public code, on CIFAR-10."""
    recipe = Recipe()
    assert (recipe.epochs, recipe.lr, recipe.lr_min, recipe.clip) == (50, 0.025, 0.001, 5)
    assert (recipe.logits_lr, recipe.logits_weight_decay) == (3e-4, 1e-3)
    assert recipe.schedule is None
    (group,) = recipe.descent([nn.Parameter(torch.zeros(1))]).param_groups
    assert {name: group[name] for name in ("lr", "momentum", "weight_decay", "nesterov")} == {
        "lr": 0.025,
        "momentum": 0.9,
        "weight_decay": 3e-4,
        "nesterov": False,
    }


def test_groups_keep_a_decay_of_their_own():
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "weight_decay": decay} for decay in (0.0, 0.25)]
    optimiser = Recipe(weight_decay=0.5).descent([*groups, {"params": [nn.Parameter(torch.zeros(1))]}])
    assert [group["weight_decay"] for group in optimiser.param_groups] == [0.0, 0.25, 0.5]

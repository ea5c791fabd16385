"""core.holes: what a choice computes, and what it becomes."""

import pytest
import torch
from torch import nn

from winnow.core.holes import Choice, Sum
from winnow.core.space import Space
from winnow.train.seeds import seeded


class Times(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


def times(*factors: int) -> dict[int, nn.Module]:
    return {factor: Times(factor) for factor in factors}


X = torch.tensor([[1.0, -2.0]])


def test_an_option_runs_alone():
    assert torch.equal(Space(Choice("a", times(2, 3)))(X, {"a": 3}), 3 * X)


def test_a_subset_is_the_sum_and_undecided_keeps_all():
    space = Space(Choice("a", times(2, 3, 10), pick=2))
    assert torch.equal(space(X, {"a": (2, 10)}), 12 * X)
    assert torch.equal(space(X, {}), 15 * X)


def test_weights_mix_the_candidates_in_the_order_of_the_options():
    space = Space(Choice("a", times(2, 3, 10)))
    weights = torch.tensor([0.5, 0.25, 1.0], requires_grad=True)
    mixed = space(X, {"a": weights})
    assert torch.equal(mixed, 11.75 * X)
    mixed.sum().backward()
    assert torch.equal(weights.grad, X.sum() * torch.tensor([2.0, 3.0, 10.0]))


def test_a_one_hot_mixture_is_the_candidate_to_the_bit():
    def made() -> Space:
        with seeded(0):
            return Space(Choice("a", {str(i): nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)) for i in range(3)}))

    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    for i in range(3):
        weights = torch.nn.functional.one_hot(torch.tensor(i), 3).float()
        assert torch.equal(made()(x, {"a": weights}), made()(x, {"a": str(i)}))


def test_decided_and_mixed_go_together():
    space = Space(nn.Sequential(Choice("a", times(2, 3)), Choice("b", times(5, 7))))
    assert torch.equal(space(X, {"a": 2, "b": torch.tensor([1.0, 1.0])}), 24 * X)


def test_a_choice_takes_several_inputs():
    class Adds(nn.Module):
        def forward(self, a, b):
            return a + b

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.choice = Choice("a", {"add": Adds(), "again": Adds()})

        def forward(self, x):
            return self.choice(x, 2 * x)

    assert torch.equal(Space(Two())(X, {"a": "again"}), 3 * X)


def test_an_open_decision_is_named():
    space = Space(nn.Sequential(Choice("a", times(2, 3)), Choice("b", times(5, 7))))
    with pytest.raises(LookupError, match="no value for decision 'b'"):
        space(X, {"a": 2})


def test_the_setting_is_gone_after_a_call_even_one_that_fails():
    space = Space(nn.Sequential(Choice("a", times(2, 3)), nn.Linear(5, 1)))
    with pytest.raises(RuntimeError):
        space(X, {"a": 2})
    with pytest.raises(LookupError):
        space.model(X)


def test_weights_of_another_length_are_refused():
    with pytest.raises(ValueError, match="zip"):
        Space(Choice("a", times(2, 3)))(X, {"a": torch.ones(3)})


def test_options_need_not_be_text():
    choice = Choice("a", times(2, 3))
    assert choice.kept(3) == [choice.candidates["3"]]
    assert choice.decided(3) is choice.candidates["3"]


def test_a_decided_subset_is_an_ordinary_sum_in_the_mode_of_its_parts():
    frozen = nn.BatchNorm1d(2).eval()
    choice = Choice("a", {"bn": frozen, "id": nn.Identity(), "up": Times(2)}, pick=2)
    total = choice.decided(("bn", "id"))
    assert isinstance(total, Sum)
    assert (total.training, frozen.training) == (True, False)
    assert torch.equal(total(X), frozen(X) + X)
    assert not choice.eval().decided(("bn", "id")).training


NAMES = ["half", "keys", "type", "ratio_0.5", "%", "a%2Eb", "", "forward", 0, -3]


def test_an_option_may_have_any_name():
    candidates = {name: Times(float(i)) for i, name in enumerate(NAMES)}
    space = Space(Choice("a", candidates))
    assert space.decisions["a"].options == tuple(NAMES)
    for i, name in enumerate(NAMES):
        assert torch.equal(space(X, {"a": name}), i * X)
        assert torch.equal(space.derive(space.decide(lambda d, name=name: name))(X), i * X)
    assert torch.equal(space(X, {"a": {"half": torch.tensor(2.0), "keys": torch.tensor(1.0)}}), X)
    assert torch.equal(space(X, {"a": torch.ones(len(NAMES))}), sum(range(len(NAMES))) * X)


def test_the_keys_of_ordinary_options_are_their_names():
    space = Space(Choice("a", {"conv_3x3": nn.Linear(1, 1), 5: nn.Linear(1, 1), "half": nn.Linear(1, 1)}))
    keys = {name.split(".")[2] for name in space.state_dict()}
    assert keys == {"conv_3x3", "5", "%half"}


@pytest.mark.parametrize("option", [0.5, True, None, (1, 2), torch.tensor(1)])
def test_an_option_that_no_architecture_can_hold_is_refused_at_once(option):
    with pytest.raises(ValueError, match=r"decision 'a': an option is text or a whole number, not .*: write text"):
        Choice("a", {option: Times(1.0), "b": Times(2.0)})


def test_keywords_reach_the_candidate():
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor, *, scale: float) -> torch.Tensor:
            return x * scale

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Choice("a", {"x": Scaled(), "y": Scaled(), "z": Scaled()}, pick=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.block(x, scale=3.0)

    space = Space(Net())
    assert torch.equal(space(X, {}), 9 * X)
    assert torch.equal(space.derive(space.decide(lambda d: d.values[0]))(X), 6 * X)


def test_weights_of_each_example_mix_that_example():
    space, x = Space(Choice("a", times(2, 3))), torch.tensor([[1.0, -2.0], [4.0, 0.5]])
    weights = torch.tensor([[0.5, 1.0], [0.25, 2.0]])  # (options, batch)
    assert torch.equal(space(x, {"a": weights}), torch.tensor([[1.75], [8.0]]) * x)
    assert torch.equal(space(x, {"a": {2: weights[0], 3: weights[1]}}), torch.tensor([[1.75], [8.0]]) * x)

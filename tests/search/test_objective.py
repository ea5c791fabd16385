"""search.objective: the loss of a batch, of each row, and the output that counts, against plain torch."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.holes.ensemble import Members
from winnow.search.objective import Learning, objective
from winnow.train.seeds import seeded

ARCH = {"a": "x", "b": "y"}
BATCH = torch.tensor([[1.0, -2.0], [0.5, 3.0], [0.25, 0.0]]), torch.tensor([0, 1, 1])


class Saying(nn.Module):
    """What follows makes of a network's output."""

    def __init__(self, makes: Callable):
        super().__init__()
        self.makes = makes

    def forward(self, x):
        return self.makes(x)


def space(makes: Callable = lambda y: y) -> Space:
    with seeded(0):
        holes = (Choice(name, {"x": nn.Linear(2, 2), "y": nn.Tanh()}) for name in "ab")
        return Space(nn.Sequential(*holes, Saying(makes)))


def pair(y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return y, 3 * y


def plain(made: Space) -> torch.Tensor:
    """What the network says before anything follows."""
    return made.model[0].candidates["x"](BATCH[0]).tanh()


def test_the_loss_is_that_of_the_criterion_and_all_outputs_count():
    made = space(pair)
    loss = objective(made, nn.CrossEntropyLoss())
    y = plain(made)
    wanted = F.cross_entropy(y, BATCH[1]) + F.cross_entropy(3 * y, BATCH[1])
    torch.testing.assert_close(loss(BATCH, ARCH), wanted)
    first, told = loss.first_and_loss(BATCH, ARCH)
    assert torch.equal(first, y)
    torch.testing.assert_close(told, wanted)
    (one, other), told = loss.whole_and_loss(BATCH, ARCH)
    assert torch.equal(one, y)
    assert torch.equal(other, 3 * y)
    torch.testing.assert_close(told, wanted)


def test_of_an_ensemble_the_mean_counts():
    made = space(lambda y: Members((y, 3 * y)))
    loss, y = objective(made, nn.CrossEntropyLoss()), plain(made)
    torch.testing.assert_close(loss.first_and_loss(BATCH, ARCH)[0], 2 * y)
    torch.testing.assert_close(loss.first(BATCH[0], made.derive(ARCH)), 2 * y)
    assert isinstance(loss.said(BATCH[0], made.derive(ARCH)), Members)
    torch.testing.assert_close(objective(space(pair), nn.CrossEntropyLoss()).first(BATCH[0], pair), BATCH[0])


def test_the_losses_of_rows_have_the_mean_that_is_the_loss():
    made, criterion = space(), nn.CrossEntropyLoss()
    loss = objective(made, criterion)
    found = loss.each(BATCH, ARCH)
    torch.testing.assert_close(found, F.cross_entropy(plain(made), BATCH[1], reduction="none"))
    torch.testing.assert_close(found.mean(), loss(BATCH, ARCH))
    assert criterion.reduction == "mean", "which it was told a copy of"


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 1)])
def test_a_row_with_several_answers_has_the_mean_of_their_losses(shape):
    made, answers = space(lambda y: y.view(shape)), torch.tensor([[0.0, 1.0], [1.0, 0.5], [2.0, 0.0]]).view(shape)
    found = objective(made, nn.MSELoss()).each((BATCH[0], answers), ARCH)
    torch.testing.assert_close(found, (plain(made) - answers.view(3, 2)).square().mean(1))


class Mean(nn.Module):
    def forward(self, outputs, answers):
        return outputs.mean()


class Learns(nn.CrossEntropyLoss):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))


@pytest.mark.parametrize("criterion", [Mean(), nn.CrossEntropyLoss(reduction="sum")])
def test_where_the_criterion_knows_the_batch_alone_rows_are_refused(criterion):
    loss = objective(space(), criterion)
    assert loss(BATCH, ARCH).isfinite()
    kind = type(criterion).__name__
    with pytest.raises(Refused, match=rf"^{kind} tells the loss of a batch and not of each row \(`reduction`\)"):
        loss.each(BATCH, ARCH)


def test_a_criterion_with_weights_is_refused_wherever_a_loss_is_asked():
    loss = objective(space(), Learns())
    for asked in (loss, loss.each, loss.first_and_loss, loss.whole_and_loss):
        with pytest.raises(Refused, match="Learns has weights of its own"):
            asked(BATCH, ARCH)
    assert loss.first(BATCH[0], lambda x: x).equal(BATCH[0])


def test_in_bf16_networks_speak_so_and_losses_and_what_counts_are_float32():
    seen = []
    made = space(lambda y: seen.append(y.dtype) or y)
    loss = objective(made, nn.CrossEntropyLoss(), "bf16")
    first, told = loss.first_and_loss(BATCH, {"a": "y", "b": "x"})
    assert (seen, first.dtype, told.dtype) == ([torch.bfloat16], torch.float32, torch.float32)
    assert loss.said(BATCH[0], made.model[1].candidates["x"]).dtype == torch.bfloat16
    assert loss.first(BATCH[0], made.model[1].candidates["x"]).dtype == torch.float32
    seen.clear()
    objective(made, nn.CrossEntropyLoss())(BATCH, {"a": "y", "b": "x"})
    assert seen == [torch.float32], "unless it is said otherwise"


def test_nothing_is_computed_twice_unless_it_is_said():
    made = space()
    assert objective(made, nn.CrossEntropyLoss()).cells == []
    assert Learning(made, nn.CrossEntropyLoss()).recompute is False
    twice = objective(made, nn.CrossEntropyLoss(), recompute=True)
    assert twice.cells == list(made.model[:2])
    calls = []
    for hole in made.holes:
        hole.candidates["x"].register_forward_pre_hook(lambda *_: calls.append(1))
    twice(BATCH, {"a": "x", "b": "x"}).backward()
    assert len(calls) == 4
    calls.clear()
    with torch.no_grad():
        twice(BATCH, {"a": "x", "b": "x"})
    assert len(calls) == 2


def test_a_network_that_calls_none_of_its_cells_is_refused_only_where_it_learns():
    class Reading(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList(nn.ModuleDict({"one": nn.ModuleList([hole])}) for hole in space().model[:2])
            self.holders = nn.ModuleList(Holder(hole) for hole in space().model[:2])

        def forward(self, x):
            for holder in self.holders:
                x = holder.hole(x)
            return x

    class Holder(nn.Module):
        def __init__(self, hole):
            super().__init__()
            self.hole = hole

    made = Space(Reading())
    loss = objective(made, nn.CrossEntropyLoss(), recompute=True)
    with torch.no_grad():
        assert loss(BATCH, ARCH).isfinite()
    with pytest.raises(Refused, match=r"calls none of the modules that hold its decisions \(Choice, Holder\), so they"):
        loss(BATCH, ARCH)

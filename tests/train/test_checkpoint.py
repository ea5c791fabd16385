"""Keepers: nested loops that are left anywhere end as those that are not; state as bytes and back."""

import random

import pytest
import torch
from torch import nn

from winnow.core.errors import Refused
from winnow.data.loaders import Cursor
from winnow.train.checkpoint import Keeper, reached
from winnow.train.packing import from_bytes, to_bytes
from winnow.train.seeds import seeded


class Killed(BaseException):
    pass


class Disk:
    """Takes a state as bytes and dies at the given save."""

    def __init__(self, dies_at: int):
        self.dies_at, self.saved, self.content = dies_at, 0, None

    def __call__(self, state):
        self.content, self.saved = to_bytes(state), self.saved + 1
        if self.saved == self.dies_at:
            raise Killed

    def keeper(self) -> Keeper:
        return Keeper(self, None if self.content is None else from_bytes(self.content))


def due_at_every_step(keeper: Keeper) -> Keeper:
    def due():
        keeper.save(keeper.state())

    keeper.due = due if keeper.save is not None else keeper.due
    return keeper


def computation(keeper: Keeper, rounds: int = 2, epochs: int = 2) -> tuple[list[float], list[float], dict]:
    """Nested loops over a network with momentum, dropout, a stream of its own, batches and a curve."""
    log: list[float] = []
    for number in keeper.rounds(rounds, "round", log=log):
        with seeded(number):
            model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))
            optimiser = torch.optim.Adam(model.parameters(), fused=True)
            schedule = torch.optim.lr_scheduler.StepLR(optimiser, 1, 0.5)
            draws, noise = random.Random(number), torch.Generator().manual_seed(number)
            keeper.add(draws=draws, noise=noise)
            cursor = Cursor([torch.full((2, 3), float(i)) for i in range(3)])
            losses: list[torch.Tensor] = []
            for _ in keeper.rounds(epochs, "epoch", m=model, o=optimiser, s=schedule, cursor=cursor, losses=losses):
                for x in cursor.epoch():
                    optimiser.zero_grad()
                    loss = (model(x) + draws.random() + torch.rand((), generator=noise)).square().mean()
                    loss.backward()
                    optimiser.step()
                    losses.append(loss.detach())
                    keeper.due()
                schedule.step()
                log.append(float(torch.stack(losses).sum()))
                losses.clear()
    return log, [optimiser.param_groups[0]["lr"], draws.random()], model.state_dict()


@pytest.mark.parametrize("dies_at", range(1, 13))  # every step of 2 rounds of 2 epochs of 3 batches
def test_left_anywhere_it_ends_as_if_it_had_not_been(dies_at):
    expected = computation(Keeper())
    disk = Disk(dies_at)
    with pytest.raises(Killed):
        computation(due_at_every_step(disk.keeper()))
    log, ends, weights = computation(due_at_every_step(disk.keeper()))
    assert (log, ends) == expected[:2]
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected[2].items())
    assert disk.saved == 12, "no step was made twice, none was left out"


def test_killed_at_every_step_it_still_ends():
    expected, disk, starts = computation(Keeper()), Disk(1), 0
    while True:
        try:
            log, _, weights = computation(due_at_every_step(disk.keeper()))
            break
        except Killed:
            starts, disk.dies_at = starts + 1, disk.dies_at + 1
    assert starts == 12
    assert log == expected[0]
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected[2].items())


def test_what_a_round_added_is_dropped_with_it_and_what_loops_share_is_kept_once():
    states, shared = [], nn.Linear(2, 2)
    keeper = Keeper(states.append)
    for number in keeper.rounds(2, "round", shared=shared):
        if number == 0:
            keeper.add(passing=[1])
        for _ in keeper.rounds(1, "epoch", again=shared, own=[number]):
            keeper.save(keeper.state())
    first, second = ([set(level["parts"]) for level in state["levels"]] for state in states)
    assert first == [set(), {"shared", "passing"}, {"own"}]
    assert second == [set(), {"shared"}, {"own"}]
    assert reached(states[1]) == "round 1, epoch 0"


def test_large_states_are_kept_less_often_than_asked_for():
    keeper = Keeper(lambda state: None, seconds=0.0)
    keeper.cost = 3600.0  # the last one took an hour
    keeper.due()
    assert keeper.cost == 3600.0


def test_a_loop_that_is_broken_off_leaves_nothing_behind():
    states = []
    keeper = Keeper(states.append)
    for _ in keeper.rounds(3, "epoch", a=[1]):
        break
    assert len(keeper.levels) == 1


VALUES = {
    "plain": [1, -2.5e-300, 1 / 3, True, None, "ü", float("inf")],
    "tuple": ((1, (2, "a")), ()),
    "keys": {0: {"lr": 0.1}, "x": {}},
    "tensors": [torch.arange(6).view(2, 3), torch.zeros(0), torch.tensor(1.5, dtype=torch.bfloat16)],
    "scalars": [torch.tensor(float(i) / 3) for i in range(4)],
    "stream": random.Random(3).getstate(),
}


@pytest.mark.parametrize("name", VALUES)
def test_state_comes_back_to_the_bit(name):
    (back,) = from_bytes(to_bytes([VALUES[name]]))
    assert repr(back) == repr(VALUES[name])
    assert type(back) is type(VALUES[name])


def test_layout_shared_memory_and_not_a_number_come_back():
    images = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    back = from_bytes(to_bytes({"x": images, "same": images, "part": images[0], "nan": float("nan")}))
    assert back["x"].stride() == images.stride()
    assert all(torch.equal(back[name], images) for name in ("x", "same"))
    assert torch.equal(back["part"], images[0])
    assert back["nan"] != back["nan"]


def test_what_is_no_state_is_named():
    with pytest.raises(TypeError, match="no Random"):
        to_bytes({"rng": random.Random(0)})
    whole = to_bytes({"x": torch.ones(3)})
    for cut in (0, 4, 20, len(whole) - 1):
        with pytest.raises(ValueError, match="not a state of winnow"):
            from_bytes(whole[:cut])


@pytest.mark.parametrize(
    ("label", "count", "parts", "why"),
    [
        ("step", 3, {"a": [1]}, "it was left in epoch 2, which is none of step 0 to 2"),
        ("epoch", 2, {"a": [1]}, "it was left in epoch 2, which is none of epoch 0 to 1"),
        ("epoch", 3, {"a": [1], "losses": []}, "it holds no 'losses' of epoch 2"),
        ("epoch", 3, {"a": nn.Linear(2, 3)}, "its 'a' does not fit .*weight"),
        ("epoch", 3, {"a": random.Random(0)}, "its 'a' does not fit "),
    ],
)
def test_a_checkpoint_of_another_loop_is_refused_in_a_line(label, count, parts, why):
    states = []
    keeper = Keeper(states.append)
    part = nn.Linear(2, 2) if isinstance(parts["a"], nn.Module) else [1]
    for _ in keeper.rounds(3, "epoch", a=part):
        keeper.save(keeper.state())
    with pytest.raises(Refused, match=f"^the checkpoint is not of this run: {why}.*; `winnow clean --yes`") as refused:
        list(Keeper(found=from_bytes(to_bytes(states[-1]))).rounds(count, label, **parts))
    assert "\n" not in str(refused.value)

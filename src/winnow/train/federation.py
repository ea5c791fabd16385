"""Federated training: clients train the network they are sent on rows of their own, nothing but weights comes back.

`average` is FedAvg (McMahan et al. 2017, arXiv:1602.05629), `proximal` FedProx (Li et al. 2020, arXiv:1812.06127),
`share` FedAvg with some rows that all clients have (Zhao et al. 2018, arXiv:1806.00582), `cyclic` cyclic weight
transfer: one network visits the clients in turn, its momentum with it. How they are compared, and forgetting, is
Qu et al. 2022, arXiv:2106.06047. All randomness follows from the seed, the round and the client, so that it does not
matter who runs a visit, or when.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from winnow.core.errors import Refused
from winnow.data.inputs import Inputs
from winnow.data.loaders import Batches, Split, in_order
from winnow.nn.drop_path import set_drop_path
from winnow.tasks.task import Task
from winnow.train.checkpoint import Keeper, put_back
from winnow.train.criteria import criterion_of, outputs_and_loss
from winnow.train.fit import autocast, optimiser_of, schedule_of
from winnow.train.loop import nothing
from winnow.train.recipes import Federation, Recipe
from winnow.train.seeds import derived, generator, rng, seeded
from winnow.train.watch import Watch, check_finite

State = dict[str, Any]  # plain values and tensors
Visits = Callable[[Sequence[State]], Sequence[State]]  # orders to clients, in any order -> what each brings back


@dataclass(frozen=True)
class Client:
    """Rows of one owner: to train on, and to be judged by."""

    train: Split
    held: Split


@dataclass
class Local:
    """What a client does with an order: {"round", "client", "weights", "slot"}.

    `weights` are the state of `model`, which is worked with and left in any; `slot` is what the client, or with
    `cyclic` the network on its way, keeps between visits: optimiser, schedule, statistics; None at first. The answer
    has `weights` and `slot` as they are then, and `loss`, `right`, `rows`, `lr` of the visit.
    """

    model: nn.Module
    clients: Sequence[Client]
    federation: Federation
    recipe: Recipe  # its epochs are not read; `warmup_epochs` counts rounds
    task: Task
    seed: int
    augment: Inputs | None = None

    def __call__(self, order: State) -> State:
        number, slot, model = order["client"], order["slot"], self.model
        own = {} if slot is None else slot["buffers"]
        model.load_state_dict({**order["weights"], **own})
        set_drop_path(model, self.recipe.drop_path * order["round"] / self.federation.rounds)
        optimiser = optimiser_of(model, self.recipe)
        schedule, total = self._schedule(optimiser, number)
        if slot is not None:
            put_back(optimiser, slot["optimiser"])
            put_back(schedule, slot["schedule"])
        with seeded(derived(self.seed, "visit", order["round"], number)):
            told = self._steps(order, optimiser, schedule, total)
        state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        kept = {} if self.federation.average_buffers or self.federation.cyclic else _buffers(model, state)
        kept_state = {"optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(), "buffers": kept}
        return {"weights": state, "slot": kept_state, **told}

    def steps(self, number: int) -> int:
        """Of a visit to client `number`."""
        passes = math.ceil(len(self.clients[number].train) / self.recipe.batch)
        return self.federation.local_steps or self.federation.local_epochs * passes

    def _schedule(self, optimiser: torch.optim.Optimizer, number: int) -> tuple[Any, int]:
        """Over all visits that are expected, and their steps; with `cyclic` those of all clients."""
        federation = self.federation
        visits = max(1, round(federation.rounds * federation.participation))
        steps = sum(map(self.steps, range(len(self.clients)))) if federation.cyclic else self.steps(number)
        return schedule_of(optimiser, replace(self.recipe, epochs=visits), steps), visits * steps

    def _batches(self, order: State) -> Batches:
        """Of nearly equal size, so that no row is left out and none is alone."""
        train = self.clients[order["client"]].train
        even = math.ceil(len(train) / math.ceil(len(train) / self.recipe.batch))
        draws = generator(self.seed, "batches", order["round"], order["client"])
        return Batches(train, even, generator=draws, augment=self.augment, drop_last=False, channels_last=True)

    def _steps(self, order: State, optimiser: torch.optim.Optimizer, schedule: Any, total: int) -> State:
        model, recipe, task = self.model.train(), self.recipe, self.task
        train = self.clients[order["client"]].train
        criterion = criterion_of(task, train.facts, derived(self.seed, "criterion"), recipe).to(train.device)
        if next(criterion.parameters(), None) is not None:
            raise Refused(f"retrain.federation: the loss of task {task.name} learns too, and would not be averaged")
        proximal = self.federation.algorithm == "proximal"
        before = [p.detach().clone() for p in model.parameters()] if proximal else []
        count, told, batches = self.steps(order["client"]), {"loss": 0.0, "right": 0.0, "rows": 0}, self._batches(order)
        epochs = (batch for _ in range(count) for batch in batches)
        for step, (x, y) in zip(range(count), epochs, strict=False):
            optimiser.zero_grad()
            with autocast(train.device, recipe.precision):
                output = model(x)
            scores, loss = outputs_and_loss(output, y, criterion, recipe.auxiliary)
            told["lr"] = optimiser.param_groups[0]["lr"]
            check_finite(loss, order["round"], step, told["lr"], "retrain")
            loss.backward()
            if proximal:
                _pulled(model, before, self.federation.mu)
            if recipe.clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimiser.step()
            if schedule.last_epoch < total:
                schedule.step()
            told["loss"] += float(loss.detach()) * len(y)
            told["rows"] += len(y)
            if task.each is not None:
                told["right"] += float(task.each(scores.detach(), y).sum())
        return told


@torch.no_grad()
def _pulled(model: nn.Module, before: Sequence[Tensor], mu: float) -> None:
    """Add the gradient of mu / 2 * |w - w_global|^2."""
    for parameter, start in zip(model.parameters(), before, strict=True):
        if parameter.grad is not None:
            parameter.grad.add_(parameter - start, alpha=mu)


def _buffers(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    learnt = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return {name: tensor for name, tensor in state.items() if name not in learnt}


def averaged(states: Sequence[Mapping[str, Tensor]], sizes: Sequence[int]) -> dict[str, Tensor]:
    """sum n_k / n * w_k in float64, rounded once; whole numbers (BatchNorm's counts of batches) are the largest."""
    if len(states) == 1:
        return dict(states[0])
    found = {}
    for name, first in states[0].items():
        if not (first.is_floating_point() or first.is_complex()):
            found[name] = torch.stack([state[name] for state in states]).amax(0)
            continue
        kind = torch.promote_types(first.dtype, torch.float64)
        total = torch.zeros_like(first, dtype=kind)
        for state, n in zip(states, sizes, strict=True):
            total += state[name].to(kind) * n
        found[name] = (total / sum(sizes)).to(first.dtype)
    return found


def turns(federation: Federation, clients: int, seed: int) -> list[tuple[int, list[int]]]:
    """Who is visited at once, and in which round; with `cyclic` one after another, in their order."""
    found: list[tuple[int, list[int]]] = []
    for number in range(federation.rounds):
        count = max(1, round(federation.participation * clients))
        drawn = sorted(rng(seed, "drawn", number).sample(range(clients), count))
        chances = {client: rng(seed, "dropped", number, client).random() for client in drawn}
        there = [client for client in drawn if chances[client] >= federation.drop_out]
        there = there or [max(drawn, key=lambda client: chances[client])]
        found += [(number, [client]) for client in there] if federation.cyclic else [(number, there)]
    return found


def federate(
    local: Local,
    *,
    batch: int,
    watch: Watch,
    keeper: Keeper | None = None,
    visits: Visits | None = None,
    after_round: Callable[[int, nn.Module, Mapping[str, float]], None] = nothing,
) -> list[dict[str, Any]]:
    """Train `local.model` in place, which ends in evaluation mode; returns the record of every visit, `rounds` below.

    `visits` runs the clients, here one after another unless given; the result is the same to the bit. After each visit
    with `cyclic`, and each round without, the network is judged on the rows that clients hold out, `batch` at a time:
    a row a client and one, client None, of all rows together, with `value` of the task's first metric and
    `forgetting`, how much better it once was; both are None where a client's few rows have no such metric.
    `after_round` gets the round, the network and what is told of the round. Refused where a loss stops being finite, or
    learns itself.
    """
    model, federation, clients = local.model, local.federation, local.clients
    keeper, course = keeper or Keeper(), turns(federation, len(clients), local.seed)
    run = visits or (lambda orders: [local(order) for order in orders])
    slots: dict[int, State] = {}
    best: dict[int, float] = {}
    record: list[dict[str, Any]] = []
    tally: dict[str, float] = {}
    with seeded(derived(local.seed, "federation")):
        parts = {"model": model, "slots": slots, "best": best, "record": record, "tally": tally, "watch": watch}
        for turn in keeper.rounds(len(course), "turn", **parts):
            keeper.due()
            number, there = course[turn]
            weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
            orders = [
                {"round": number, "client": k, "weights": weights, "slot": slots.get(_slot(federation, k))}
                for k in there
            ]
            answers = run(orders)
            for k, answer in zip(there, answers, strict=True):
                slots[_slot(federation, k)] = answer["slot"]
                for name in ("loss", "right", "rows"):
                    tally[name] = tally.get(name, 0.0) + answer[name]
            sizes = [len(clients[k].train) for k in there]
            model.load_state_dict(averaged([answer["weights"] for answer in answers], sizes))
            rows = _judged(local, slots, best, batch)
            record += [{"round": number, "visit": turn, "trained": row["client"] in there, **row} for row in rows]
            watch.step(len(there))
            if turn + 1 == len(course) or course[turn + 1][0] > number:
                told = _told(local.task, tally, rows, answers[-1]["lr"])
                tally.clear()
                watch.epoch(number, told)
                after_round(number, model, told)
        if not federation.average_buffers and not federation.cyclic:
            kept = [slots.get(k, {"buffers": {}})["buffers"] for k in range(len(clients))]
            came = [k for k, each in enumerate(kept) if each]
            if came:
                mean = averaged([kept[k] for k in came], [len(clients[k].train) for k in came])
                model.load_state_dict({**model.state_dict(), **mean})
    model.eval()
    return record


def _slot(federation: Federation, client: int) -> int:
    return -1 if federation.cyclic else client


@torch.no_grad()
def _judged(local: Local, slots: Mapping[int, State], best: dict[int, float], batch: int) -> list[dict[str, Any]]:
    """A row a client, by the statistics that it has, and one of all; `best` is brought up to date."""
    model, task = local.model, local.task
    shared = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    outputs: list[Tensor] = []
    answers: list[Tensor] = []
    rows = []
    for number, client in enumerate(local.clients):
        model.load_state_dict({**shared, **slots.get(number, {"buffers": {}})["buffers"]})
        model.eval()
        own = [(model(x).float(), y) for x, y in in_order(client.held, batch)]
        value, forgetting = _valued(task, own), None
        if value is not None:
            best[number] = max(best.get(number, -math.inf), task.first.sign * value)
            forgetting = best[number] - task.first.sign * value
        rows.append({"client": number, "rows": len(client.held), "value": value, "forgetting": forgetting})
        outputs += [output for output, _ in own]
        answers += [y for _, y in own]
    model.load_state_dict(shared)
    lost = [row["forgetting"] for row in rows if row["forgetting"] is not None]
    mean = sum(lost) / len(lost) if lost else 0.0
    value = task.measure(outputs, answers)[task.metric]
    return [*rows, {"client": None, "rows": sum(map(len, answers)), "value": value, "forgetting": mean}]


def _valued(task: Task, own: Sequence[tuple[Tensor, Tensor]]) -> float | None:
    """The first metric of a client's rows; None where they have none (AUC of rows that are all clicked)."""
    outputs, answers = map(list, zip(*own, strict=True))
    try:
        value = task.measure(outputs, answers)[task.metric]
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _told(task: Task, tally: Mapping[str, float], rows: Sequence[Mapping[str, Any]], lr: float) -> dict[str, float]:
    told = {"loss": tally["loss"] / tally["rows"]}
    if task.each is not None:
        told[task.metric] = task.first.shown(tally["right"]) / tally["rows"]
    whole = rows[-1]
    return {**told, f"held_out_{task.metric}": whole["value"], "forgetting": whole["forgetting"], "lr": lr}

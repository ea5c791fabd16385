"""The clients of params.yaml, and what is written of their rounds."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from winnow.config.federation import FederationParams
from winnow.config.params import Params
from winnow.core.errors import Refused
from winnow.data.loaders import Split, join, subset
from winnow.data.partition import by_skew, held_out, ks, members, skew
from winnow.run.work import augmentation
from winnow.tasks import task_named
from winnow.train.federation import Client, Local
from winnow.train.recipes import Recipe
from winnow.train.seeds import derived

CLIENTS = 5  # where neither a number nor a column is given
ROUNDS = pa.schema(
    [
        pa.field("round", pa.int32(), nullable=False),
        pa.field("visit", pa.int32(), nullable=False),  # of cyclic: one client after another; else as the round
        pa.field("client", pa.int32()),  # null: all held-out rows together
        pa.field("trained", pa.bool_(), nullable=False),  # whether that client trained in this visit
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("value", pa.float64()),  # of the task's first metric; null where a client's rows have none
        pa.field("forgetting", pa.float64()),  # how much better it once was; of all: the mean
    ]
)


def check_clients(params: Params, open_split: Callable[[str], Split]) -> None:
    """Refused, before anything is searched, where retrain.federation cannot deal rows to clients: those of the splits
    weights and arch, which a search may see.
    """
    if params.retrain.federation is not None:
        clients_of(params.retrain.federation, join([open_split(name) for name in ("weights", "arch")]))


def clients_of(settings: FederationParams, split: Split) -> list[Client]:
    """The rows of `split`, dealt as `settings` say. Refused where they cannot be."""
    for name in split.on_disk:
        split.held(name, "federated training")
    owned = _owned(settings, split)
    draws = np.random.default_rng(derived(settings.seed, "federation", "held out"))
    parts = held_out(owned, settings.held_out, draws)
    shared = np.empty(0, np.int64)
    if settings.algorithm == "share":
        pool = np.concatenate([train for train, _ in parts])
        shared = draws.choice(pool, max(1, round(settings.shared * len(pool))), replace=False)

    def rows(which: np.ndarray) -> Split:
        return subset(split, torch.from_numpy(which).to(split.device))

    return [
        Client(
            replace(rows(np.union1d(train, shared)), name=f"client {number}"),
            replace(rows(held), name=f"client {number}, held out"),
        )
        for number, (train, held) in enumerate(parts)
    ]


def _owned(settings: FederationParams, split: Split) -> list[np.ndarray]:
    if settings.column is not None:
        if settings.column not in split.columns:
            there = ", ".join(name for name, values in split.columns.items() if len(values.shape) == 1)
            raise Refused(
                f"retrain.federation.column: the splits have no column {settings.column!r} that says whose a row is "
                f"(there are {there}); 'group' is there where data.options.group_column is given"
            )
        return members(split.held(settings.column, "retrain.federation.column").cpu().numpy())
    answers = _answers(split)
    count = settings.clients or CLIENTS
    draws = np.random.default_rng(derived(settings.seed, "federation", "clients"))
    owner = by_skew(answers, int(answers.max()) + 1, count, settings.ks or 0.0, draws)
    return members(owner)


def _answers(split: Split) -> np.ndarray:
    answers = split.answers
    if answers.dim() != 1 or answers.is_floating_point():
        raise Refused(
            "retrain.federation.ks: rows are dealt by their labels, and these have none that are whole numbers: give "
            "a column that says whose a row is"
        )
    return answers.cpu().numpy()


def told(clients: Sequence[Client]) -> dict[str, Any]:
    """How many rows clients have and, where these have labels, how skewed those are: `ks` of pairs, and `skew`."""
    found: dict[str, Any] = {
        "clients": len(clients),
        "rows": [len(client.train) for client in clients],
        "held_out": [len(client.held) for client in clients],
    }
    every = [join([client.train, client.held]).answers for client in clients]
    if all(each.dim() == 1 and not each.is_floating_point() for each in every):
        kinds = 1 + max(int(each.max()) for each in every)
        counts = np.stack([np.bincount(each.cpu().numpy(), minlength=kinds) for each in every])
        found |= {"skew": skew(counts), "ks": ks(counts).round(6).tolist()}
    return found


def local_of(params: Params, model: nn.Module, clients: Sequence[Client], recipe: Recipe, seed: int) -> Local:
    """What the clients of a training from `seed` do."""
    federation = params.retrain.federation
    assert federation is not None
    return Local(
        model=model,
        clients=clients,
        federation=federation.federation(),
        recipe=recipe,
        task=task_named(params.task),
        seed=derived(seed, "retrain"),
        augment=augmentation(params, clients[0].train, recipe.cutout),
    )


@contextlib.contextmanager
def threaded(count: int) -> Iterator[None]:
    """Inside, this process has so many threads: as many as those have who do the same elsewhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

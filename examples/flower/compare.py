"""The same clients twice: by winnow's loop, and as processes that talk to a Flower server over the loopback.

    python compare.py

The server is a FedAvg of Flower's with winnow's rule of averaging in the place of its own (float64, clients in their
order): then the weights are equal to the bit, whichever client answers first. Images are the digits of scikit-learn,
five clients of four classes each.
"""

import argparse
import logging
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # read when Flower is imported

import numpy as np
import torch
from flwr.client import NumPyClient, start_client
from flwr.common import NDArrays, Parameters, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import ServerConfig, start_server
from flwr.server.strategy import FedAvg
from torch import nn

from winnow.data.loaders import Split, join, open_split, subset
from winnow.data.partition import by_skew, held_out, members
from winnow.data.prepare import prepare_splits
from winnow.tasks.classify import IMAGES
from winnow.train.federation import Client, Local, averaged, federate, turns
from winnow.train.recipes import RECIPES, Federation
from winnow.train.seeds import materialise
from winnow.train.watch import Watch

CLIENTS, SKEW, ROUNDS, SEED = 5, 0.65, 5, 0
RECIPE = replace(RECIPES["quick"], batch=32, lr=0.05, nesterov=False, weight_decay=0.0, clip=1.0)


def clients_in(folder: Path) -> list[Client]:
    """The same in every process: splits are files, and who has which rows follows from the seed."""
    training = join([open_split(folder, name, IMAGES, stage="retrain") for name in ("weights", "arch", "select")])
    draws = np.random.default_rng(SEED)
    owned = members(by_skew(training.answers.numpy(), 10, CLIENTS, SKEW, draws))

    def rows(which: np.ndarray) -> Split:
        return subset(training, torch.from_numpy(which))

    return [Client(rows(train), rows(held)) for train, held in held_out(owned, 0.2, draws)]


def network() -> nn.Module:
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU()]
    return materialise(nn.Sequential(*layers, nn.Flatten(), nn.Linear(288, 10)), "cpu", SEED)


def local_in(folder: Path) -> Local:
    torch.set_num_threads(1)
    torch.set_deterministic_debug_mode("error")
    return Local(network(), clients_in(folder), Federation("average", ROUNDS), RECIPE, IMAGES, SEED)


def arrays(weights: dict[str, Any]) -> NDArrays:
    return [tensor.numpy() for tensor in weights.values()]


def weights_of(given: NDArrays, like: nn.Module) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array.copy()) for name, array in zip(like.state_dict(), given, strict=True)}


class Visitor(NumPyClient):
    """A client: its rows, and its optimiser's state, never leave this process."""

    def __init__(self, local: Local, number: int):
        self.local, self.number, self.slot = local, number, None

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:
        return {"client": self.number}

    def fit(self, parameters: NDArrays, config: dict[str, Any]) -> tuple[NDArrays, int, dict[str, Any]]:
        order = {"round": config["round"], "client": self.number, "slot": self.slot}
        answer = self.local({**order, "weights": weights_of(parameters, self.local.model)})
        self.slot = answer["slot"]
        return arrays(answer["weights"]), len(self.local.clients[self.number].train), {"client": self.number}


class Server(FedAvg):
    """Flower's FedAvg; clients in their order, averaged as winnow does."""

    def __init__(self, local: Local, **options: Any):
        super().__init__(**options)
        self.local, self.last = local, options["initial_parameters"]
        self.course = turns(local.federation, CLIENTS, SEED)

    def configure_fit(self, server_round: int, parameters: Parameters, client_manager: Any) -> Any:
        number, _ = self.course[server_round - 1]
        self.on_fit_config_fn = lambda _: {"round": number}
        return super().configure_fit(server_round, parameters, client_manager)

    def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> tuple[Parameters, dict[str, Any]]:
        if failures:
            raise RuntimeError(f"round {server_round}: {len(failures)} client(s) failed: {failures[0]}")
        told = sorted((result for _, result in results), key=lambda result: result.metrics["client"])
        states = [weights_of(parameters_to_ndarrays(result.parameters), self.local.model) for result in told]
        mean = averaged(states, [result.num_examples for result in told])
        self.last = ndarrays_to_parameters(arrays(mean))
        return self.last, {}


def by_flower(folder: Path) -> dict[str, torch.Tensor]:
    local = local_in(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    everybody = {name: CLIENTS for name in ("min_fit_clients", "min_available_clients")}
    start = ndarrays_to_parameters(arrays(local.model.state_dict()))
    strategy = Server(local, initial_parameters=start, fraction_evaluate=0.0, **everybody)
    command = [sys.executable, __file__, "--folder", str(folder), "--address", address]
    running = [subprocess.Popen([*command, "--client", str(number)]) for number in range(CLIENTS)]
    try:
        start_server(server_address=address, config=ServerConfig(num_rounds=ROUNDS), strategy=strategy)
    finally:
        for process in running:
            process.terminate()
            process.wait()
    return weights_of(parameters_to_ndarrays(strategy.last), local.model)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    parser.add_argument("--client", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    if asked.client is not None:
        visitor = Visitor(local_in(asked.folder), asked.client)
        start_client(server_address=asked.address, client=visitor.to_client(), insecure=True)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        fractions = {"weights": 0.5, "arch": 0.3, "select": 0.2}
        prepare_splits(folder, IMAGES, source="digits", seed=SEED, fractions=fractions, test_fraction=0.2)
        local = local_in(folder)
        record = federate(local, batch=256, watch=Watch())
        mine = {name: tensor.clone() for name, tensor in local.model.state_dict().items()}
        theirs = by_flower(folder)
    print(f"winnow's loop: {record[-1]['value']:.2f} % of held-out rows after {ROUNDS} rounds, {CLIENTS} clients")
    gap = max(float((mine[name].double() - theirs[name].double()).abs().max()) for name in mine)
    equal = all(torch.equal(mine[name], theirs[name]) for name in mine)
    print(f"Flower, loopback: largest difference of a weight {gap:g}; {'equal to the bit' if equal else 'NOT equal'}")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())

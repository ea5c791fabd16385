"""A device that params.yaml names: the file of `winnow calibrate` or `winnow measure`, held against what is retrained.

device.json     what each option adds, in milliseconds, and the error: of any architecture of one network
measured.json   what `winnow measure` read of exported networks: of those alone
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from winnow.config.params import Params
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.measure.exported import FORMAT as MEASURED_FORMAT
from winnow.predictors.device import Calibrated, Device, Reading, measured
from winnow.proxies.sizes import sizes_of
from winnow.run import files
from winnow.run.work import facts

DEVICE_FORMAT = "winnow.device/1"
MADE_BY = "measure` or `winnow calibrate"


@dataclass(frozen=True)
class Network:
    """Which network's architectures have these latencies: its space, as it is retrained, and how large one of them is.

    Options are those of the builder, `facts` what it is told of the data; params and MACs are of the last options of
    all decisions. Two networks of equal decisions differ here.
    """

    space: str
    space_digest: str
    options: Mapping[str, Any]
    facts: Mapping[str, Any]
    params: int
    macs: int

    @classmethod
    def of(cls, params: Params, folder: Path, space: Space) -> "Network":
        """`space` is `final_space(params, folder)`."""
        options = {**params.space.chosen(), **params.retrain.space}
        options.pop("weights", None)  # with which training begins: no other layers
        assert space.example is not None
        sizes = sizes_of(space, space.example)
        last = space.decide(lambda d: d.values[-1])
        fact = _plain(facts(params, folder))
        size = {name: int(sizes(last)[name]) for name in ("params", "macs")}
        return cls(params.space.name, space.digest, _plain(options), fact, **size)

    def record(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        options = ", ".join(f"{name} {value}" for name, value in sorted(self.options.items()) if value is not None)
        told = f"{self.space}{f' ({options})' if options else ''}, {self.params:,} params, {self.macs:,} MACs"
        return (
            f"{told}, on {', '.join(f'{name} {value}' for name, value in sorted(self.facts.items()) if name != 'task')}"
        )


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back: tuples are lists."""
    return dict(json.loads(json.dumps(content)))


def read_device(path: Path, network: Network, space: Space) -> Device:
    """The device that `path` tells of. Refused where it is damaged, or of another network than `network`."""
    content = files.read_json(path, MADE_BY)
    kind = content.get("format") if isinstance(content, dict) else None
    if kind not in (DEVICE_FORMAT, MEASURED_FORMAT):
        raise Refused(f"{path} tells of no device: its format is {kind!r}; `winnow {MADE_BY}` writes one")
    try:
        if kind == DEVICE_FORMAT:
            check_network(path, Network(**content["network"]), network)
            return _calibrated(content, space).device()
        table = {}
        for row in content["networks"]:
            if "network" not in (row["about"] or {}):
                raise Refused(
                    f"{path}: {row['file']} was not made by `winnow calibrate plan`, so it is of no network here"
                )
            check_network(path, Network(**row["about"]["network"]), network)
            table[row["about"]["digest"]] = Reading(*(float(row[key]) for key in ("ms", "low", "high")))
            if not 0 <= table[row["about"]["digest"]].low <= table[row["about"]["digest"]].high:
                raise ValueError(f"network {row['about']['digest']} has no milliseconds between low and high")
        return measured(str(content["name"]), table)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Refused(f"{path} is damaged ({type(error).__name__}: {error}): run `winnow {MADE_BY}` again") from error


def check_network(path: Path, told: Network, network: Network) -> None:
    """Refused, naming both, where what `path` tells of is another network."""
    if told != network:
        raise Refused(f"{path} is of another network: it is of {told}; what is retrained is {network}")


def write_device(path: Path, found: Calibrated, network: Network, more: Mapping[str, Any]) -> None:
    """`more` is told beside: of whom, and how, it was measured."""
    costs = {name: [[option, ms] for option, ms in each.items()] for name, each in found.costs.items()}
    told = {**asdict(found), "costs": costs}
    files.write_json(path, {"format": DEVICE_FORMAT, **told, "network": network.record(), **more})


def _calibrated(content: Mapping[str, Any], space: Space) -> Calibrated:
    numbers = {name: float(content[name]) for name in ("base", "error", "without")}
    told = {name: float("nan" if content[name] is None else content[name]) for name in ("r2", "tau")}
    costs = {name: {option: float(ms) for option, ms in each} for name, each in content["costs"].items()}
    for d in space.decisions.values():
        if costs.keys() != space.decisions.keys() or costs[d.name].keys() != set(d.options):
            raise ValueError(f"it does not say what each option of decision {d.name!r} costs")
    every = [*numbers.values(), *(ms for each in costs.values() for ms in each.values())]
    if not all(map(math.isfinite, every)) or numbers["error"] < 0:
        raise ValueError("its milliseconds are no numbers, or its error is below 0")
    return Calibrated(str(content["name"]), costs=costs, held=int(content["held"]), **numbers, **told)

"""`winnow calibrate`: which networks to measure on a device, and what each option costs there by what was measured."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.config.params import Params
from winnow.core.architecture import Architecture
from winnow.core.choosers import distinct
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.data.loaders import open_split
from winnow.measure.exported import ABOUT, onnx
from winnow.predictors.device import LEAST_HELD, Calibrated, calibrated, telling
from winnow.predictors.encode import one_hot
from winnow.run import files
from winnow.run.device import MEASURED_FORMAT, Network, check_network, write_device
from winnow.run.exporting import as_onnx
from winnow.run.work import about_model, facts, final_space
from winnow.search.extremes import cheapest, dearest
from winnow.system.extra import needed
from winnow.tasks import task_named
from winnow.train.building import timed
from winnow.train.seeds import rng

POOL = 500  # random networks that the telling ones are chosen among
FITTED, HELD = "fitted", "held"


def plan(
    params: Params, folder: Path, count: int, out: Path, form: str = "onnx", say: Callable[[str], None] = print
) -> list[Path]:
    """Export `count` networks of the space, as it is retrained, into `out`, and return their files.

    A third, but 19 or more, are random ones, by which the error will be told; the others tell most about each option.
    What an earlier call has exported stays. Refused for fewer than these and one an option, and where the space has not
    so many.
    """
    space, draws = final_space(params, folder), rng(params.seed, "calibrate")
    held, widest = max(LEAST_HELD, count // 3), max(len(d.options) for d in space.decisions.values())
    if count < held + widest:
        raise Refused(
            f"a calibration of this space takes {LEAST_HELD + widest} networks or more, not {count}: {LEAST_HELD} held "
            f"out, which bear an error at 95%, and {widest} in which every option occurs"
        )
    drawn = distinct(space, draws, held + POOL)
    if len(drawn) < count:
        raise Refused(f"the space has {len(drawn)} networks, and {count} are asked for: measure them all instead")
    pool = drawn[held:]
    chosen = [pool[i] for i in telling(one_hot(space.decisions, lambda arch: {}), pool, count - held)]
    network, paths = Network.of(params, folder, space).record(), []
    out.mkdir(parents=True, exist_ok=True)
    for role, archs in ((HELD, drawn[:held]), (FITTED, chosen)):
        for arch in archs:
            about = {"network": network, "digest": arch.digest, "choices": dict(arch.choices), "role": role}
            paths.append(out / f"{arch.digest}.{form}")
            if not _there(paths[-1], about):
                say(f"exporting {len(paths)} of {count}")
                _write(params, folder, space, arch, paths[-1], about)
    return paths


def _there(path: Path, about: Mapping[str, Any]) -> bool:
    """Whether `path` is that network already."""
    if not path.is_file():
        return False
    told = onnx(path, 1, 1).about if path.suffix == ".onnx" else files.read_tensors(path, "calibrate plan")[1]
    return {key: (told or {}).get(key) for key in about} == json.loads(json.dumps(about))


def _write(params: Params, folder: Path, space: Space, arch: Architecture, path: Path, about: dict[str, Any]) -> None:
    model = timed(space, arch, "cpu")
    if path.suffix == ".safetensors":
        split = open_split(folder / files.SPLITS, "weights", task_named(params.task), stage="search")
        beside = about_model(params, facts(params, folder), arch, split, 0, initial=0)
        files.write_tensors(path, model.state_dict(), {**beside, **about})
        return
    package = needed("onnx")
    needed("onnxscript")
    assert space.example is not None
    with files.atomic(path) as temporary:
        program = as_onnx(model, space.example).model_proto
        package.helper.set_model_props(program, {ABOUT: json.dumps(about, sort_keys=True)})
        package.save(program, str(temporary))


@dataclass(frozen=True)
class Fitted:
    """The model, the milliseconds of the networks held out, as measured and as told, and how far calls of one differ.

    `fastest` and `slowest` are what the model says of the space.
    """

    found: Calibrated
    held: list[dict[str, Any]]
    spread: float
    fitted: int
    fastest: float
    slowest: float


def fit(params: Params, folder: Path, paths: Sequence[Path], out: Path, name: str | None = None) -> Fitted:
    """Fit what each option costs to the readings in `paths`, files of `winnow measure`, and write the device to `out`.

    Refused where they are of another network or of several devices, and where they bear no claim (see `calibrated`).
    """
    space = final_space(params, folder)
    network = Network.of(params, folder, space)
    contents = [_read(path) for path in paths]
    devices = {content["device"]: path for path, content in zip(paths, contents, strict=True)}
    if len(devices) > 1:
        pairs = " and ".join(f"{path} is of {device}" for device, path in devices.items())
        raise Refused(f"{pairs}: calibrate one device at a time")
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for path, content in zip(paths, contents, strict=True):
        for row in content["networks"]:
            _check(path, row, network, space)
            rows.setdefault(row["about"]["digest"], []).append(row)
    archs = {digest: Architecture.of(each[0]["about"]["choices"]) for digest, each in rows.items()}
    ms = {digest: statistics.median(row["ms"] for row in each) for digest, each in rows.items()}
    parts = {role: [d for d, each in rows.items() if each[0]["about"]["role"] == role] for role in (FITTED, HELD)}
    (own, true), (held, held_ms) = (
        ([archs[digest] for digest in each], [ms[digest] for digest in each]) for each in parts.values()
    )
    name = name or str(contents[0]["name"])
    found = calibrated(name, space.decisions, own, true, held, held_ms)
    told = [{"digest": d, "ms": ms[d], "told": found.ms(archs[d])} for d in parts[HELD]]
    fastest, slowest = (found.ms(extreme(space, found.ms)) for extreme in (cheapest, dearest))
    every = [row for each in rows.values() for row in each]
    spread = statistics.median((row["high"] - row["low"]) / row["ms"] for row in every)
    about = {key: contents[0].get(key) for key in ("device", "host", "runtime", "threads", "batch")}
    write_device(out, found, network, {**about, "fitted": len(own), "held_out": told, "spread": spread})
    return Fitted(found, told, spread, len(own), fastest, slowest)


def _read(path: Path) -> dict[str, Any]:
    content = files.read_json(path, "measure")
    if not isinstance(content, dict) or content.get("format") != MEASURED_FORMAT:
        raise Refused(f"{path} holds no readings of `winnow measure`: it is not in format {MEASURED_FORMAT!r}")
    if not isinstance(content.get("networks"), list) or not {"name", "device"} <= content.keys():
        raise Refused(f"{path} is damaged: it names no networks or no device; run `winnow measure` again")
    return content


def _check(path: Path, row: Any, network: Network, space: Space) -> None:
    """Refused where a row is no reading of a network that was planned."""
    try:
        about = row["about"]
        if about is None or "role" not in about:
            raise Refused(f"{path}: {row['file']} was not made by `winnow calibrate plan`, so it says no choices")
        check_network(path, Network(**about["network"]), network)
        arch = Architecture.of(about["choices"])
        space.check(arch)
        numbers = [float(row[key]) for key in ("low", "ms", "high")]
        if arch.digest != about["digest"] or not 0 < numbers[0] <= numbers[1] <= numbers[2]:
            raise ValueError(f"{row['file']} has no milliseconds, or choices of another digest")
        if about["role"] not in (FITTED, HELD):
            raise ValueError(f"{row['file']} is neither fitted nor held")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Refused(f"{path} is damaged ({type(error).__name__}: {error}): run `winnow measure` again") from error

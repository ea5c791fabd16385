"""How well predictors, fitted to some architectures of a table, order the others."""

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.data.inputs.images import shape_of
from winnow.measure import rank
from winnow.predictors import predictor
from winnow.predictors.encode import ENCODINGS
from winnow.predictors.protocol import Prediction
from winnow.proxies.sizes import sizes_of
from winnow.spaces import SPACES, builder
from winnow.spaces.graphs import graphs_of
from winnow.train.seeds import derived, rng
from winnow.trials.outcome import COMPLETE
from winnow.trials.table import read_table

TOP = 0.05  # the share of the held-out architectures that top_precision and ndcg_top look at
SIDES = ("height", "width")
BASELINE = "params"  # what needs no training is shown beside


@dataclass(frozen=True)
class Predicted:
    """`rows`: one a predictor, best first. `table`: one an architecture; truth, whether it was fitted, predictions."""

    rows: list[dict[str, float | str]]
    table: dict[str, list]


def predict_table(
    space: Space,
    truth: Mapping[Architecture, float],
    names: Sequence[str],
    train: int,
    *,
    seed: int,
    shape: tuple[int, ...] = (3, 32, 32),
    resamples: int = 200,
    progress: Callable[[str], None] = lambda text: None,
) -> Predicted:
    """Fit each predictor to `train` random architectures of `truth` and hold it against all the others.

    Refused where fewer than two would train or be held out. `shape` is that of the images, for the parameter count.
    """
    archs = list(truth)
    if not 2 <= train <= len(archs) - 2:
        raise Refused(f"train takes 2 to {len(archs) - 2} of the {len(archs)} architectures with a value, not {train}")
    found = {name: predictor(name) for name in dict.fromkeys(names)}
    chosen = set(rng(seed, "predict", "train").sample(range(len(archs)), train))
    training = np.array([i in chosen for i in range(len(archs))])
    values = np.array([truth[arch] for arch in archs])
    encodings = {
        e: ENCODINGS[e](space.decisions, graphs_of(space))(archs) for e in {p.encoding for p in found.values()}
    }
    sizes = sizes_of(space, shape)
    predictions = {BASELINE: Prediction(np.array([sizes(arch)["params"] for arch in archs]))}
    seconds = {BASELINE: 0.0}
    for name, p in found.items():
        progress(f"fitting {name} to {train}")
        began, x = time.perf_counter(), encodings[p.encoding]
        fitted = p.fit(x[training], values[training], derived(seed, "predict", name) % 2**31)
        seconds[name] = time.perf_counter() - began
        predictions[name] = fitted(x)
    held = ~training
    rows = [_row(n, p.mean[held], values[held], train, seed, resamples) for n, p in predictions.items()]
    for row in rows:
        row["fit_seconds"] = seconds[str(row["predictor"])]
    table = {"architecture": [arch.to_json() for arch in archs], "truth": values.tolist(), "train": training.tolist()}
    for name, prediction in predictions.items():
        table[name] = prediction.mean.tolist()
        if prediction.sd is not None:
            table[f"{name} sd"] = prediction.sd.tolist()
    return Predicted(sorted(rows, key=lambda row: -float(row["kendall"])), table)


def truth_in(
    path: Path, space: Space, metric: str, epochs: float | None, sample: int | None, seed: int
) -> tuple[dict[Architecture, float], dict[str, float]]:
    """The metric of a trials table's architectures, or of `sample` of them, and at which fidelity (default: the last).

    Repeated trials count by their mean. Unlike `trials.lookup`, architectures may answer different decisions, as those
    of DARTS do. Refused where the table has no such metric or is not of this space.
    """
    found: dict[tuple[tuple[str, float], ...], dict[str, list[float]]] = {}
    metrics: set[str] = set()
    for row in read_table(path, ["architecture", "metrics", "state", "copy_of", "fidelity"]).to_pylist():
        if row["state"] == COMPLETE and row["architecture"] and row["copy_of"] is None:
            values = dict(row["metrics"])
            metrics |= set(values)
            if metric in values:
                at = tuple(sorted(row["fidelity"]))
                found.setdefault(at, {}).setdefault(row["architecture"], []).append(values[metric])
    chosen = max(found, default=()) if epochs is None else (("epochs", epochs),)
    if chosen not in found:
        at_all = "; ".join(", ".join(f"{n} {v:g}" for n, v in at) or "full" for at in sorted(found))
        raise Refused(
            f"{path} has no {metric} there, only at {at_all}"
            if found
            else f"{path} has no {metric}; it has {', '.join(sorted(metrics)) or 'no complete trial'}"
        )
    archs = {Architecture.from_json(text): float(np.mean(values)) for text, values in found[chosen].items()}
    for arch in rng(seed, "predict", "check").sample(list(archs), min(20, len(archs))):
        try:
            space.check(arch)
        except ValueError as error:
            raise Refused(f"the table's architectures are not of this space: {error}") from error
    if sample is not None and sample < len(archs):
        archs = {arch: archs[arch] for arch in rng(seed, "predict", "sample").sample(list(archs), sample)}
    return archs, dict(chosen)


def _row(
    name: str, scores: np.ndarray, truth: np.ndarray, train: int, seed: int, resamples: int
) -> dict[str, float | str]:
    draws = np.random.default_rng(derived(seed, "predict", "bootstrap"))
    tau = rank.bootstrap(rank.kendall_tau, scores, truth, draws, resamples)
    rho = rank.bootstrap(rank.spearman, scores, truth, draws, resamples)
    k = max(1, round(TOP * len(truth)))
    return {
        "predictor": name,
        "train": train,
        "held_out": len(truth),
        "kendall": tau.value,
        "kendall_low": tau.low,
        "kendall_high": tau.high,
        "spearman": rho.value,
        "spearman_low": rho.low,
        "spearman_high": rho.high,
        "top_precision": rank.top_precision(scores, truth, k),
        "ndcg_top": rank.ndcg(scores, truth, k),
        "best_truth": float(truth[int(np.argmax(scores))]),
    }


def shape_for(name: str) -> tuple[int, int, int]:
    """Of one image that space `name` is built for where nothing is said: (channels, height, width)."""
    from winnow.run.networks import USUAL

    taken = inspect.signature(builder(name)).parameters if name in SPACES else {}
    sides = [[taken[key].default for key in (f"image_{side}", "image_size") if key in taken] for side in SIDES]
    channels, *usual = shape_of(USUAL)
    height, width = ((known or [side])[0] for known, side in zip(sides, usual, strict=True))
    return channels, height, width


def open_space(name: str) -> Space:
    """A space at its default size: predictors read its decisions and sizes only."""
    from winnow.run.networks import shown

    return shown(name, {}, Path(), final=True)

"""How well proxies order the architectures of a table, always beside their size."""

import functools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.measure import rank
from winnow.proxies import PROXIES
from winnow.proxies.aggregate import AGGREGATES, log_rank, oriented_ranks
from winnow.proxies.common import Batch
from winnow.proxies.scorer import Streams
from winnow.proxies.sweep import Share, Swept, alone, sweep
from winnow.spaces import nb201_classes
from winnow.spaces.nas_bench_201 import from_string
from winnow.train.seeds import derived, generator, rng
from winnow.trials.lookup import Table

SIZES = ("params", "macs")
TOP = 0.05  # the share of the architectures that top_precision and ndcg_top look at


@dataclass(frozen=True)
class Gap:
    """Architectures without a value of `proxy`, and of the first of them why."""

    proxy: str
    count: int
    architecture: str
    reason: str


@dataclass(frozen=True)
class Ranking:
    """A row a proxy, in the order of Kendall's tau; `swept` says where the scores are, `gaps` which had none.

    A row's `kind` is size, proxy or aggregate. `level` names proxies that give every architecture the same score:
    they have no correlation (NaN) and come last.
    """

    rows: list[dict[str, float | str]]
    swept: Swept
    gaps: list[Gap]
    level: list[str]


def rank_proxies(
    space: Space,
    truth: Mapping[Architecture, float],
    names: Sequence[str],
    batch: Batch,
    folder: Path,
    *,
    seed: int,
    code: str = "",
    resamples: int = 200,
    by: Share = alone,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Ranking:
    """Score the architectures of `truth` and hold each proxy, params and macs against it. What has no score is last.

    `by` scores, as `sweep` has it. Aggregates whose parts are among `names` are ranked, too, within these
    architectures. `code` is a digest of the code of a space that is not winnow's.
    """
    archs, names = list(truth), list(dict.fromkeys((*SIZES, *names)))
    streams = streams_of(seed)
    swept = sweep(
        space,
        archs,
        names,
        batch,
        folder,
        streams=streams,
        represent=equals(archs),
        code=code,
        by=by,
        progress=progress,
    )
    scores = pq.read_table(swept.path)
    columns = {name: oriented_ranks(scores[name].to_numpy(), PROXIES[name].direction) for name in names}
    of = {"complexity": columns["macs"]} | columns
    for name, parts in AGGREGATES.items():
        if set(parts) <= set(of):
            columns[name] = log_rank({part: of[part] for part in parts}, dict.fromkeys(parts, 1)).score
    target = np.array([truth[arch] for arch in archs])
    rows = [row_of(name, column, target, columns, seed, resamples) for name, column in columns.items()]
    for row in rows:
        row["missing"] = float(swept.missing.get(str(row["proxy"]), 0))
    rows.sort(key=lambda row: -float(row["kendall"]) if row["kendall"] == row["kendall"] else math.inf)
    level = [name for name in names if len(np.unique(columns[name])) == 1]
    return Ranking(rows, swept, _gaps(scores, swept.missing), level)


def streams_of(seed: int) -> Streams:
    """The random numbers of a ranking by what they are for."""
    return functools.partial(generator, derived(seed, "rank"))


def truth_of(
    space: Space, table: Table, metric: str, fidelity: Mapping[str, float], sample: int | None, seed: int
) -> dict[Architecture, float]:
    """The metric of the table's architectures, or of `sample` of them. Refused where they are not the space's."""
    values = table.column(metric, fidelity)
    names = tuple(table.names)
    found = {Architecture(choices): float(v) for choices, v in zip(table.rows, values, strict=True) if v == v}
    if not found or set(names) - set(space.decisions):
        raise Refused(f"the table's architectures answer {', '.join(names[:3])}…: they are not of this space")
    for arch in random.Random(0).sample(list(found), min(20, len(found))):
        try:
            space.check(arch)
        except ValueError as error:
            raise Refused(f"the table's architectures are not of this space: {error}") from error
    if sample is None or sample >= len(found):
        return found
    return {arch: found[arch] for arch in rng(seed, "rank", "sample").sample(list(found), sample)}


def equals(archs: Sequence[Architecture]) -> Callable[[Architecture], Architecture]:
    """NAS-Bench-201: one cell without dead operations for each class of equal networks; elsewhere everybody alone."""
    if not archs or set(archs[0]) != {f"{node}<-{source}" for source, node in nb201_classes.EDGES}:
        return lambda arch: arch
    leaders: dict[str, Architecture] = {}
    for arch in sorted(archs, key=Architecture.to_json):
        leaders.setdefault(nb201_classes.wired(arch), from_string(nb201_classes.effective(arch)))
    return lambda arch: leaders[nb201_classes.wired(arch)]


def noise_batch(size: int, shape: tuple[int, ...], seed: int) -> Batch:
    """Images of N(0, 1) without labels, for who has no data at hand."""
    return torch.randn(size, *shape, generator=generator(seed, "rank", "images")), None


def row_of(
    name: str, scores: np.ndarray, truth: np.ndarray, columns: Mapping[str, np.ndarray], seed: int, resamples: int
) -> dict[str, float | str]:
    """One proxy against the truth: each measure with the 95 % bootstrap interval over architectures, `_low` to `_high`.

    `given_size` is the partial correlation given both sizes of `columns`; of a size, given the other.
    """
    k = max(1, round(TOP * len(truth)))
    measures: dict[str, rank.Measure] = {
        "kendall": rank.kendall_tau,
        "spearman": rank.spearman,
        "top_precision": functools.partial(rank.top_precision, k=k),
        "ndcg_top": functools.partial(rank.ndcg, k=k),
    }
    kind = "size" if name in SIZES else "aggregate" if name in AGGREGATES else "proxy"
    row: dict[str, float | str] = {"proxy": name, "kind": kind}
    draws = np.random.default_rng(derived(seed, "rank", "bootstrap"))
    for measure, function in measures.items():
        found = rank.bootstrap(function, scores, truth, draws, resamples)
        row |= {measure: found.value, f"{measure}_low": found.low, f"{measure}_high": found.high}
    row["given_size"] = rank.partial_spearman(scores, truth, [columns[size] for size in SIZES if size != name])
    return row | {"best_truth": float(truth[int(np.argmax(scores))]), "n": float(len(truth))}


def _gaps(scores: pa.Table, missing: Mapping[str, int]) -> list[Gap]:
    gaps = []
    for name, count in missing.items():
        if count:
            first = int(np.flatnonzero(np.isnan(scores[name].to_numpy()))[0])
            reasons = scores["reason"][first].as_py().split("; ")
            reason = next((r.removeprefix(f"{name}: ") for r in reasons if r.startswith(f"{name}: ")), "not a number")
            gaps.append(Gap(name, count, scores["architecture"][first].as_py(), reason))
    return gaps

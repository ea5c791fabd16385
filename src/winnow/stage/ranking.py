"""How well proxies order the architectures of a table, always beside their size."""

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.measure import rank
from winnow.proxies import AZ_NAS, PROXIES, score
from winnow.proxies.aggregate import log_rank, oriented_ranks
from winnow.proxies.common import Batch
from winnow.proxies.sweep import Swept, sweep
from winnow.spaces import nb201_classes
from winnow.spaces.nas_bench_201 import from_string
from winnow.train.seeds import derived, generator, rng
from winnow.trials.lookup import Table

SIZES = ("params", "macs")
TOP = 0.05  # the share of the architectures that top_precision and ndcg_top look at


@dataclass(frozen=True)
class Ranking:
    """A row a proxy, in the order of Kendall's tau; `swept` says where the scores are and how many had none."""

    rows: list[dict[str, float | str]]
    swept: Swept


def rank_proxies(
    space: Space,
    truth: Mapping[Architecture, float],
    names: Sequence[str],
    batch: Batch,
    folder: Path,
    *,
    seed: int,
    resamples: int = 200,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Ranking:
    """Score the architectures of `truth` and hold each proxy, params and macs against it. What has no score is last.

    With all four of AZ-NAS' proxies there is a row `az_nas`, their log-rank aggregate within these architectures.
    """
    archs, names = list(truth), list(dict.fromkeys((*SIZES, *names)))
    streams = functools.partial(generator, derived(seed, "rank"))
    swept = sweep(space, archs, names, batch, folder, streams=streams, represent=equals(archs), progress=progress)
    scores = pq.read_table(swept.path)
    columns = {name: oriented_ranks(scores[name].to_numpy(), PROXIES[name].direction) for name in names}
    if set(AZ_NAS[:3]) <= set(names):
        of = {name: columns["macs" if name == "complexity" else name] for name in AZ_NAS}
        columns["az_nas"] = log_rank(of, dict.fromkeys(of, 1)).score
    target = np.array([truth[arch] for arch in archs])
    rows = [_row(name, column, target, columns, seed, resamples) for name, column in columns.items()]
    for row in rows:
        row["missing"] = float(swept.missing.get(str(row["proxy"]), 0))
    return Ranking(sorted(rows, key=lambda row: -float(row["kendall"])), swept)


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


def _row(
    name: str, scores: np.ndarray, truth: np.ndarray, columns: Mapping[str, np.ndarray], seed: int, resamples: int
) -> dict[str, float | str]:
    draws = np.random.default_rng(derived(seed, "rank", "bootstrap"))
    tau = rank.bootstrap(rank.kendall_tau, scores, truth, draws, resamples)
    rho = rank.bootstrap(rank.spearman, scores, truth, draws, resamples)
    k = max(1, round(TOP * len(truth)))
    given = [columns[size] for size in SIZES if size != name]
    return {
        "proxy": name,
        "kendall": tau.value,
        "kendall_low": tau.low,
        "kendall_high": tau.high,
        "spearman": rho.value,
        "spearman_low": rho.low,
        "spearman_high": rho.high,
        "given_size": rank.partial_spearman(scores, truth, given),
        "top_precision": rank.top_precision(scores, truth, k),
        "ndcg_top": rank.ndcg(scores, truth, k),
        "best_truth": float(truth[int(np.argmax(scores))]),
        "n": float(len(truth)),
    }


def standing(
    space: Space, arch: Architecture, names: Sequence[str], batch: Batch, sample: int, seed: int
) -> list[dict[str, float | str]]:
    """A row a proxy: the score of `arch`, its reason where it has none, and the share of random children it beats."""
    stream = rng(seed, "score", "sample")
    others = [space.decide(uniform(stream)) for _ in range(sample)]
    values = {name: [_one(space, other, name, batch, seed) for other in (arch, *others)] for name in names}
    rows: list[dict[str, float | str]] = []
    for name, ((own, reason), *rest) in values.items():
        ranks = oriented_ranks([own, *(value for value, _ in rest)], PROXIES[name].direction)
        beats = float(np.mean(ranks[1:] < ranks[0])) if rest else float("nan")
        rows.append({"proxy": name, "score": own, "beats": beats, "reason": reason})
    return rows


def _one(space: Space, arch: Architecture, name: str, batch: Batch, seed: int) -> tuple[float, str]:
    try:
        value = score(name, space.derive(arch), batch, generator(seed, "score", name))
    except Refused as refusal:
        return float("nan"), str(refusal)
    return value, "" if value == value else "not a number"

"""Clicked or not: chances told from flat columns, judged by how well they order events (AUC) and by their log loss."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.core.errors import Refused
from winnow.data.deal import Fractions, in_time, in_time_within, stratified
from winnow.data.inputs import table
from winnow.data.loaders import Split
from winnow.data.source import Columns, Part, Source
from winnow.tasks.calibration import expected
from winnow.tasks.classify import fewer
from winnow.tasks.task import CALIBRATION, Facts, Metric, Picture, Returned, Rows, Task

CLICK = "click"  # the column: 0 or 1
NAMES = ("not clicked", "clicked")
LEAK = 0.9999  # AUC of one column alone, either way, from which it tells the label


def checked(source: Source) -> Source:
    """The source with clicks as int32, and notes of columns that tell them, or that tell nothing."""
    parts = {name: _checked_part(part, name) for name, part in source.parts().items()}
    for name, part in parts.items():
        if len(present := np.unique(part.columns[CLICK])) == 1:
            raise Refused(f"all {name} rows are {NAMES[present[0]]!r}; it takes rows of both kinds")
    source = table.checked(source.with_parts(parts))
    return replace(source, notes=(*source.notes, *_suspicions(source)))


def _checked_part(part: Part, name: str) -> Part:
    if CLICK not in part.columns:
        raise Refused(f"the {name} part has columns {', '.join(part.columns)} and no {CLICK!r}")
    clicks = part.columns[CLICK]
    if clicks.ndim != 1 or not np.isin(clicks, (0, 1)).all():
        odd = np.unique(clicks)[:5].tolist()
        raise Refused(f"the {name} clicks are {clicks.dtype} {clicks.shape} with values {odd}; each is 0 or 1")
    return replace(part, columns={**part.columns, CLICK: clicks.astype(np.int32)})


def _suspicions(source: Source) -> list[str]:
    """Of columns that hold the answer, and of those that say nothing: one value in all rows, or another in each.

    Read from training rows alone.
    """
    cells, clicks = source.train.columns[table.CELLS], source.train.columns[CLICK]
    fields, notes = source.facts["fields"], []
    for place, name in enumerate((*fields, *source.facts["dense"])):
        column = cells[:, place]
        there = ~np.isnan(column)
        if len(np.unique(column)) < 2:  # NaN is one value
            what = "the same value in every row" if there.any() else "no value in any row"
            notes.append(f"warning: column {name!r} has {what}, so it says nothing")
            continue
        if len(np.unique(clicks[there])) < 2:
            continue
        values, which = np.unique(column[there], return_inverse=True)
        if place < len(fields) and len(values) == there.sum() > 2:
            notes.append(f"warning: column {name!r} has another value in every row, so it says nothing of new ones")
            continue
        shares = np.bincount(which, clicks[there]) / np.bincount(which)
        alone = shares[which] if place < len(fields) and len(values) <= there.sum() / 2 else column[there]
        area = auc(torch.from_numpy(np.asarray(alone, np.float64)), torch.from_numpy(clicks[there]))
        if max(area, 1 - area) >= LEAK:
            notes.append(
                f"warning: column {name!r} alone tells the label: is it known before the click? If not, name it in "
                "data.options.leave_out"
            )
    return notes


def dealt(
    columns: Columns, facts: Facts, fractions: Fractions, rng: np.random.Generator, limit: int | None
) -> np.ndarray:
    """Both kinds in every split in their shares; with times the earliest rows in the first split, the latest last."""
    if not facts["ordered"]:
        return stratified(columns[CLICK], NAMES, fractions, rng, limit)
    if "owner" in columns:
        splits = in_time_within(columns["owner"], columns["time"], fractions)
    else:
        splits = in_time(columns["time"], fractions)
    for number, name in enumerate(fractions):
        if len(present := np.unique(columns[CLICK][splits == number])) < 2:
            what = f"all {NAMES[present[0]]!r}" if len(present) else "none"
            raise Refused(
                f"in the order of time the rows of split {name} are {what}; raise its share in data.fractions"
            )
    return splits


def noted(tables: Mapping[str, Columns], facts: Facts) -> list[str]:
    """How many rows of the other splits hold a category that training has not."""
    notes = []
    for name in ("select", "test"):
        counts = table.unseen(tables[name], facts)
        if counts:
            told = ", ".join(f"{field} {count}" for field, count in counts.items())
            notes.append(f"rows of split {name} with a category unseen in training, which all share one id: {told}")
    return notes


class LogLoss(nn.BCEWithLogitsLoss):
    """Mean binary cross-entropy in nats of logits (batch, 1) and clicks (batch,)."""

    def forward(self, outputs: Tensor, clicks: Tensor) -> Tensor:
        loss: Tensor = super().forward(outputs[:, 0], clicks.to(outputs.dtype))
        return loss


def imitate(outputs: Tensor, teacher: Tensor) -> Tensor:
    """Binary cross-entropy, in nats, of the teacher's chances; logits (batch, 1) both."""
    return F.binary_cross_entropy_with_logits(outputs, teacher.sigmoid())


def auc(scores: Tensor, clicks: Tensor) -> float:
    """The chance that a clicked row has a higher score than one that is not; ties count one half. NaN is lowest.

    Over all rows at once: a mean over batches is another number. ValueError where all rows are of one kind.
    """
    scores, clicks = scores.double().cpu().nan_to_num(nan=-torch.inf), clicks.cpu().bool()
    yes = int(clicks.sum())
    no = len(clicks) - yes
    if not yes or not no:
        raise ValueError(f"{yes} rows are clicked and {no} are not: there is no pair to order")
    _, which, counts = scores.unique(return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0).double() - (counts - 1) / 2  # from 1, the mean of those that are equal
    return float((ranks[which[clicks]].sum() - yes * (yes + 1) / 2) / yes / no)


def measure(outputs: Sequence[Tensor], clicks: Sequence[Tensor]) -> dict[str, float]:
    """AUC, and `loss`, the mean log loss in nats, over all rows."""
    logits, truth = torch.cat(list(outputs))[:, 0].double().cpu(), torch.cat(list(clicks)).cpu()
    return {"auc": auc(logits, truth), "loss": float(F.binary_cross_entropy_with_logits(logits, truth.double()))}


def told(outputs: Sequence[Tensor], clicks: Tensor, facts: Facts) -> dict[str, Any]:
    """Log loss of each model, also over the entropy of the base rate (1: no better); calibration error, in points."""
    losses = [measure([each], [clicks])["loss"] for each in outputs]
    rate = float(clicks.double().mean())
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    mean = sum(losses) / len(losses)
    return {
        "log_loss": mean,
        "log_losses": losses,
        "normalised_entropy": mean / entropy,
        "base_rate": rate,
        "ece": _calibration(outputs, clicks)[0],
        "eces": [_calibration([each], clicks)[0] for each in outputs],
    }


def _calibration(outputs: Sequence[Tensor], clicks: Tensor) -> tuple[float, Rows]:
    chances = torch.cat([each[:, 0].double().sigmoid() for each in outputs])
    return expected(chances, clicks.repeat(len(outputs)), names=("chance", "clicked"))


def fewer_rows(split: Split, resolution: int, samples: float, generator: torch.Generator) -> Split:
    """Fewer rows, of both kinds alike. Refused where they are to be of a smaller resolution."""
    if resolution:
        raise Refused("clicks has no smaller resolution: leave search.trials.training.resolution 0")
    return fewer(split, samples, generator)


def example(facts: Facts) -> Tensor:
    """(1, fields + dense): the first known value of every field, ones for numbers."""
    return torch.tensor([[float(table.FIRST)] * len(facts["fields"]) + [1.0] * len(facts["dense"])])


def returned(facts: Facts) -> Returned:
    """One logit."""
    return Returned((1,), "one logit a row, (batch, 1)", lambda rows: torch.arange(rows) % 2)


def described(facts: Facts) -> str:
    sizes = table.sizes_of(facts)
    fields = ", ".join(f"{name} {size - table.FIRST}" for name, size in sizes.items())
    order = ", splits in the order of time" if facts["ordered"] else ""
    return f"{len(sizes)} fields ({fields}) and {len(facts['dense'])} numbers{order}"


CLICKS = Task(
    name="clicks",
    reads=table.Table.reads,
    target=CLICK,
    metrics={"auc": Metric("maximize", "", 0.0, 1.0), "loss": Metric("minimize", "", 0.0)},
    check=checked,
    learnt=table.learnt,
    deal=dealt,
    facts=lambda told: {
        "classes": 1,
        "fields": list(map(list, table.sizes_of(told).items())),
        "dense": list(told["dense"]),
    },
    example=example,
    returned=returned,
    inputs=table.Table,
    augment=table.augmented,
    criterion=lambda facts, seed: LogLoss(),
    imitate=imitate,
    answer=lambda outputs: outputs[:, 0].sigmoid(),
    measure=measure,
    decided=lambda outputs: outputs[:, 0] > 0,
    described=described,
    noted=noted,
    told=told,
    shown={
        "calibration error": CALIBRATION,
        "log loss": ("log_loss", Metric("minimize", "nats", 0.0)),
        "of the log loss of the base rate": ("normalised_entropy", Metric("minimize", low=0.0)),
    },
    pictures={"calibration": Picture(lambda outputs, clicks, _: _calibration(outputs, clicks)[1], "chances")},
    reduced=fewer_rows,
)

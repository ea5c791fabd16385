"""Which pictures show the same? Embeddings of images, judged on classes that training never saw: the nearest other
image is to be of the same class.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from winnow.core.errors import Refused
from winnow.core.options import Rate
from winnow.data.deal import Fractions, by_groups
from winnow.data.inputs import images
from winnow.data.loaders import Split
from winnow.data.source import Columns, Part, Source
from winnow.tasks import classify
from winnow.tasks.classify import LABEL
from winnow.tasks.neighbours import clusters, hits, map_r, nearest, nearest_of_each, nmi, recall
from winnow.tasks.proxy_losses import Proxies, ProxyLoss, Regularised, proxy_loss
from winnow.tasks.task import PERCENT, Facts, Metric, Picture, Returned, Rows, Task

EMBEDDING = 64  # numbers that a network returns
DEPTHS = (1, 2, 4, 8)
DRAWN, SIDE, SHOWN = 8, 48, 6  # queries in the report, the side of their images there, neighbours of each
SAID = (
    f"{DRAWN} test rows drawn by a fixed seed, at the left, and the {SHOWN} rows that the first model puts nearest to "
    "each, with their cosines: green where the class is right, red where it is not."
)
PRESENT = "present"  # in the facts that a loss is told: labels of the rows that are trained on


def checked(source: Source) -> Source:
    """The source with training rows in groups, their classes; test rows of classes that training has are left out.

    Refused where no class of the test set is new, where there is one alone or none of two rows, and where rows have
    other groups.
    """
    source = images.checked(classify.checked(source))
    if source.train.groups is not None:
        raise Refused("task retrieval holds whole classes apart, so the source's rows take no groups; leave them out")
    names = np.array(source.facts["classes"])
    train = replace(source.train, groups=names[source.train.columns[LABEL]])
    if source.test is None:
        return replace(source, train=train)
    known = np.isin(source.test.columns[LABEL], train.columns[LABEL])
    if known.all():
        raise Refused(
            f"all {len(known)} test rows are of classes that training has, and retrieval is judged on new ones: take "
            "test files of other classes (source parquet: data.options.new_classes), or none, and "
            "data.test_fraction of the classes is held out"
        )
    test = _rows(source.test, ~known)
    if np.bincount(test.columns[LABEL]).max() < 2:
        raise Refused("no class of the test set has two rows, so nothing is to be found; raise data.limit_test")
    if len(np.unique(test.columns[LABEL])) < 2:
        raise Refused("the test set has one class alone, so all that is found is right; it takes two or more")
    left = {"test row of a class that training has": int(known.sum())} if known.any() else {}
    return replace(source, train=train, test=test, left_out={**source.left_out, **left})


def _rows(part: Part, which: np.ndarray) -> Part:
    assert part.rows is not None
    return Part({name: values[which] for name, values in part.columns.items()}, part.rows[which])


def noted(tables: Mapping[str, Columns], facts: Facts) -> list[str]:
    """How many classes each split has, and rows that are alone of theirs."""
    counts = {name: np.unique(columns[LABEL], return_counts=True)[1] for name, columns in tables.items()}
    notes = ["no class is in two splits: " + ", ".join(f"{name} {len(each)}" for name, each in counts.items())]
    if alone := int((counts["test"] == 1).sum()):
        notes.append(f"{alone} test row(s) are alone of their class: to be passed over, not to be found")
    return notes


def dealt(
    columns: Columns, facts: Facts, fractions: Fractions, rng: np.random.Generator, limit: int | None
) -> np.ndarray:
    """Whole classes. Refused where a split that judges has one alone, or none of two rows: all would be right, or none.

    The split that is trained on, the first, may have one.
    """
    splits = by_groups(columns[LABEL], fractions, rng)
    for number, name in list(enumerate(fractions))[1:]:
        counts = np.unique(columns[LABEL][splits == number], return_counts=True)[1]
        if len(counts) < 2 or counts.max() < 2:
            raise Refused(
                f"split {name} has {len(counts)} class(es) of up to {counts.max()} row(s); it takes two, one of "
                "two rows, to tell right from wrong: bring more classes, or raise its share in data.fractions"
            )
    return splits


def taught(split: Split) -> Facts:
    """The facts, and which classes are there: the others get no proxies, which would push all rows away."""
    return {**split.facts, PRESENT: split.answers.unique().tolist()}


def imitate(outputs: Tensor, teacher: Tensor) -> Tensor:
    """One minus the cosine, 0 where they point the same way."""
    return 1 - F.cosine_similarity(outputs, teacher).mean()


def measure(outputs: Sequence[Tensor], labels: Sequence[Tensor]) -> dict[str, float]:
    """Recall at 1 and mean average precision at R, percent, each row a query among all others."""
    found, others = hits(torch.cat(list(outputs)).cpu(), torch.cat(list(labels)).cpu(), 1)
    return {"recall_1": recall(found, 1), "map_r": map_r(found, others)}


def told(outputs: Sequence[Tensor], labels: Tensor, facts: Facts) -> dict[str, Any]:
    """Means over the models and each one's: recalls at 1, 2, 4, 8, mAP@R (percent), NMI of as many clusters as classes.

    Beside them the share of queries that a row drawn by chance would answer.
    """
    every = [_numbers(each, labels) for each in outputs]
    means = {name: float(np.mean([each[name] for each in every])) for name in every[0]}
    others = labels.bincount()[labels] - 1
    chance = 100 * float(others[others > 0].double().mean()) / (len(labels) - 1)
    return {**means, "models": every, "recall_1_by_chance": chance}


def _numbers(outputs: Tensor, labels: Tensor) -> dict[str, float]:
    found, others = hits(outputs, labels, max(DEPTHS))
    recalls = {f"recall_{k}": recall(found, k) for k in DEPTHS}
    return {**recalls, "map_r": map_r(found, others), "nmi": nmi(labels, clusters(outputs, len(labels.unique())))}


def neighbours(outputs: Sequence[Tensor], labels: Tensor, facts: Facts, pixels: Tensor) -> Rows:
    """Of the first model: some queries, drawn by a fixed seed, and their nearest rows; images as PNG in base64."""
    queries = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:DRAWN]
    places, near = nearest(outputs[0], labels, queries, SHOWN)
    rows = []
    for query, found, cosines in zip(queries.tolist(), places.tolist(), near.tolist(), strict=True):
        for rank, (place, cosine) in enumerate(zip([query, *found], [1.0, *cosines], strict=True)):
            rows.append(
                {
                    "query": query,
                    "rank": rank,
                    "row": place,
                    "class": facts["classes"][int(labels[place])],
                    "right": bool(labels[place] == labels[query]),
                    "cosine": cosine,
                    "png": _png(pixels[place].numpy()),
                }
            )
    return rows


def _png(pixels: np.ndarray) -> str:
    shown = pixels[0] if len(pixels) == 1 else pixels[:3].transpose(1, 2, 0)
    image, written = Image.fromarray(shown), io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    image.save(written, "PNG")
    return base64.b64encode(written.getvalue()).decode()


def returned(facts: Facts) -> Returned:
    size = facts["classes"]
    return Returned((size,), f"one embedding a row, (batch, {size})", lambda rows: torch.arange(rows) % 2)


def retrieval(name: str, embedding: int = EMBEDDING) -> Task:
    """A task of embeddings of so many numbers (even, with non-isotropy); builders hear of them as `classes`."""

    def criterion(
        facts: Facts, seed: int, *, proxies: Proxies = "anchor", nir: Regularised = "off", align: Rate = 0.01
    ) -> ProxyLoss:
        present = facts.get(PRESENT) or range(len(facts["classes"]))
        return proxy_loss(embedding, present, seed, proxies, nir, align)

    return Task(
        name=name,
        reads=images.Images.reads,
        target=LABEL,
        metrics={"recall_1": PERCENT, "map_r": PERCENT},
        check=checked,
        learnt=images.learnt,
        deal=dealt,
        facts=lambda told: {"classes": embedding, **images.facts_of(told["shape"])},
        example=images.shape_of,
        returned=returned,
        inputs=images.Images,
        augment=images.augmented,
        criterion=criterion,
        taught=taught,
        imitate=imitate,
        answer=F.normalize,
        measure=measure,
        decided=nearest_of_each,
        described=lambda told: (
            f"{'x'.join(map(str, told['shape']))}, {len(told['classes'])} classes, embeddings of {embedding} numbers"
        ),
        noted=noted,
        told=told,
        shown={
            **{f"recall at {k}": (f"recall_{k}", PERCENT) for k in DEPTHS[1:]},
            "mAP@R": ("map_r", PERCENT),
            "NMI of clusters": ("nmi", Metric("maximize", "", 0.0, 1.0)),
            "recall at 1 by chance": ("recall_1_by_chance", PERCENT),
        },
        pictures={"neighbours": Picture(neighbours, "neighbours", (images.IMAGE,), SAID)},
        reduced=classify.smaller_images,
    )


RETRIEVAL = retrieval("retrieval")

"""One label a row, among classes: what is told by chances and judged by how often the likeliest class is right."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.core.errors import Refused
from winnow.data.deal import Fractions, stratified
from winnow.data.inputs import images
from winnow.data.labelled import check_labels
from winnow.data.loaders import Split, subset
from winnow.data.source import Columns, Part, Source
from winnow.tasks.calibration import reliability
from winnow.tasks.task import CALIBRATION, PERCENT, Facts, Metric, Picture, Returned, Rows, Task

LABEL = "label"  # the column: whole numbers, indices into facts["classes"]
METRICS = {"accuracy": PERCENT, "loss": Metric("minimize", "", 0.0)}


def checked(source: Source) -> Source:
    """The source with labels as int32; Refused where it has none, or none of several classes."""
    classes = _class_names(source.facts.get("classes"))
    parts = {name: _checked_part(part, name, classes) for name, part in source.parts().items()}
    labels = parts["train"].columns[LABEL]
    if len(present := np.unique(labels)) == 1:
        raise Refused(f"all training rows are of one class, {classes[present[0]]!r}; it takes at least 2")
    return replace(source.with_parts(parts), facts={**source.facts, "classes": list(classes)})


def _class_names(given: Any) -> tuple[str, ...]:
    if given is None:
        raise Refused("the source's facts do not name its classes; write facts={'classes': ['cat', 'dog']}")
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise Refused(f"the class names are a {type(given).__name__}; it takes a list of texts, one a class")
    names = tuple(given)
    if wrong := [name for name in names if not isinstance(name, str)]:
        kind = type(wrong[0]).__name__
        raise Refused(f"class names must be text; one is {wrong[0]!r} ({kind}): write list(map(str, classes))")
    if odd := next((name for name in names if any("\ud800" <= letter <= "\udfff" for letter in name)), None):
        raise Refused(f"class name {odd!r} is no Unicode text; name it in other letters")
    if len(names) < 2:
        raise Refused(f"the data has {len(names)} class(es) {list(names)}; it takes at least 2")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Refused(f"class name {twice!r} is there twice; each class needs a name of its own")
    return names


def _checked_part(part: Part, name: str, classes: Sequence[str]) -> Part:
    if LABEL not in part.columns:
        raise Refused(f"the {name} part has columns {', '.join(part.columns)} and no {LABEL!r}")
    labels = part.columns[LABEL]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        hint = ""
        if labels.ndim == 2:
            hint = ": write labels.argmax(1)" if labels.shape[1] > 1 else ": write labels[:, 0]"
        raise Refused(f"{len(part)} {name} rows need as many integer labels; got {labels.dtype} {labels.shape}{hint}")
    check_labels(labels, len(classes), name)
    return replace(part, columns={**part.columns, LABEL: labels.astype(np.int32)})


def dealt(
    columns: Columns, facts: Facts, fractions: Fractions, rng: np.random.Generator, limit: int | None
) -> np.ndarray:
    """Every class in every split, in its share."""
    return stratified(columns[LABEL], facts["classes"], fractions, rng, limit)


def cross_entropy(facts: Facts, seed: int, *, smoothing: float = 0.0) -> nn.Module:
    """In nats; `smoothing` of the truth is spread over all classes."""
    return nn.CrossEntropyLoss(label_smoothing=smoothing)


def imitate(outputs: Tensor, teacher: Tensor) -> Tensor:
    """Soft cross-entropy: in nats, of the teacher's chances (batch, classes)."""
    return F.cross_entropy(outputs, teacher.softmax(1))


def right(outputs: Tensor, labels: Tensor) -> Tensor:
    """(batch,) bool: whether the likeliest class is the true one."""
    return outputs.argmax(1) == labels


def measure(outputs: Sequence[Tensor], labels: Sequence[Tensor]) -> dict[str, float]:
    """Accuracy in percent and mean cross-entropy in nats over all rows; batch by batch, on their device."""
    hits = sum(right(each, y).sum() for each, y in zip(outputs, labels, strict=True))
    loss = sum(F.cross_entropy(each, y, reduction="sum").double() for each, y in zip(outputs, labels, strict=True))
    count = sum(map(len, labels))
    return {"accuracy": 100 * float(hits) / count, "loss": float(loss) / count}


def told(outputs: Sequence[Tensor], labels: Tensor, facts: Facts) -> dict[str, Any]:
    """Calibration error in points, of all models' predictions and of each, and accuracy by class, their mean."""
    return {
        "ece": _reliability(outputs, labels)[0],
        "eces": [_reliability([each], labels)[0] for each in outputs],
        "classes": list(facts["classes"]),
        "per_class": _per_class(outputs, labels, len(facts["classes"])),
    }


def _per_class(outputs: Sequence[Tensor], labels: Tensor, classes: int) -> list[float | None]:
    """None where there is no row of a class."""
    answers = torch.stack([right(each, labels) for each in outputs]).double()
    return [100 * float(answers[:, labels == i].mean()) if (labels == i).any() else None for i in range(classes)]


def _reliability(outputs: Sequence[Tensor], labels: Tensor) -> tuple[float, Rows]:
    chances = [each.softmax(1) for each in outputs]
    confidence = torch.cat([each.max(1).values for each in chances])
    return reliability(confidence, torch.cat([right(each, labels) for each in chances]))


def confusion(outputs: Sequence[Tensor], labels: Tensor, facts: Facts) -> Rows:
    """Counts over all models, one row a pair of true and predicted class."""
    classes = facts["classes"]
    size, labels = len(classes), labels.long()
    counts: Any = sum(torch.bincount(labels * size + each.argmax(1), minlength=size * size) for each in outputs)
    return [
        {"actual": classes[i], "predicted": classes[j], "count": int(counts[i * size + j])}
        for i in range(size)
        for j in range(size)
    ]


def fewer(split: Split, share: float, generator: torch.Generator) -> Split:
    """`share` of the rows of each class, at least one of each, in their order."""
    if share >= 1:
        return split
    kept = []
    for label in split.answers.unique():
        of_class = (split.answers == label).nonzero().flatten().cpu()
        order = torch.randperm(len(of_class), generator=generator)
        kept.append(of_class[order[: max(1, round(share * len(of_class)))]])
    return subset(split, torch.cat(kept).sort().values.to(split.device))


def smaller_images(split: Split, resolution: int, samples: float, generator: torch.Generator) -> Split:
    """Fewer images, of every class alike, at a smaller side: `resolution` halvings of its square."""
    split = fewer(split, samples, generator)
    return images.smaller(split, resolution) if resolution else split


def returned(facts: Facts) -> Returned:
    """Logits, one a class."""
    count = facts["classes"]
    return Returned(
        (count,),
        f"one tensor of logits, (batch, {count}), for {count} classes",
        lambda rows: torch.arange(rows) % count,
        _probabilities,
    )


def _probabilities(outputs: Tensor) -> str:
    chances = len(outputs) == 2 and (outputs >= 0).all() and (outputs.float().sum(1) - 1).abs().max() < 1e-3
    return "probabilities: leave the last softmax out" if chances else ""


def classification(name: str, kind: Any, facts: Any, **rest: Any) -> Task:
    """A task of one label a row; `kind` are its inputs, `facts` what a builder is told of them beside `classes`."""

    def both(source: Source) -> Source:
        return kind.checked(checked(source))

    return Task(
        name=name,
        target=LABEL,
        metrics=METRICS,
        check=both,
        learnt=kind.learnt,
        augment=kind.augmented,
        deal=dealt,
        facts=lambda told: {"classes": len(told["classes"]), **facts(told)},
        returned=returned,
        criterion=cross_entropy,
        imitate=imitate,
        answer=partial(torch.softmax, dim=1),
        measure=measure,
        each=right,
        decided=lambda outputs: outputs.argmax(1),
        described=lambda told: f"{'x'.join(map(str, told['shape']))}, {len(told['classes'])} classes",
        told=told,
        shown={"calibration error": CALIBRATION},
        pictures={
            "confusion": Picture(confusion, "confusion"),
            "calibration": Picture(lambda outputs, labels, _: _reliability(outputs, labels)[1], "reliability"),
        },
        **rest,
    )


IMAGES = classification(
    "image_classification",
    images,
    lambda told: images.facts_of(told["shape"]),
    reads=images.Images.reads,
    example=images.shape_of,
    inputs=images.Images,
    reduced=smaller_images,
)

"""What every task promises, whatever is learnt: shapes, a loss that teaches, numbers in their range, rows to draw."""

import functools
import json
import operator
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.tasks.planted import BRIGHTNESS, squares
from winnow.core.errors import Refused
from winnow.core.example import noise
from winnow.data import source as sources
from winnow.data.loaders import Batches, in_order, open_split
from winnow.data.prepare import prepare_splits
from winnow.data.source import Options, Part, Source
from winnow.look import charts
from winnow.nn.detection import centres
from winnow.tasks import TASKS, task_named
from winnow.tasks.task import Task

ROWS = 96


def waves(options: Options) -> Source:
    """Tones of two pitches, half a second at 8 kHz."""
    rng = np.random.default_rng(0)
    labels = np.arange(ROWS) % 2
    time = np.arange(4000) / 8000
    tones = np.sin(2 * np.pi * np.where(labels, 900, 300)[:, None] * time) + rng.normal(0, 0.1, (ROWS, 4000))
    clips = (8000 * tones).clip(-32768, 32767).astype(np.int16)
    return Source(Part({"clip": clips, "label": labels}), None, {"classes": ["low", "high"], "rate": 8000})


def visits(options: Options) -> Source:
    """Who, what and when: a category is missing here and there, and so is a number."""
    rng = np.random.default_rng(0)
    who, what, when = rng.integers(0, 5, ROWS), rng.integers(10, 14, ROWS), rng.normal(9.0, 3.0, ROWS)
    clicks = (when + 2 * who > 13).astype(np.int32)
    cells = np.stack([who, what, when], 1).astype(np.float64)
    cells[::17, 1] = cells[::19, 2] = np.nan
    return Source(Part({"cells": cells, "click": clicks}), None, {"fields": ["who", "what"], "dense": ["when"]})


def pictures(options: Options) -> Source:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (ROWS, 3, 8, 6), dtype=np.uint8)
    return Source(Part({"image": images, "label": np.arange(ROWS) % 3}), None, {"classes": ["a", "b", "c"]})


def squares_in_place(options: Options) -> Source:
    """A bright square in one quarter of each image, large or small."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (ROWS, 3, 16, 16), dtype=np.uint8)
    boxes = np.full((ROWS, 2, 5), -1, np.float32)
    for row in range(ROWS):
        x, y, side = 8 * (row % 2), 8 * (row // 2 % 2), 8 if row % 3 else 6
        images[row, :, y : y + side, x : x + side] = 250
        boxes[row, 0] = x, y, x + side, y + side, side == 8
    facts = {"classes": ["small", "large"], "symmetric": True}
    return Source(Part({"image": images, "boxes": boxes}), None, facts)


class Located(torch.nn.Module):
    """One layer that tells boxes of four places, 8 pixels apart."""

    def __init__(self, numbers: int, classes: int):
        super().__init__()
        self.layer = torch.nn.Linear(numbers // 256, 5 + classes)  # of means over quarters

    def forward(self, x):
        seen = torch.nn.functional.avg_pool2d(x.view(len(x), -1, 16, 16), 8)
        told = self.layer(seen.flatten(2).transpose(1, 2))
        points, sides = centres(2, 2, 8).expand(len(x), 4, 2), 4 * told[..., :4].exp()
        box = torch.cat([points - sides[..., :2], points + sides[..., 2:]], 2)
        return torch.cat([box, points, torch.full_like(points[..., :1], 8), told[..., 4:]], 2)


def drawn(options: Options) -> Source:
    """A shape a class, and more noise; more classes than splits."""
    rng = np.random.default_rng(0)
    labels = np.arange(ROWS) % 8
    shapes = rng.integers(0, 100, (8, 3, 8, 6))
    images = (shapes[labels] + rng.integers(0, 150, (ROWS, 3, 8, 6))).astype(np.uint8)
    return Source(Part({"image": images, "label": labels}), None, {"classes": [f"glyph {i}" for i in range(8)]})


CASES = {  # a source of each task
    "image_classification": pictures,
    "audio_classification": waves,
    "clicks": visits,
    "detection": squares_in_place,
    "retrieval": drawn,
    "tests.tasks.planted:BRIGHTNESS": squares,
}
# numbers a row; of a classification one a class
OUTPUTS = {"tests.tasks.planted:BRIGHTNESS": 1, "clicks": 1, "retrieval": 64}


@pytest.fixture(params=CASES)
def task(request) -> Task:
    return task_named(request.param)


@pytest.fixture
def split(task, tmp_path, monkeypatch):
    monkeypatch.setitem(sources_by_name(), "planted", CASES[task.name])
    fractions = {"weights": 0.5, "arch": 0.25, "select": 0.25}
    prepare_splits(tmp_path, task, source="planted", seed=0, fractions=fractions, test_fraction=0.25)
    return open_split(tmp_path, "weights", task, stage="search")


def sources_by_name():
    from winnow.data.sources import SOURCES

    return SOURCES


def outputs_of(task: Task, split, x, seed: int = 0) -> torch.Tensor:
    """What a network of one layer returns."""
    return layer_of(task, split, x, seed)(x.flatten(1))


def layer_of(task: Task, split, x, seed: int = 0) -> torch.nn.Module:
    count = OUTPUTS.get(task.name, len(split.facts.get("classes", ())))
    torch.manual_seed(seed)
    return (Located if task.name == "detection" else torch.nn.Linear)(x[0].numel(), count)


def batch(split, **settings):
    return next(iter(Batches(split, 16, generator=torch.Generator().manual_seed(0), **settings)))


def test_every_task_has_a_case_here():
    assert set(TASKS) <= set(CASES)


def test_an_example_is_what_a_batch_looks_like(task, split):
    facts = task.facts(split.facts)
    json.dumps(facts)  # they stand in model files
    x, y = batch(split)
    example = noise(task.example(facts), torch.Generator(), len(x))
    assert (example.shape, example.dtype) == (x.shape, x.dtype)
    assert len(y) == len(x) == 16
    assert x.isfinite().all()


def test_augmented_rows_keep_their_shape_and_follow_the_generator(task, split):
    augment = task.inputs(split.facts, task.augment(split.facts))
    first, second = (batch(split, augment=augment) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert first[0].shape == batch(split)[0].shape
    assert torch.equal(first[1], second[1])


def test_the_criterion_is_a_number_that_teaches(task, split):
    x, y = batch(split)
    outputs = outputs_of(task, split, x).detach().requires_grad_()
    loss = task.criterion(split.facts, 0)(outputs, y)
    loss.backward()
    assert loss.shape == ()
    assert loss.isfinite()
    assert outputs.grad.abs().sum() > 0
    again = task.criterion(split.facts, 0)(outputs, y)
    assert torch.equal(loss, again)  # all it draws is from its seed


def test_imitating_a_teacher_is_least_at_the_teacher(task, split):
    x, _ = batch(split)
    teacher = outputs_of(task, split, x).detach()
    student = teacher.clone().requires_grad_()
    at_home = task.imitate(student, teacher)
    (gradient,) = torch.autograd.grad(at_home, student)
    assert gradient.abs().max() < 1e-5
    assert task.imitate(teacher + torch.randn(teacher.shape), teacher) > at_home.detach()


def test_metrics_lie_between_their_bounds_and_need_no_whole_set(task, split):
    x, y = batch(split)
    outputs = outputs_of(task, split, x).detach()
    found = task.measure([outputs], [y])
    assert set(task.metrics) <= set(found)
    for name, metric in task.metrics.items():
        assert metric.low <= found[name] <= metric.high
    parts = task.measure(list(outputs.split(5)), list(y.split(5)))
    assert {name: pytest.approx(value, rel=1e-5) for name, value in found.items()} == parts
    if task.each is not None:
        each = task.each(outputs, y)
        assert each.shape == (len(y),)
        assert task.first.shown(float(each.double().mean())) == pytest.approx(found[task.metric], rel=1e-5)


def test_what_is_decided_of_rows_does_not_depend_on_the_scale_of_outputs(task, split):
    if task.decided is None:
        return
    outputs = outputs_of(task, split, batch(split)[0]).detach()
    decided = task.decided(outputs)
    assert decided.shape == (len(outputs),)
    assert torch.equal(task.decided(3 * outputs), decided)
    assert not torch.equal(task.decided(-outputs if task.name == "clicks" else outputs.flip(0)), decided)


def test_the_numbers_that_a_report_shows_are_told_and_lie_between_their_bounds(task, split):
    x, y = batch(split)
    told = task.told([outputs_of(task, split, x).detach()], y, split.facts)
    for key, metric in task.shown.values():
        value = functools.reduce(operator.getitem, key.split("/"), told)
        assert metric.low <= value <= metric.high


def test_training_by_the_criterion_makes_the_first_metric_better(task, split):
    x, y = (torch.cat(parts) for parts in zip(*Batches(split, 16, generator=torch.Generator()), strict=True))
    layer = layer_of(task, split, x)
    optimiser, criterion = torch.optim.Adam(layer.parameters(), 0.01), task.criterion(split.facts, 0)
    scores = []
    for _ in range(40):
        outputs = layer(x.flatten(1))
        scores.append(task.score(task.measure([outputs.detach()], [y])))
        optimiser.zero_grad()
        criterion(outputs, y).backward()
        optimiser.step()
    assert scores[-1] > scores[0]


def test_what_is_told_and_drawn_of_answers_is_plain(task, split):
    columns = {name: values[:16] for name, values in split.columns.items()}
    x, y = next(iter(in_order(replace(split, columns=columns), 16)))
    outputs = [outputs_of(task, split, x, seed).detach() for seed in range(2)]
    json.dumps(task.told(outputs, y, split.facts), allow_nan=False)
    assert len(task.answer(outputs[0])) == len(y)
    for picture in task.pictures.values():
        rows = picture.of(outputs, replace(split, columns=columns))
        assert rows
        assert len({tuple(row) for row in rows}) == 1
        assert getattr(charts, picture.chart)([{key: str(value) for key, value in row.items()} for row in rows])


def test_a_source_of_something_else_is_refused(task):
    part = Part({"something": np.zeros((8, 2))})
    given = sources.checked(Source(part, None, {"classes": ["a", "b"]}))
    with pytest.raises(Refused, match="something"):
        task.check(given)


def test_unknown_tasks_and_what_is_none_are_refused():
    with pytest.raises(Refused, match=r"no task 'image_clasification'; nearest: 'image_classification'"):
        task_named("image_clasification")
    with pytest.raises(Refused, match=r"module 'tests.tasks.planted' has no winnow.tasks.task.Task called 'squares'"):
        task_named("tests.tasks.planted:squares")
    assert task_named("tests.tasks.planted:BRIGHTNESS").name == BRIGHTNESS.name

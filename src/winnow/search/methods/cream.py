"""Cream of the Crop: the best paths so far teach the others (Peng et al. 2020, arXiv:2010.15821)."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.core.options import NotNegative, Positive, Rate
from winnow.search.bench import Bench, Found
from winnow.search.board import Board, Entry
from winnow.search.matching import Matching, virtual_slope
from winnow.search.objective import Learning
from winnow.search.recipe import Recipe
from winnow.search.several import Still, backward, learning, on_one_curve, smallest, train_children
from winnow.search.strategy import strategy
from winnow.train.evaluate import Batch
from winnow.train.loop import Step
from winnow.train.seeds import derived, rng

START = 21 / 120  # of the epochs go by before anybody teaches, as published
LEAD = 0.05  # of the range of the metric: five points of accuracy


@strategy("children shortlist", watched=False, short={"start": 0})
def cream(
    bench: Bench,
    recipe: Recipe,
    *,
    size: Positive = 10,
    start: NotNegative | None = None,
    teacher: Literal["matched", "best"] = "matched",
    lessons: Positive = 6,
    matching_lr: Rate = 1e-4,
    rows: Positive = 4,
    judge: bool = True,
) -> Found:
    """Train one uniform path a batch, taught by one of the `size` best paths so far once `start` epochs are over.

    Half the loss is w times what that teacher says of the batch, and 2 - w times the answers. A linear layer chooses
    the teacher and w from how the answers of both differ on `rows` rows; `lessons` times an epoch it learns, by how a
    step of teaching on some rows would change the loss of others. `teacher: best` takes the best path and w = 1/2
    instead. Published: 120 epochs of batches of 1,024, lr 1.0 falling in a line, Nesterov's momentum, no clipping;
    `start` 21 (null: in proportion); 6 lessons an epoch; labels smoothed by 0.1.

    A reconstruction from the authors' code, with its known slips mended: how good a path is, is told by one fixed batch
    of split arch instead of the batch it was trained on, and those on the board are judged anew every epoch; w is the
    sigmoid of the chosen entry's own degree, and a constant where the weights step; a lesson counts all weights of the
    path and moves none. Rows of all entries go through the network at once. Paths are uniform, as the authors' code
    draws them. With `judge` two random paths are judged after every epoch. Leaves the board as shortlist.
    Refused where `start` leaves no epoch, or a batch has too few rows.
    """
    begins = int(START * recipe.epochs) if start is None else start
    if begins >= recipe.epochs:
        raise Refused(f"start is {begins} and epochs {recipe.epochs}: no epoch is left in which anybody teaches")
    space, draws, low_high = bench.space, rng(bench.seed, "paths"), bench.task.first.bounds
    course = on_one_curve(bench, recipe, usual="linear")
    board = Board(size, LEAD * (low_high[1] - low_high[0]))
    school = _school(bench, board, rows, matching_lr)
    taken = {"steps": 0}
    bench.keeper.add(draws=draws, board=board, taken=taken, **school.matching.parts)
    steps: int = len(bench.train)  # type: ignore[arg-type]
    every = max(1, round(steps / lessons))

    def lesson(epoch: int) -> Step:
        def step(batch: Batch) -> Tensor:
            (x, _), student = batch, space.decide(uniform(draws))
            place, taken["steps"] = taken["steps"] % steps, taken["steps"] + 1
            if epoch < begins:
                return backward(school.learn(batch, student))
            told = school.chosen(student, teacher) if board else None
            if told is not None and told.differences is not None and place and place % every == 0:
                rate = course["optimiser"].param_groups[0]["lr"]
                school.lesson(batch, student, told, rate, rate / recipe.lr)
            said = None if told is None else school.said(x, told.architecture)
            score = school.score(student)  # both before the path's own pass, whose maps stay in memory until backward
            outputs, loss = school.learn.first_and_loss(batch, student)
            if told is not None and said is not None:
                loss = (told.weight * bench.task.imitate(outputs, said) + (2 - told.weight) * loss) / 2
            school.offer(batch, student, score, outputs)
            return backward(loss)

        return step

    judged = {f"random_{i}": space.decide(uniform(rng(bench.seed, "judged", i))) for i in (1, 2)} if judge else {}
    train_children(bench, recipe, lesson, lambda epoch: judged, begin=lambda epoch: school.refresh(), **course)
    return Found(space, shortlist=tuple(entry.architecture for entry in board.entries))


@dataclass(frozen=True)
class Teacher:
    """Who teaches a path, with which weight, and the differences in answers which that was told from, if any."""

    architecture: Architecture
    weight: float
    differences: Tensor | None = None


@dataclass(frozen=True)
class School:
    """Paths of the bench's space that say, judge and teach without being trained by it.

    `fixed` is the batch that tells how good a path is; entries of the board hold `rows` rows.
    """

    bench: Bench
    learn: Learning
    board: Board
    fixed: Batch
    rows: int
    matching: Matching
    still: Still

    def said(self, x: Any, arch: Architecture) -> Tensor:
        """The outputs of a path, with statistics of these rows; neither it nor its running statistics move."""
        with torch.no_grad(), self.still():
            return self.learn.first(x, lambda x: self.bench.space(x, arch))

    def score(self, arch: Architecture) -> float:
        x, y = self.fixed
        return self.bench.task.score(self.bench.task.measure([self.said(x, arch)], [y]))

    def offer(self, batch: Batch, arch: Architecture, score: float, outputs: Tensor) -> None:
        """Take a path onto the board, with its `outputs` on this batch, if `score` is good enough."""
        x, _ = batch
        if self.board.admits(arch, score, self._macs):
            answers = self.bench.task.answer(outputs[: self.rows].detach())
            self.board.add(Entry(arch, score, self._macs(arch), x[: self.rows].clone(), answers))

    def _macs(self, arch: Architecture) -> float:
        return self.bench.sizes(arch)["macs"]

    def refresh(self) -> None:
        """Judge all on the board anew: the weights have moved."""
        for entry in self.board.entries:
            entry.score = self.score(entry.architecture)
            entry.answers = self.bench.task.answer(self.said(entry.x, entry.architecture))
        self.board.sort()

    def chosen(self, student: Architecture, by: str) -> Teacher:
        """The entry that matches best, the first of equals; or the best one."""
        entries = self.board.entries
        if by == "best":
            return Teacher(entries[0].architecture, 0.5)
        answers = self.bench.task.answer(self.said(torch.cat([entry.x for entry in entries]), student))
        differences = (answers - torch.cat([entry.answers for entry in entries])).reshape(len(entries), -1)
        with torch.no_grad():
            best = int(self.matching.layer(differences).argmax())
            weight = float(self.matching.weight(differences[best]))
        return Teacher(entries[best].architecture, weight, differences[best])

    def lesson(self, batch: Batch, student: Architecture, told: Teacher, rate: float, share: float) -> None:
        """One step of the matching: would teaching on the first rows make the next ones better told?"""
        (x, y), rows, space = batch, self.rows, self.bench.space
        assert told.differences is not None
        if len(x) < 2 * rows:
            raise Refused(f"a batch has {len(x)} rows, and a lesson takes {rows} to teach and {rows} to tell")
        teacher = self.said(x[:rows], told.architecture)
        held = (x[rows : 2 * rows], y[rows : 2 * rows])
        with self.still():
            taught = self.bench.task.imitate(self.learn.first(x[:rows], lambda x: space(x, student)), teacher)
            slope = virtual_slope(space, taught, told.weight, rate, lambda: self.learn(held, student))
        self.matching.learn(told.differences, slope, share)


def _school(bench: Bench, board: Board, rows: int, lr: float) -> School:
    learn, space, fixed = learning(bench), bench.space, next(iter(bench.valid))
    quiet = Still(space)
    with torch.no_grad(), quiet():
        outputs = learn.first(fixed[0][:2], lambda x: space(x, space.decide(smallest)))
    numbers = rows * bench.task.answer(outputs)[0].numel()
    matching = Matching(numbers, lr, derived(bench.seed, "matching"), outputs.device)
    return School(bench, learn, board, fixed, rows, matching, quiet)

"""Training a supernet by several architectures a batch: their gradients add up, and the weights step once."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Value
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.nn.drop_path import DropPath
from winnow.search.bench import Bench
from winnow.search.objective import Learning
from winnow.search.recipe import Recipe
from winnow.train.evaluate import BatchStatistics, every_module
from winnow.train.loop import Step, Told, loop
from winnow.train.schedules import falling
from winnow.train.watch import epoch_loss

Judged = Callable[[int], Mapping[str, Architecture]]  # who is judged after an epoch, by name


def smallest(d: Decision) -> Value:
    """Options come smallest first where they have an order."""
    return d.values[0]


def largest(d: Decision) -> Value:
    return d.values[-1]


def backward(loss: Tensor) -> Tensor:
    """Add its gradients to those that are there; the loss as a number ()."""
    loss.backward()
    return loss.detach()


def learning(bench: Bench) -> Learning:
    """The bench's objective by its parts. Refused where it is a function that does not show what networks say."""
    if not isinstance(bench.objective, Learning):
        raise Refused("here networks learn from networks, and the objective of this bench shows nothing but a loss")
    return bench.objective


def descent(space: Space, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser of `recipe` over the weights of `space`; decay skips vectors (BatchNorm, biases)."""
    decayed = [p for p in space.parameters() if p.dim() > 1]
    rest = [p for p in space.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return recipe.descent([g for g in groups if g["params"]])


def on_one_curve(bench: Bench, recipe: Recipe, warmup: int = 0, usual: str = "cosine") -> dict[str, Any]:
    """For a loop: the optimiser, and one curve over the search, batch by batch, after `warmup` epochs.

    `usual` is the curve where the recipe says none.
    """
    optimiser, steps = descent(bench.space, recipe), len(bench.train)  # type: ignore[arg-type]
    kind = recipe.schedule or usual
    curve = falling(optimiser, kind, recipe.epochs * steps, recipe.lr_min, warmup=warmup * steps)
    return {"optimiser": optimiser, "schedule": curve}


def train_children(bench: Bench, recipe: Recipe, lesson: Callable[[int], Step], judged: Judged, **course: Any) -> None:
    """`loop` over the bench's batches by the steps of `lesson`, with what `course` says.

    After every epoch the architectures that `judged(epoch)` names, always by the same names, are judged on the bench's
    rows, if it has some, with BatchNorm statistics of their own: the task's first metric, as "accuracy_NAME".
    """

    def told(epoch: int, losses: Sequence[Tensor], lr: float) -> Told:
        metrics = {"train_loss": epoch_loss(losses, epoch, lr, "search"), "lr": lr}
        named = {} if bench.judged is None else judged(epoch)
        sign, metric = bench.task.first.sign, bench.task.metric
        once = {arch: sign * bench.score(arch) for arch in dict.fromkeys(named.values())}
        return metrics | {f"{metric}_{name}": once[arch] for name, arch in named.items()}, None

    loop(
        bench.space,
        bench.train,
        lesson,
        epochs=recipe.epochs,
        section="search",
        told=told,
        clip=recipe.clip,
        watch=bench.watch,
        keeper=bench.keeper,
        **course,
    )


class Still:
    """What a space does while it learns, which can be switched off for a while: looked up once, for many times."""

    def __init__(self, space: Space):
        self.switches = BatchStatistics(space), Quiet(space)

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Inside, paths normalise with their batch, leave running statistics alone and drop nothing."""
        statistics, quiet = self.switches
        with statistics(), quiet():
            yield


class Quiet:
    """Dropout and drop-path of a model, which can be switched off for a while."""

    def __init__(self, model: nn.Module):
        kinds = (nn.modules.dropout._DropoutNd, DropPath)
        self.modules = [vars(m) for m in every_module(model) if isinstance(m, kinds)]  # Module.__setattr__ is slow

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Inside, nothing is dropped."""
        before = [m["training"] for m in self.modules]
        try:
            for m in self.modules:
                m["training"] = False
            yield
        finally:
            for m, training in zip(self.modules, before, strict=True):
                m["training"] = training

"""NEAS: ensembles whose space shrinks by how good and how different options are (Chen et al. 2021, arXiv:2104.00597).

The authors published networks and how to retrain them, no code of the search: this is a reconstruction after the
abstract.
"""

import itertools
import random
import statistics
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.decision import Option, Value
from winnow.core.errors import Refused
from winnow.core.options import Positive, Rate, Weight
from winnow.core.space import Space
from winnow.search.bench import Bench, Found
from winnow.search.layers import Key, Layer, layers_of
from winnow.search.objective import Learning
from winnow.search.recipe import Recipe
from winnow.search.room import check_room
from winnow.search.several import learning
from winnow.search.shrink import Pace, Scores, shrinking, worst
from winnow.search.strategy import strategy
from winnow.spaces.ensemble import suffixes
from winnow.tasks.task import Task
from winnow.train.evaluate import Batch, batch_statistics, measured
from winnow.train.seeds import rng

TRIES = 100  # draws for members that differ


@strategy("children", watched=False, short={"first": 1, "until": 1, "contexts": 1})
def neas(
    bench: Bench,
    recipe: Recipe,
    *,
    first: Positive = 20,
    later: Positive = 5,
    until: Rate = 1e9,
    drop: Positive = 7,
    mu: Weight = 1.0,
    contexts: Positive = 4,
    batches: Positive = 2,
    beta: Weight = 0.0,
) -> Found:
    """Train uniform ensembles, a batch each; drop the options that do least for them; go on, on the same schedule.

    A split, what is shared and what each member does are drawn uniformly; members differ after the split wherever the
    space lets them. The loss is the sum of the members', less `beta` times how far their answers are apart. After
    `first` epochs, then after every `later` ones, until no more than `until` architectures are left, `drop` options
    go, one of a layer at most and never its last. An option is worth its potential plus `mu` times its diversity, both
    standardised over all options. For these, `contexts` random ensembles take each option of a layer in turn, and are
    judged on `batches` of `valid`, always the same, with BatchNorm statistics of the batch: potential is the mean of
    the task's first metric, diversity the mean Kullback-Leibler divergence, both ways, from the layer's other options.

    In a space without ensembles it trains single paths, as spos does to the bit until something is dropped. Formulas
    and numbers are ours but for the sum of losses and the mean of gradients at the split: the authors' search is not
    public. Refused where weights, gradients and the maps of a batch need more memory than there is.
    """
    space, layers = bench.space, layers_of(bench.space)
    pace = Pace(first, later, until)
    pace.check(space, layers, recipe.epochs, "neas")
    draws = rng(bench.seed, "paths")
    bench.keeper.add(draws=draws)
    held = [batch for _ in range(batches) if (batch := next(iter(bench.valid), None)) is not None]
    if len(held) < batches:
        raise Refused("strategy neas scores options on batches that are held out, and this bench has none")
    check_room(space, held[0][0], recipe)
    loss = partial(apart, learning(bench), bench.task, beta) if beta else bench.objective

    def score(view: Space, done: int) -> Scores:
        potential, diversity = judged(bench.task, view, layers, held, contexts, rng(bench.seed, "contexts", done))
        u, z = standardised(potential), standardised(diversity)
        return {key: u[key] + mu * z[key] for key in u}

    return shrinking(
        bench,
        recipe,
        layers,
        pace,
        path=lambda view: members(view, draws),
        loss=loss,
        score=score,
        drop=lambda scores, view: worst(scores, view, layers, drop, most=1),
    )


def members(view: Space, draws: random.Random) -> Architecture:
    """A random architecture, of an ensemble one whose members differ after the split, if `TRIES` draws give such."""
    for _ in range(TRIES):
        arch = view.decide(uniform(draws))
        own = suffixes(arch)
        if len(set(own)) == len(own):
            break
    return arch


def apart(learn: Learning, task: Task, beta: float, batch: Batch, arch: Architecture) -> Tensor:
    """The loss of an ensemble, less `beta` times how far its members' answers are apart."""
    output, loss = learn.whole_and_loss(batch, arch)
    return loss - beta * spread(task, output) if isinstance(output, tuple) else loss


def spread(task: Task, outputs: Sequence[Tensor]) -> Tensor:
    """The mean over pairs of Kullback-Leibler divergences, both ways: at least 0, and 0 where all answer alike."""
    pairs = [divergence(task, a.float(), b.float()) for a, b in itertools.combinations(outputs, 2)]
    return torch.stack(pairs).mean()


def divergence(task: Task, a: Tensor, b: Tensor) -> Tensor:
    """Half the sum of KL(a | b) and KL(b | a), by the task's loss of one network against another less its own."""
    ways = (task.imitate(b, a) - task.imitate(a, a), task.imitate(a, b) - task.imitate(b, b))
    return (ways[0] + ways[1]) / 2


@torch.no_grad()
def judged(
    task: Task, view: Space, layers: Sequence[Layer], held: Sequence[Batch], contexts: int, draws: random.Random
) -> tuple[dict[Key, float], dict[Key, float]]:
    """Potential and diversity of each option that has rivals."""
    potential: dict[Key, float] = {}
    diversity: dict[Key, float] = {}
    view.model.eval()
    for layer in (each for each in layers if len(each.options(view)) > 1):
        options = layer.options(view)
        right: dict[Option, list[float]] = {option: [] for option in options}
        far: dict[Option, list[float]] = {option: [] for option in options}
        for _ in range(contexts):
            asked = around(view, layer, draws)
            for x, y in held:
                said = {}
                for option in options:
                    with batch_statistics(view.model):
                        said[option] = view(x, view.decide(lambda d, o=option, a=asked: a.get(d.name, o))).float()
                    right[option].append(task.score(measured(task, lambda _, out=said[option]: out, [(x, y)])))
                for one, other in itertools.permutations(options, 2):
                    far[one].append(float(divergence(task, said[one], said[other])))
        for option in options:
            potential[layer.first, option] = statistics.fmean(right[option])
            diversity[layer.first, option] = statistics.fmean(far[option])
    return potential, diversity


def around(view: Space, layer: Layer, draws: random.Random) -> Mapping[str, Value]:
    """A random architecture without its answer at `layer`: in the shared part, or of one random member.

    Where candidates hold decisions, those of all that the layer may take are answered.
    """
    for _ in range(TRIES):
        answers: dict[str, Value] = {name: draws.choice(d.values) for name, d in view.decisions.items()}
        arch = view.decide(lambda d, given=answers: given[d.name])
        if reached := [name for name in layer.names if name in arch]:
            del answers[draws.choice(reached)]
            return answers
    raise Refused(f"none of {TRIES} random architectures reaches decision {layer.first!r}: search with spos")


def standardised(scores: Mapping[Key, float]) -> dict[Key, float]:
    """With mean 0 and deviation 1; zeros where all are equal."""
    mean, deviation = statistics.fmean(scores.values()), statistics.pstdev(scores.values())
    return {key: (value - mean) / deviation if deviation else 0.0 for key, value in scores.items()}

"""Selection perturbation, DARTS-PT: decide what hurts most to lose, and train on in between (Wang et al. 2021)."""

import contextlib
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Value
from winnow.core.errors import Refused
from winnow.core.holes import Setting
from winnow.core.options import NotNegative, Rate
from winnow.core.space import Space
from winnow.data.loaders import Split, in_order
from winnow.search.bench import Bench, Chosen
from winnow.search.bilevel import adam
from winnow.search.costs import Costs
from winnow.search.mixture import Between, train_mixture
from winnow.search.recipe import Recipe
from winnow.search.relax import Logits
from winnow.search.selection import selection
from winnow.search.selections.magnitude import heaviest, selectable
from winnow.train.checkpoint import Keeper
from winnow.train.evaluate import Batch, batch_statistics
from winnow.train.seeds import derived, generator, rng, seeded


def expected(costs: Costs, *, none: str = "never", tune_epochs: int = 2) -> float:
    """Seconds of all masks, and of the steps between them."""
    decisions = costs.space.decisions.values()
    events = sum(1 for d in decisions if len(d.values) > 1) / len({d.group for d in decisions})
    judging = masks(costs.space, none) * costs.judged * costs.mixture_row()
    return judging + events * tune_epochs * costs.epoch * costs.step


@selection("mixture", "masks candidates of a trained mixture", evidence="masks", seconds=expected)
def by_perturbation(
    bench: Bench,
    *,
    criterion: Literal["accuracy", "loss", "magnitude"] = "accuracy",
    none: Literal["never", "masked"] = "never",
    batch_norm: Literal["batch", "running"] = "batch",
    tune_epochs: NotNegative = 2,
    tune_lr: Rate = 0.0025,
) -> Chosen:
    """Decide what hurts most to lose, one decision at a time, and train on in between (DARTS-PT; see `perturbation`).

    `tune_epochs` of the search's own training lie between two decisions, at the constant `tune_lr` (published: 5, and a
    tenth of the search's). `batch_norm`: masks are judged with the statistics of each batch ("batch", as published), or
    those that training left ("running").
    """
    space, further, keeper = bench.space, bench.needed("further"), bench.keeper
    _check(bench, tune_epochs)
    judged: Split = bench.needed("judged")
    prepared: Iterable[Batch] = in_order(judged, bench.batch)
    if not judged.on_disk:
        prepared = list(prepared)  # the same pixels for every mask: normalised once

    def evaluate(setting: Setting) -> tuple[float, float]:
        space.eval()
        statistics = batch_statistics(space) if batch_norm == "batch" else contextlib.nullcontext()
        with statistics, seeded(derived(bench.seed, "noise")):  # candidates that draw noise draw the same under all
            return bench.judge(lambda x: space(x, setting), prepared)

    with bench.shown() as watch:
        draws = generator(bench.seed, "tuning")
        keeper.add(draws=draws)
        tune = resume_mixture(bench, further.between(draws), replace(further.recipe, epochs=tune_epochs, lr=tune_lr))
        watch.start("select (perturbation)", masks(space, none))
        keeper.add(watch=watch)
        arch, rows = perturbation(
            space,
            bench.weights,
            evaluate=evaluate,
            tune=tune,
            rng=rng(bench.seed, "order"),
            criterion=criterion,
            none=none,
            watch=watch.step,
            keeper=keeper,
        )
    return arch, [{**asdict(row), "option": str(row.option)} for row in rows]


def _check(bench: Bench, tune_epochs: int) -> None:
    """Says where a space is not the published one; refuses to train on without what Adam remembers."""
    if any("none" in d.mixture_only and len(d.options) == 8 for d in bench.space.decisions.values()):
        bench.say("  perturbation was published on seven operations: search with space.darts.none: false for that")
    if bench.further is not None and not bench.further.remembered and tune_epochs:
        raise Refused(
            "logits.json is of an older winnow and lacks the state of the logits' optimiser, with which perturbation "
            "trains on: run `winnow search` again, or set select.perturbation.tune_epochs to 0"
        )


Scores = dict[str | int, tuple[float, float]]  # of a decision: accuracy and loss without each option
Evaluate = Callable[[Setting], tuple[float, float]]  # accuracy in percent and loss under a setting


@dataclass(frozen=True)
class Mask:
    """One row of evidence: how well the supernet does without `option` of `decision`, in the given event."""

    event: int
    decision: str
    option: str | int
    accuracy: float  # percent
    loss: float
    kept: bool


def perturbation(
    space: Space,
    weights: Callable[[], Mapping[str, Tensor]],
    *,
    evaluate: Evaluate,
    tune: Callable[[Mapping[str, Value]], None],
    rng: random.Random,
    criterion: str = "accuracy",
    none: str = "never",
    watch: Callable[[int], None] = lambda masks: None,
    keeper: Keeper | None = None,
) -> tuple[Architecture, list[Mask]]:
    """Decide what hurts most to lose, one decision at a time, with fine-tuning in between (DARTS-PT).

    First every decision with weights, in an order drawn from `rng` for each cell type: each option's weight is set to
    zero, the others are not renormalised, and the option whose absence leaves the lowest accuracy stays. Then every
    subset decision: its candidates are left out singly, and those with the lowest accuracy stay.

    `weights()` are the present mixture weights; `evaluate(setting)` returns (accuracy, loss) on held-out images and
    must change nothing; `tune(decided)` trains on between two events. `criterion` is "accuracy", ties broken by the
    loss, or "loss"; remaining ties go to the earlier option. With "magnitude" the heaviest option stays and nothing is
    masked: the authors' ablation PT-Mag. `none` is about options that an architecture cannot hold, `none` of the DARTS
    space: "never" masks them, so that they never win; "masked" does, as the authors' code on S3, and where one wins the
    supernet trains on with it. The architecture takes the next one that was missed most there (theirs: the first).
    `watch` is told the number of masks evaluated. `tune` may hand `keeper` on.
    Source: Wang et al. 2021, arXiv:2108.04392, algorithm 1 and section 4; topology by single removal as in their code.
    """
    keeper = keeper or Keeper()
    decided: dict[str, Value] = {}
    scores: Scores = {}  # of the decision that is being made
    told: list[tuple] = []  # of every mask of the others
    holdable: dict[str, Value] = {}  # in place of what no architecture can hold
    events = _events(space, rng)

    def judged(setting: Setting) -> tuple[float, float]:
        keeper.due()
        return evaluate(setting)

    for number in keeper.rounds(len(events), "event", decided=decided, scores=scores, told=told, holdable=holdable):
        for d in (d for d in events[number] if d.name not in decided):
            if criterion == "magnitude":
                decided[d.name] = heaviest(space, weights(), d)
                continue
            asked = {**weights(), **decided}
            every = none == "masked" and not d.several
            decided[d.name], rows = most_missed(d, asked, judged, criterion, number, scores, every)
            if decided[d.name] in d.mixture_only:
                rest = {option: score for option, score in scores.items() if option not in d.mixture_only}
                holdable[d.name] = most_missed(d, asked, judged, criterion, scores=rest)[0]
            scores.clear()
            told += [astuple(row) for row in rows]
            watch(len(rows))
        if number + 1 < len(events):
            tune(decided)
    evidence = [Mask(*row) for row in told]
    made = {**decided, **holdable}
    return space.decide(lambda d: made[d.name] if d.name in made else d.values[0]), evidence


def most_missed(
    d: Decision,
    setting: Setting,
    evaluate: Evaluate,
    criterion: str = "accuracy",
    event: int = 0,
    scores: Scores | None = None,
    every: bool = False,
) -> tuple[Value, list[Mask]]:
    """One event of `perturbation`: what of decision `d` the supernet under `setting` does worst without.

    The weight of each option in turn is zero, the others are not renormalised; of a subset without weights, each
    candidate in turn is left out. `scores` takes the results as they come; what it has already is not evaluated again.
    `every` option is masked, also those that an architecture cannot hold.
    """
    mixed, scores = setting.get(d.name), {} if scores is None else scores
    for option in (option for option in (d.options if every else selectable(d)) if option not in scores):
        others = tuple(other for other in d.options if other != option)
        mask = _without(mixed, d.options.index(option)) if isinstance(mixed, Tensor) else others
        scores[option] = evaluate({**setting, d.name: mask})

    def harmless(option: str | int) -> tuple[float, ...]:
        accuracy, loss = scores[option]
        return (-loss,) if criterion == "loss" else (accuracy, -loss)

    kept = sorted(sorted(scores, key=harmless)[: d.pick], key=d.options.index)  # stable: the earlier option first
    rows = [Mask(event, d.name, option, *score, kept=option in kept) for option, score in scores.items()]
    return kept[0] if not d.several else tuple(kept), rows


def masks(space: Space, none: str = "never") -> int:
    """How many masks `perturbation` evaluates: every option of every decision that leaves something to decide."""
    open_decisions = [d for d in space.decisions.values() if len(d.values) > 1]
    every = none == "masked"
    return sum(len(d.options if every and not d.several else selectable(d)) for d in open_decisions)


def _events(space: Space, rng: random.Random) -> list[list[Decision]]:
    """One decision of each cell type an event; subsets only after all others, each type in its own random order."""
    events: list[list[Decision]] = []
    open_decisions = [d for d in space.decisions.values() if len(d.values) > 1]
    for phase in ([d for d in open_decisions if not d.several], [d for d in open_decisions if d.several]):
        types: dict[str, list[Decision]] = {}
        for d in phase:
            types.setdefault(d.group, []).append(d)
        for members in types.values():
            rng.shuffle(members)
        longest = max((len(members) for members in types.values()), default=0)
        events += [[members[i] for members in types.values() if i < len(members)] for i in range(longest)]
    return events


def _without(weights: Tensor, index: int) -> Tensor:
    weights = weights.detach().clone()
    weights[index] = 0.0
    return weights


def remember(optimiser: torch.optim.Adam, logits: Logits) -> None:
    """Let Adam go on with the `moments` of the logits."""
    state = {
        i: {key: torch.tensor(value) for key, value in logits.moments[name].items()}
        for i, name in enumerate(logits)
        if name in logits.moments
    }
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def resume_mixture(bench: Bench, between: Between, recipe: Recipe) -> Callable[[Mapping[str, Value]], None]:
    """What DARTS-PT does between two decisions: a function of the decisions made so far that trains on by `recipe`.

    Its steps are those of `between(decided)`. The learning rate, never lowered, and both optimisers' states last over
    all calls; that of the logits goes on from the search's, which `logits.moments` are (Wang et al. 2021, public code;
    0.1 x the search's rate for the weights).
    """
    space, logits, keeper = bench.space, bench.needed("logits"), bench.keeper
    weights = recipe.descent(space.parameters())
    logits_optimiser = adam(logits, recipe.logits_lr, recipe.logits_weight_decay)
    remember(logits_optimiser, logits)
    keeper.add(space=space, logits=logits, weights_optimiser=weights, logits_optimiser=logits_optimiser)
    keeper.add(train=bench.train, valid=bench.valid)

    def tune(decided: Mapping[str, Value]) -> None:
        train_mixture(
            space,
            logits,
            bench.train,
            bench.valid,
            parts=lambda epoch: between(decided),
            objective=bench.objective,
            weights_optimiser=weights,
            logits_optimiser=logits_optimiser,
            epochs=recipe.epochs,
            clip=recipe.clip,
            keeper=keeper,
        )

    return tune

"""Studies as params.yaml declares them: what is wrong with them before anything runs, and their plans."""

from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from winnow.config.methods import strategy
from winnow.config.params import Params
from winnow.config.section import nearest
from winnow.config.trial_params import SearchTrials, TrialTraining
from winnow.core.errors import Refused
from winnow.core.options import taken
from winnow.predictors import predictor
from winnow.search.strategy import TRIALS
from winnow.tasks import task_named
from winnow.train.recipes import Recipe
from winnow.trials.plan import Plan


def tried(params: Params) -> SearchTrials:
    """Section search.trials, with what the strategy says of its own study in the place of what stands there."""
    search = params.search
    tries = strategy(search.strategy).tries
    if tries is None:
        return search.trials
    own = tries(search.epochs, **taken(tries, search.chosen()))
    return search.trials.model_copy(update={**own, "training": TrialTraining(**own["training"])})


def recipe_of_trials(params: Params) -> Recipe:
    """How a trial of the search trains: by retraining's recipe, or that of section search where the study is a
    strategy's own, which then has nothing beside: no warm-up, smoothing, drop-path or cutout.
    """
    search = params.search
    if strategy(search.strategy).tries is None:
        return replace(params.retrain.recipe(), epochs=search.trials.training.epochs)
    shared: dict[str, Any] = {
        name: getattr(search, name) for name in Recipe.__dataclass_fields__ if hasattr(search, name)
    }
    shared["schedule"] = search.schedule or "cosine"
    plain: dict[str, Any] = dict.fromkeys(("warmup_epochs", "label_smoothing", "drop_path", "cutout", "auxiliary"), 0)
    return Recipe(**shared, **plain, ema=None, loss=params.retrain.loss)


def plan_of_search(params: Params) -> Plan:
    """The study of a strategy that searches by trials; its seed is the stage's to set."""
    search = tried(params)
    return Plan(
        objectives=search.objectives,
        constraints={name: limits.model_dump() for name, limits in search.constraints.items()},
        sampler=search.sampler,
        sampler_options=search.sampler_options,
        stopper=search.stopper,
        stopper_options=_stops(search.stopper, search.stopper_options, _steps(search)),
        look_back=search.look_back,
        fidelity=search.fidelity(),
    )


def _steps(search: SearchTrials) -> int:
    """What a trial reports: epochs, or rounds."""
    return search.federated.rounds if search.evaluator == "federated" else search.training.epochs


def plan_of_tune(params: Params, first: dict[str, Any]) -> Plan:
    """The study of stage tune, whose trial 0 has the parameters `first`; its seed is the stage's to set."""
    tune, task = params.tune, task_named(params.task)
    epochs = tune.epochs or params.retrain.recipe().epochs
    return Plan(
        objectives={task.metric: task.first.goal},
        sampler=tune.sampler,
        sampler_options=tune.sampler_options,
        stopper=tune.stopper,
        stopper_options=_stops(tune.stopper, tune.stopper_options, epochs),
        look_back=tune.look_back,
        fidelity={} if tune.epochs is None else {"epochs": float(tune.epochs)},
        first=first,
    )


def check_tried(params: Params) -> None:
    """ValueError for what no study could be made of."""
    _check_ranges(params)
    tries = TRIALS in strategy(params.search.strategy).leaves
    for key, section, count in (
        ("search.trials", tried(params) if tries else None, tries),
        ("tune", params.tune, params.tune.trials),
    ):
        if (
            section is not None
            and count
            and params.trials.executor != "inline"
            and params.trials.workers > section.look_back
        ):
            raise ValueError(
                f"{key}.look_back: {params.trials.workers} workers (trials.workers) need as many or more, not "
                f"{section.look_back}: a trial cannot know the results of those beside it"
            )
    if tries:
        _check_search(params)


def _check_ranges(params: Params) -> None:
    """A range is of a field of the recipe, and its ends are values that `retrain` would take."""
    tune = params.tune
    if tune.trials and not tune.ranges:
        raise ValueError("tune.ranges is empty: name a field of retrain with its range, or set tune.trials to 0")
    if tune.epochs is not None and "epochs" in tune.ranges:
        raise ValueError("tune.epochs sets the epochs of every trial: set it to null to try ranges of epochs")
    fields = Recipe.__dataclass_fields__
    places = {"tune.ranges": tune.ranges, "search.trials.ranges": params.search.trials.ranges}
    for place, name, given in ((p, n, r) for p, ranges in places.items() for n, r in ranges.items()):
        if name not in fields:
            raise ValueError(
                f"{place}.{name}: no field of a recipe{nearest(name, fields)}; there are {', '.join(fields)}"
            )
        if name == "auxiliary" and not (params.retrain.recipe().needs_auxiliary and all(given.values())):
            raise ValueError(f"{place}.auxiliary: whether there is a second classifier is not tried: keep it above 0")
        for value in given.values():
            try:
                type(params.retrain).model_validate({name: value})
            except ValidationError as error:
                message = error.errors()[0]["msg"]
                raise ValueError(f"{place}.{name}: {message[0].lower() + message[1:]}, not {value!r}") from error


def _check_search(params: Params) -> None:
    search = params.search.trials
    if strategy(params.search.strategy).tries is not None:
        _check_own(params)
    if search.evaluator == "table" and search.table.path is None:
        raise ValueError("search.trials.table.path: evaluator table takes the path of a trials table")
    if search.evaluator == "predictor":
        _check_predictor(search)
    if search.evaluator == "federated" and params.retrain.federation is None:
        raise ValueError("search.trials.evaluator: federated trains by the clients of retrain.federation: give those")
    known_of = "nas_bench_101" if search.identity == "cell" else "nas_bench_201"
    if search.identity != "digest" and params.space.name != known_of:
        raise ValueError(f"search.trials.identity: {search.identity!r} is known of {known_of}; take digest")
    if "epochs" in search.ranges:
        raise ValueError("search.trials.ranges.epochs: search.trials.training.epochs sets those of every trial")
    if search.ranges and search.evaluator != "training":
        raise ValueError("search.trials.ranges: hyper-parameters need evaluator training")
    if search.sampler == "network_morphism" and search.evaluator != "training":
        raise ValueError("search.trials.sampler: network_morphism hands weights on; take evaluator training")
    if search.eight_bits:
        _check_int8(params)
    try:
        plan_of_search(params)
    except Refused as refusal:
        raise ValueError(f"search.trials: {refusal}") from refusal


def _check_predictor(search: SearchTrials) -> None:
    if search.predictor.table is None:
        raise ValueError("search.trials.predictor.table: evaluator predictor is fitted to a trials table: say which")
    try:
        predictor(search.predictor.name)
    except Refused as refusal:
        raise ValueError(f"search.trials.predictor.name: {refusal}") from refusal


def _check_int8(params: Params) -> None:
    """Eight bits are of a network that is trained whole, and a metric is one of the task's."""
    search, known = params.search.trials, [f"int8_{name}" for name in task_named(params.task).metrics]
    place = "search.trials.int8" if search.int8 else f"search.trials: {search.in_eight_bits[0]}"
    if search.evaluator not in ("training", "inherited"):
        raise ValueError(
            f"{place}: evaluator {search.evaluator} leaves no network to quantise: take training or inherited"
        )
    if foreign := next((name for name in search.in_eight_bits if name not in known), None):
        raise ValueError(
            f"search.trials: there is no metric {foreign!r}{nearest(foreign, known)}, but {', '.join(known)}"
        )
    if search.stopper != "none" and any(name in search.objectives for name in known):
        raise ValueError(
            f"search.trials.stopper: {search.stopper} ends trials by what they report while they train, and eight bits "
            "come after it: take none, or limit the metric in search.trials.constraints"
        )


def _check_own(params: Params) -> None:
    """A strategy whose study is its own takes of section search.trials what it does not set itself."""
    search, usual = params.search.trials, SearchTrials()
    rival = ("training",) if params.evaluate.random_search else ()  # a random search trains by it
    shared = ("seconds", "threads", "objectives", "constraints", *rival)
    for name in SearchTrials.model_fields:
        if name not in shared and getattr(search, name) != getattr(usual, name):
            raise ValueError(
                f"search.trials.{name}: strategy {params.search.strategy!r} has a study of its own, set by its own "
                f"options; of search.trials it takes {', '.join(shared)}: leave {name} out"
            )
    if len(search.objectives) > 1:
        raise ValueError(
            f"search.trials.objectives: strategy {params.search.strategy!r} takes one objective, not "
            f"{len(search.objectives)}: leave the first, and limit the others by search.trials.constraints"
        )


def _stops(stopper: str, options: dict[str, Any], epochs: int) -> dict[str, Any]:
    """Hyperband lays its brackets over the epochs of a trial, unless told otherwise."""
    return {"max_resource": epochs, **options} if stopper == "hyperband" else options

"""params.yaml, checked at the door: what each section takes, and sentences for what it does not."""

import difflib
import re
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from winnow.core.errors import Refused
from winnow.search.pairs import NEEDS, OFFERS, objection
from winnow.stage.section import Distinct, Fraction, NotNegative, Positive, Rate, Section, Weight
from winnow.stage.strategies import Strategies
from winnow.stage.trial_params import SearchTrials, Trials, Tune
from winnow.train.recipes import RECIPES, Recipe
from winnow.trials.plan import Plan

Precision = Literal["fp32", "bf16"]
TrainingSplit = Literal["weights", "arch", "select"]


class Runtime(Section):
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    threads: Positive | None = None
    checkpoint_seconds: Weight = 30.0

    def arithmetic(self) -> dict[str, Any]:
        """The fields that a result may depend on."""
        return self.model_dump(exclude={"checkpoint_seconds"})


class Fractions(Section):
    weights: Annotated[float, Field(gt=0, lt=1)] = 0.5
    arch: Annotated[float, Field(gt=0, lt=1)] = 0.3
    select: Annotated[float, Field(gt=0, lt=1)] = 0.2

    @model_validator(mode="after")
    def add_up(self) -> Self:
        total = self.weights + self.arch + self.select
        if abs(total - 1) > 1e-6:
            raise ValueError(f"weights, arch and select add up to 1, not {total:g}")
        return self


class Data(Section):
    source: str = "digits"
    path: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    image_size: Positive | None = None
    limit_train: Positive | None = None
    limit_test: Positive | None = None
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    fractions: Fractions = Fractions()
    pad: NotNegative | None = None
    flip: bool | None = None


class NasBench201(Section):
    channels: Positive = 16
    cells: Positive = 1


class Darts(Section):
    channels: Positive = 8
    layers: Annotated[int, Field(ge=3)] = 5
    candidates: Literal["darts", "s1", "s2", "s3", "s4"] = "darts"
    none: bool = True


class Mobile(Section):
    width: Rate = 0.25


class SpaceParams(Section):
    name: str = "nas_bench_201"
    nas_bench_201: NasBench201 = NasBench201()
    darts: Darts = Darts()
    mobile: Mobile = Mobile()
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def known(self) -> Self:
        if ":" not in self.name and self.name not in ("nas_bench_201", "darts", "mobile"):
            known = ("nas_bench_201", "darts", "mobile")
            hint = _nearest(self.name, known)
            raise ValueError(f"name takes {', '.join(known)} or 'my_package.my_module:build', not {self.name!r}{hint}")
        return self

    def chosen(self) -> dict[str, Any]:
        """The options of the space that `name` names."""
        section = getattr(self, self.name, None) if ":" not in self.name else None
        return {**(section.model_dump() if section is not None else {}), **self.options}


class TrainingFree(Section):
    proxies: Annotated[list[str], Distinct] = ["live_params", "expressivity", "trainability", "meco", "jacob_cov"]
    batch: Annotated[int, Field(ge=2)] = 64


class Search(Strategies):
    strategy: Literal[tuple(OFFERS)] = "darts"  # type: ignore[valid-type]
    epochs: Positive = 30
    batch: Annotated[int, Field(ge=2)] = 64
    lr: Rate = 0.025
    lr_min: Annotated[float, Field(ge=0)] = 0.001
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 3e-4
    clip: Rate = 5.0
    precision: Precision = "fp32"
    logits_lr: Rate = 3e-3
    logits_weight_decay: Weight = 1e-3
    collapse: Literal["off", "warn", "stop"] = "warn"
    training_free: TrainingFree = TrainingFree()
    trials: SearchTrials = SearchTrials()

    def recipe(self) -> dict[str, Any]:
        """The keyword arguments of the strategy's method."""
        names = ["epochs", "lr", "lr_min", "momentum", "weight_decay", "clip"]
        if self.strategy != "spos":
            names += ["logits_lr", "logits_weight_decay"]
        return {name: getattr(self, name) for name in names} | self.options(self.strategy)


class Perturbation(Section):
    criterion: Literal["accuracy", "loss", "magnitude"] = "accuracy"
    batch_norm: Literal["batch", "running"] = "batch"
    tune_epochs: NotNegative = 2
    tune_lr: Rate = 0.0025


class Threshold(Section):
    least: Fraction | None = None


class Likeliest(Section):
    count: Positive = 20


class Evolution(Section):
    population: Annotated[int, Field(ge=2)] = 20
    generations: NotNegative = 5
    parents: Positive = 10
    mutation: Annotated[float, Field(ge=0, le=1)] = 0.1
    calibration_images: Annotated[int, Field(ge=2)] = 1024


class RandomSample(Section):
    samples: Positive = 100


class Prune(Section):
    random_alpha: bool = False


class Select(Section):
    methods: Annotated[list[Literal[tuple(NEEDS)]], Distinct] = ["perturbation", "magnitude"]  # type: ignore[valid-type]
    splits: Annotated[list[TrainingSplit], Distinct] = ["arch", "select"]
    batch: Annotated[int, Field(ge=2)] = 256
    table: str | None = None
    max_params: Positive | None = None
    max_macs: Positive | None = None
    perturbation: Perturbation = Perturbation()
    threshold: Threshold = Threshold()
    likeliest: Likeliest = Likeliest()
    evolution: Evolution = Evolution()
    random: RandomSample = RandomSample()
    prune: Prune = Prune()

    @model_validator(mode="after")
    def distinct(self) -> Self:
        if len(set(self.methods)) < len(self.methods):
            raise ValueError(f"methods takes each method once, not {self.methods}")
        if "weights" in self.splits:
            raise ValueError("splits takes arch and select: the supernet's weights were trained on split weights")
        return self


class Retrain(Section):
    seeds: Annotated[list[NotNegative], Distinct] = [0, 1, 2]
    splits: Annotated[list[TrainingSplit], Distinct] = ["weights", "arch", "select"]
    space: dict[str, Any] = {}
    preset: Literal[tuple(RECIPES)] = "quick"  # type: ignore[valid-type]
    epochs: Positive | None = None
    batch: Annotated[int, Field(ge=2)] | None = None
    optimiser: Literal["sgd", "adamw"] | None = None
    lr: Rate | None = None
    lr_min: Annotated[float, Field(ge=0)] | None = None
    momentum: Fraction | None = None
    nesterov: bool | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    warmup_epochs: NotNegative | None = None
    clip: Rate | None = None
    label_smoothing: Fraction | None = None
    drop_path: Fraction | None = None
    cutout: NotNegative | None = None
    auxiliary: Annotated[float, Field(ge=0)] | None = None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    precision: Precision | None = None

    @model_validator(mode="after")
    def distinct(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds takes each seed once, not {self.seeds}: equal seeds give equal networks")
        return self

    def recipe(self) -> Recipe:
        """The preset with the fields that are given in its place."""
        given = {name: getattr(self, name) for name in Recipe.__dataclass_fields__}
        base = RECIPES[self.preset].__dict__
        return Recipe(**{**base, **{name: value for name, value in given.items() if value is not None}})


Changes = dict[str, Any]  # by dotted key, "search.epochs", what a combination changes in the rest of the file


class Study(Section):
    spaces: Annotated[dict[str, Changes], Distinct] = {"as above": {}}
    methods: Annotated[dict[str, Changes], Distinct] = {
        "darts": {"search.strategy": "darts"},
        "beta_darts": {"search.strategy": "beta_darts"},
        "blank": {"search.strategy": "blank"},
    }
    selections: Annotated[dict[str, Changes], Distinct] = {
        "magnitude": {"select.methods": ["magnitude"]},
        "perturbation": {"select.methods": ["perturbation"]},
    }
    seeds: Annotated[list[NotNegative], Distinct] = [0, 1, 2]
    column: str = "cifar10_valid_200"


class Evaluate(Section):
    controls: NotNegative = 3
    batch: Positive = 256
    latency_repeats: Annotated[int, Field(ge=6)] = 50


class TrackingParams(Section):
    enabled: bool = True
    uri: str | None = None
    experiment: Annotated[str, Field(min_length=1)] = "winnow"
    required: bool = False
    system_metrics: bool = True
    registered_model: Annotated[str, Field(min_length=1)] = "winnow"
    wandb: bool = False


class Params(Section):
    """The whole file."""

    seed: NotNegative = 0
    runtime: Runtime = Runtime()
    data: Data = Data()
    space: SpaceParams = SpaceParams()
    search: Search = Search()
    select: Select = Select()
    tune: Tune = Tune()
    trials: Trials = Trials()
    retrain: Retrain = Retrain()
    evaluate: Evaluate = Evaluate()
    study: Study = Study()
    tracking: TrackingParams = TrackingParams()

    @model_validator(mode="after")
    def meaningful(self) -> Self:
        for method in self.select.methods:
            if reason := objection(self.search.strategy, method):
                raise ValueError(f"select.methods: {reason}")
        if self.search.precision == "bf16" and self.search.strategy == "darts" and self.search.darts.order == "second":
            raise ValueError("search.darts.order: second takes differences that bf16 rounds away; use fp32")
        if self.retrain.recipe().auxiliary and self.space.name != "darts":
            raise ValueError("retrain.auxiliary: only space darts has a second classifier; set retrain.auxiliary to 0")
        self._check_ranges()
        for key, section, count in (
            ("search.trials", self.search.trials, self.search.strategy == "trials"),
            ("tune", self.tune, self.tune.trials),
        ):
            if count and self.trials.executor != "inline" and self.trials.workers > section.look_back:
                raise ValueError(
                    f"{key}.look_back: {self.trials.workers} workers (trials.workers) need as many or more, not "
                    f"{section.look_back}: a trial cannot know the results of those beside it"
                )
        if self.search.strategy == "trials":
            self._check_trials()
        if self.select.table is not None and self.space.name != "nas_bench_201":
            raise ValueError("select.table: the table holds NAS-Bench-201 cells; set it to null or space.name to it")
        return self

    def _check_ranges(self) -> None:
        """A range is of a field of the recipe, and its ends are values that `retrain` would take."""
        tune = self.tune
        if tune.trials and not tune.ranges:
            raise ValueError("tune.ranges is empty: name a field of retrain with its range, or set tune.trials to 0")
        if tune.epochs is not None and "epochs" in tune.ranges:
            raise ValueError("tune.epochs sets the epochs of every trial: set it to null to try ranges of epochs")
        places = {"tune.ranges": tune.ranges, "search.trials.ranges": self.search.trials.ranges}
        for place, name, given in ((p, n, r) for p, ranges in places.items() for n, r in ranges.items()):
            if name not in Recipe.__dataclass_fields__:
                hint = _nearest(name, Recipe.__dataclass_fields__)
                raise ValueError(
                    f"{place}.{name}: no field of a recipe{hint}; there are {', '.join(Recipe.__dataclass_fields__)}"
                )
            if name == "auxiliary" and not (self.retrain.recipe().needs_auxiliary and all(given.values())):
                raise ValueError(
                    f"{place}.auxiliary: whether there is a second classifier is not tried: keep it above 0"
                )
            for value in given.values():
                try:
                    Retrain.model_validate({name: value})
                except ValidationError as error:
                    message = error.errors()[0]["msg"]
                    raise ValueError(f"{place}.{name}: {message[0].lower() + message[1:]}, not {value!r}") from error

    def _check_trials(self) -> None:
        search = self.search.trials
        if search.evaluator == "table" and search.table.path is None:
            raise ValueError("search.trials.table.path: evaluator table takes the path of a trials table")
        if search.identity != "digest" and self.space.name != "nas_bench_201":
            raise ValueError(f"search.trials.identity: {search.identity!r} is known of nas_bench_201; take digest")
        if "epochs" in search.ranges:
            raise ValueError("search.trials.ranges.epochs: search.trials.training.epochs sets those of every trial")
        if search.ranges and search.evaluator != "training":
            raise ValueError("search.trials.ranges: hyper-parameters need evaluator training")
        if search.sampler == "network_morphism" and search.evaluator != "training":
            raise ValueError("search.trials.sampler: network_morphism hands weights on; take evaluator training")
        try:
            self.plan_of_search()
        except Refused as refusal:
            raise ValueError(f"search.trials: {refusal}") from refusal

    def plan_of_search(self) -> Plan:
        """The study of strategy trials; its seed is the stage's to set."""
        search = self.search.trials
        return Plan(
            objectives=search.objectives,
            constraints={name: limits.model_dump() for name, limits in search.constraints.items()},
            sampler=search.sampler,
            sampler_options=search.sampler_options,
            stopper=search.stopper,
            stopper_options=_stops(search.stopper, search.stopper_options, search.training.epochs),
            look_back=search.look_back,
            fidelity=search.fidelity(),
        )

    def plan_of_tune(self, first: dict[str, Any]) -> Plan:
        """The study of stage tune, whose trial 0 has the parameters `first`; its seed is the stage's to set."""
        tune = self.tune
        return Plan(
            objectives={"accuracy": "maximize"},
            sampler=tune.sampler,
            sampler_options=tune.sampler_options,
            stopper=tune.stopper,
            stopper_options=_stops(tune.stopper, tune.stopper_options, tune.epochs or self.retrain.recipe().epochs),
            look_back=tune.look_back,
            fidelity={} if tune.epochs is None else {"epochs": float(tune.epochs)},
            first=first,
        )


def _stops(stopper: str, options: dict[str, Any], epochs: int) -> dict[str, Any]:
    """Hyperband lays its brackets over the epochs of a trial, unless told otherwise."""
    return {"max_resource": epochs, **options} if stopper == "hyperband" else options


def read_params(path: Path) -> Params:
    """The checked content of a params.yaml. Refused, one line a mistake, where it is not one."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Refused(f"no {path.name} in {path.parent.resolve()}: run winnow in the folder that holds it") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Refused(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise Refused(f"{path}: takes sections like 'data:' and 'search:', not {type(content).__name__}")
    return check_params(content, path.name)


def check_params(content: dict[str, Any], source: str = "params.yaml") -> Params:
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise Refused("\n".join(f"{source}: {_sentence(problem)}" for problem in error.errors())) from error


def _sentence(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = list(_fields(problem["loc"][:-1]))
        return f"unknown key {key}{_nearest(str(problem['loc'][-1]), known)}; there are {', '.join(known)}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key + ': ' if key else ''}{message}"
    came = repr(problem["input"])
    hint = "; YAML reads 1e-3 as text, 1.0e-3 as a number" if _scientific(problem["input"]) else ""
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        options = [part.strip("' ") for part in problem["ctx"]["expected"].replace(" or ", ",").split(",")]
        hint = _nearest(problem["input"], options)
    return f"{key}: {message[0].lower() + message[1:]}, not {came if len(came) < 80 else came[:77] + '...'}{hint}"


def _scientific(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[+-]?\d+[eE][+-]?\d+", value) is not None


def _fields(loc: tuple) -> typing.Iterable[str]:
    model: Any = Params
    for part in loc:
        model = model.model_fields[part].annotation
    return model.model_fields


def _nearest(name: str, known: typing.Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""

"""params.yaml, checked at the door: what each section takes, and sentences for what it does not."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from winnow.config.pairs import OFFERS, objection, unlimited
from winnow.config.section import (
    Distinct,
    Fraction,
    ImageSize,
    Limit,
    NotNegative,
    Place,
    Positive,
    Rate,
    Section,
    Threads,
    Weight,
    nearest,
)
from winnow.config.strategies import Strategies
from winnow.config.trial_params import SearchTrials, Trials, Tune
from winnow.search.selections import SELECTIONS
from winnow.tasks import TASKS
from winnow.train.recipes import RECIPES, Recipe

LONGEST_NAME = 250  # characters; MLflow's databases hold 256

Precision = Literal["fp32", "bf16"]
TrainingSplit = Literal["weights", "arch", "select"]


class Runtime(Section):
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    threads: Threads | None = None
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
    image_size: ImageSize = None
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
        known = ("nas_bench_201", "darts", "mobile", "ofa")
        if ":" not in self.name and self.name not in known:
            hint = nearest(self.name, known)
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
    none: Literal["never", "masked"] = "never"
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
    methods: Annotated[list[Literal[tuple(SELECTIONS)]], Distinct] = ["perturbation", "magnitude"]  # type: ignore[valid-type]
    splits: Annotated[list[TrainingSplit], Distinct] = ["arch", "select"]
    batch: Annotated[int, Field(ge=2)] = 256
    table: str | None = None
    max_params: Limit = None
    max_macs: Limit = None
    perturbation: Perturbation = Perturbation()
    threshold: Threshold = Threshold()
    likeliest: Likeliest = Likeliest()
    evolution: Evolution = Evolution()
    random: RandomSample = RandomSample()
    prune: Prune = Prune()

    def options(self, method: str) -> dict[str, Any]:
        """What selection `method` is called with."""
        section = getattr(self, method, None)
        return section.model_dump() if isinstance(section, Section) else {}

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
    schedule: Literal["cosine", "linear", "steps"] | None = None
    decay: Annotated[float, Field(gt=0, lt=1)] | None = None
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
    baseline: str | None = None

    @model_validator(mode="after")
    def there(self) -> Self:
        names = [f"{method}, {selection}" for method in self.methods for selection in self.selections]
        if self.baseline is not None and self.baseline not in names:
            hint = nearest(self.baseline, names)
            raise ValueError(f"baseline: no combination {self.baseline!r}{hint}; null, or one of {'; '.join(names)}")
        return self


class Evaluate(Section):
    controls: NotNegative = 20
    searches: Positive = 1
    random_search: NotNegative = 0
    threads: Threads = 1
    batch: Positive = 256
    latency_repeats: Annotated[int, Field(ge=6)] = 50
    latency_seconds: Annotated[float, Field(ge=0, le=600)] = 5.0

    @model_validator(mode="after")
    def compared(self) -> Self:
        if not self.controls and (self.searches > 1 or self.random_search):
            name = "searches" if self.searches > 1 else "random_search"
            raise ValueError(
                f"controls is 0, and {name} is {getattr(self, name)}: with nothing to compare, set it back"
            )
        return self


class Gate(Section):
    margin: Weight = 1.0


class TrackingParams(Section):
    enabled: bool = True
    uri: Place | None = None
    experiment: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)] = "winnow"
    required: bool = False
    system_metrics: bool = True
    registered_model: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)] = "winnow"
    wandb: bool = False

    @field_validator("experiment", "registered_model")
    @classmethod
    def a_name_in_one_line(cls, name: str) -> str:
        if name != name.strip() or not name.isprintable():
            raise ValueError(f"a name is one line without blanks around it: not {name!r}")
        return name

    @field_validator("registered_model")
    @classmethod
    def a_name_mlflow_takes(cls, name: str) -> str:
        if re.search("[/:]", name) or name in (".", ".."):
            raise ValueError(f"MLflow takes no / or : in the name of a model, and neither . nor ..: not {name!r}")
        return name


class Params(Section):
    """The whole file."""

    task: str = "image_classification"
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
    gate: Gate = Gate()
    study: Study = Study()
    tracking: TrackingParams = TrackingParams()

    @field_validator("task")
    @classmethod
    def a_task(cls, name: str) -> str:
        if ":" not in name and name not in TASKS:
            raise ValueError(f"no task {name!r}{nearest(name, TASKS)}: {', '.join(TASKS)}, or your own module:TASK")
        return name

    @model_validator(mode="after")
    def meaningful(self) -> Self:
        for method in self.select.methods:
            if reason := objection(self.search.strategy, method):
                raise ValueError(f"select.methods: {reason}")
            for name, value in (("max_params", self.select.max_params), ("max_macs", self.select.max_macs)):
                if value is not None and (reason := unlimited(self.search.strategy, method)):
                    raise ValueError(f"select.{name}: {reason}")
        if self.search.trials.constraints and self.search.strategy != "trials":
            raise ValueError(
                f"search.trials.constraints: these hold with strategy trials, not with {self.search.strategy!r}: "
                "set select.max_params or select.max_macs, or leave them out"
            )
        if self.search.precision == "bf16" and self.search.strategy == "darts" and self.search.darts.order == "second":
            raise ValueError("search.darts.order: second takes differences that bf16 rounds away; use fp32")
        if self.search.strategy == "unas" and self.search.unas.latency_ms is not None and self.space.name == "darts":
            raise ValueError(
                "search.unas.latency_ms: unas draws operations and not which two inputs a node of darts keeps, so that "
                "a latency would be that of another network; set it to null, or search with strategy trials"
            )
        recipe = self.retrain.recipe()
        if recipe.schedule == "steps" and recipe.decay == 1:
            raise ValueError(
                "retrain.decay: schedule steps multiplies the rate by it after every epoch; give one below 1"
            )
        if recipe.schedule != "steps" and self.retrain.decay is not None:
            raise ValueError(f"retrain.decay: only schedule steps reads it, not {recipe.schedule}; set decay to null")
        if recipe.auxiliary and self.space.name != "darts":
            raise ValueError("retrain.auxiliary: only space darts has a second classifier; set retrain.auxiliary to 0")
        if self.select.table is not None and self.space.name != "nas_bench_201":
            raise ValueError("select.table: the table holds NAS-Bench-201 cells; set it to null or space.name to it")
        return self

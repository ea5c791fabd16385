"""params.yaml, checked at the door: what each section takes, and sentences for what it does not."""

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from winnow.config.federation import FederationParams
from winnow.config.section import DeviceFiles, ImageSize, Limit, Milliseconds, Named, Place, Section, Threads, nearest
from winnow.config.sentences import sentence
from winnow.config.trial_params import SearchTrials, Trials, Tune
from winnow.core.options import Distinct, Fraction, NotNegative, Positive, Rate, Weight
from winnow.tasks import TASKS, USUAL
from winnow.train.recipes import RECIPES, Recipe

if TYPE_CHECKING:
    from winnow.search.recipe import Recipe as Supernet

LONGEST_NAME = 250  # characters; MLflow's databases hold 256

Precision = Literal["fp32", "bf16"]
Optimiser = Literal["sgd", "adam", "adamw"]
TrainingSplit = Literal["weights", "arch", "select"]


def _off(value: object) -> object:
    """YAML reads a bare off as false."""
    return "off" if value is False else value


class Runtime(Section):
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    threads: Threads | None = None
    processes: Annotated[int, Field(ge=1, le=1024)] = 1
    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    checkpoint_seconds: Weight = 30.0

    def arithmetic(self) -> dict[str, Any]:
        """The fields that a result may depend on."""
        return self.model_dump(exclude={"checkpoint_seconds", "workers"})


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
    memory_gib: Weight = 2.0
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    fractions: Fractions = Fractions()
    options: dict[str, Any] = {}  # of the source's own
    augment: dict[str, Any] = {}  # of the task's own

    @model_validator(mode="before")
    @classmethod
    def moved(cls, given: Any) -> Any:
        """What an older params.yaml has."""
        for name in ("pad", "flip"):
            if isinstance(given, dict) and name in given:
                raise ValueError(f"{name} has moved: write augment: {{{name}: {given[name]}}}, or nothing")
        return given


class SpaceParams(Named):
    """`options`, and sections by the name of a space: what its builder takes by keyword."""

    name: str = "nas_bench_201"
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def of_a_network(cls, given: Any) -> Any:
        """`model`, `weights`, `only` and `except` beside the name are options of space auto; Python keeps `except`."""
        if not isinstance(given, dict) or given.get("name") != "auto":
            return given
        beside = {key: given[key] for key in ("model", "weights", "only", "except") if key in given}
        options = {**given.get("options", {}), **beside}
        if "except" in options:
            options["except_"] = options.pop("except")
        if not isinstance(options.get("model"), str):
            raise ValueError("auto takes a network too: write model: 'my_net:build' beside its name")
        return {**{key: value for key, value in given.items() if key not in beside}, "options": options}

    @property
    def code(self) -> str:
        """Whose code builds the networks: one of winnow's spaces, or a dotted path."""
        return str(self.options.get("model")) if self.name in ("auto", "fixed") else self.name

    def chosen(self) -> dict[str, Any]:
        """The options of the space that `name` names."""
        return {**self.section(self.name), **self.options}


class Step(Named):
    """A recipe of a search, `options`, and sections by the name of a strategy: what that takes by keyword."""

    strategy: str = "darts"
    epochs: Positive = 30
    batch: Annotated[int, Field(ge=2)] = 64
    lr: Rate = 0.025
    lr_min: Annotated[float, Field(ge=0)] = 0.001
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 3e-4
    clip: Rate | None = 5.0
    optimiser: Optimiser = "sgd"
    nesterov: bool = False
    schedule: Literal["cosine", "linear"] | None = None
    precision: Precision = "fp32"
    recompute: bool = False
    logits_lr: Rate = 3e-3
    logits_weight_decay: Weight = 1e-3
    collapse: Annotated[Literal["off", "warn", "stop", "rollback"], BeforeValidator(_off)] = "warn"
    options: dict[str, Any] = {}

    def chosen(self) -> dict[str, Any]:
        """The options of the strategy that is named."""
        return {**self.section(self.strategy), **self.options}

    @model_validator(mode="after")
    def nesterovs(self) -> Self:
        if self.nesterov and not (self.optimiser == "sgd" and self.momentum):
            raise ValueError("nesterov: this is a form of the momentum of sgd; set it to false, or give both")
        return self

    def recipe(self) -> "Supernet":
        """How the weights of the supernet are trained, and its logits."""
        from winnow.search.recipe import Recipe as Supernet  # torch, which reading needs not

        return Supernet(**{name: getattr(self, name) for name in Supernet.__dataclass_fields__})


class Search(Step):
    """The search, or its last step where others go `before`; those hand their space on, with its weights."""

    before: list[Step] = []
    trials: SearchTrials = SearchTrials()


class Select(Named):
    """`options` by method, and sections by the name of a selection: what that takes by keyword."""

    methods: Annotated[list[str], Distinct] = ["perturbation", "magnitude"]
    splits: Annotated[list[TrainingSplit], Distinct] = ["arch", "select"]
    batch: Annotated[int, Field(ge=2)] = 256
    calibration_images: Annotated[int, Field(ge=2)] = 1024
    table: str | None = None
    max_params: Limit = None
    max_macs: Limit = None
    max_bitops: Limit = None
    max_latency_ms: Milliseconds = None
    max_ram_kib: Rate | None = None
    max_flash_kib: Rate | None = None
    device: DeviceFiles = None
    latency_seconds: Annotated[float, Field(ge=0, le=600)] = 1.0
    front: list[dict[str, Any]] = []  # each with the limits above, max_*, in their place
    options: dict[str, dict[str, Any]] = {}

    def chosen(self, method: str) -> dict[str, Any]:
        """The options of selection `method`."""
        return {**self.section(method), **self.options.get(method, {})}

    @property
    def limited(self) -> list[str]:
        """The limits that are set, by the names of their fields."""
        return [name for name in type(self).model_fields if name.startswith("max_") and getattr(self, name) is not None]

    @property
    def devices(self) -> list[str]:
        """The files that tell of devices."""
        return [self.device] if isinstance(self.device, str) else list(self.device or ())

    @model_validator(mode="after")
    def told_of(self) -> Self:
        most, files = self.max_latency_ms, self.devices
        if files and most is None and not any("max_latency_ms" in entry for entry in self.front):
            raise ValueError(f"device: {files[0]} limits nothing by itself: set max_latency_ms too, or leave it out")
        if isinstance(most, dict) and len(most) > len(files):
            raise ValueError(
                f"max_latency_ms: {len(most)} devices ({', '.join(most)}), and device names {len(files)} files that "
                "tell of one: calibrate the others (`winnow calibrate`), or leave them out"
            )
        return self

    @model_validator(mode="after")
    def a_menu(self) -> Self:
        known = limits_of(type(self))
        for i, entry in enumerate(self.front):
            if foreign := [name for name in entry if name not in known]:
                told = f"{foreign[0]!r}{nearest(foreign[0], known)}"
                raise ValueError(f"front.{i}: takes limits, {', '.join(known)}, not {told}")
            if not any(value is not None for value in entry.values()):
                raise ValueError(f"front.{i}: takes at least one limit of {', '.join(known)}")
            if entry in self.front[:i]:
                raise ValueError(f"front.{i}: is the same as front.{self.front.index(entry)}: leave one")
            try:
                beside = {"device": self.device} if "max_latency_ms" in entry else {}
                type(self).model_validate({"methods": self.methods, **beside, **entry})
            except ValidationError as error:
                raise ValueError(sentence(error.errors()[0], type(self), f"front.{i}")) from error
        return self

    @model_validator(mode="after")
    def distinct(self) -> Self:
        if len(set(self.methods)) < len(self.methods):
            raise ValueError(f"methods takes each method once, not {self.methods}")
        if "weights" in self.splits:
            raise ValueError("splits takes arch and select: the supernet's weights were trained on split weights")
        return self


def limits_of(section: type[Select]) -> list[str]:
    """The fields of a selection that limit networks, and that say on which device."""
    return [name for name in section.model_fields if name.startswith("max_") or name == "device"]


class Retrain(Section):
    seeds: Annotated[list[NotNegative], Distinct] = [0, 1, 2]
    from_: Annotated[Literal["scratch", "inherited"], Field(alias="from")] = "scratch"
    splits: Annotated[list[TrainingSplit], Distinct] = ["weights", "arch", "select"]
    space: dict[str, Any] = {}
    federation: FederationParams | None = None
    preset: Literal[tuple(RECIPES)] = "quick"  # type: ignore[valid-type]
    epochs: Positive | None = None
    batch: Annotated[int, Field(ge=2)] | None = None
    optimiser: Optimiser | None = None
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
    loss: dict[str, Any] = {}  # of the task's own

    @model_validator(mode="after")
    def distinct(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds takes each seed once, not {self.seeds}: equal seeds give equal networks")
        return self

    @model_validator(mode="after")
    def federated(self) -> Self:
        if self.federation is not None and self.recipe().ema is not None:
            raise ValueError("federation averages the weights of clients, not those of steps: set ema to null")
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
    judge: Literal["inherited", "trained"] = "inherited"
    column: str = "cifar10_valid_200"
    baseline: str | None = None

    @model_validator(mode="after")
    def there(self) -> Self:
        names = [f"{method}, {selection}" for method in self.methods for selection in self.selections]
        if self.baseline is not None and self.baseline not in names:
            hint = nearest(self.baseline, names)
            raise ValueError(f"baseline: no combination {self.baseline!r}{hint}; null, or one of {'; '.join(names)}")
        return self


RANDOM, ORIGINAL = "random", "original"  # of evaluate.against; what else stands there names a network


class Evaluate(Section):
    against: Annotated[list[Annotated[str, Field(min_length=1)]], Distinct] = [RANDOM]
    margin: Weight | None = None
    controls: NotNegative = 20
    searches: Positive = 1
    random_search: NotNegative = 0
    threads: Threads = 1
    batch: Positive = 256
    latency_repeats: Annotated[int, Field(ge=6)] = 50
    latency_seconds: Annotated[float, Field(ge=0, le=600)] = 5.0

    @property
    def randoms(self) -> int:
        """How many random networks the found one is compared with."""
        return self.controls if RANDOM in self.against else 0

    @property
    def rivals(self) -> list[str]:
        """What else it is compared with."""
        return [name for name in self.against if name != RANDOM]

    @model_validator(mode="after")
    def compared(self) -> Self:
        if len(set(self.against)) < len(self.against):
            raise ValueError(f"against takes each network once, not {self.against}")
        if not self.randoms and (self.searches > 1 or self.random_search):
            name = "searches" if self.searches > 1 else "random_search"
            why = "against has no random" if self.controls else "controls is 0"
            raise ValueError(f"{why}, and {name} is {getattr(self, name)}: with nothing to compare, set it back")
        return self


class Gate(Section):
    margin: Weight | None = None


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
    """The whole file. `search` may be a list of steps, each with what a search has: a chain."""

    task: str = USUAL
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

    @property
    def begins(self) -> str:
        """What the training of a network begins with."""
        if self.retrain.from_ == "inherited":
            return "what the search trained"
        if self.space.name == "fixed":
            return "what its code gives it"
        return "your weights" if self.space.name == "auto" and self.space.options.get("weights") else "scratch"

    def within(self, entry: dict[str, Any]) -> Self:
        """The same with the limits of an entry of select.front in place of its own, but for a device that it lacks."""
        limits = {**dict.fromkeys(limits_of(Select)), "device": self.select.device, **entry}
        return self.model_copy(update={"select": self.select.model_copy(update={**limits, "front": []})})

    @model_validator(mode="before")
    @classmethod
    def chained(cls, content: Any) -> Any:
        search = content.get("search") if isinstance(content, dict) else None
        if not isinstance(search, list):
            return content
        if not search or not all(isinstance(step, dict) for step in search):
            raise ValueError("search: takes what a search has, or a list of such, one a step")
        return {**content, "search": {**search[-1], "before": search[:-1]}}

    @field_validator("task")
    @classmethod
    def a_task(cls, name: str) -> str:
        if ":" not in name and name not in TASKS:
            raise ValueError(f"no task {name!r}{nearest(name, TASKS)}: {', '.join(TASKS)}, or your own module:TASK")
        return name

    def _no_workers(self) -> str | None:
        """What to set, where whole stages cannot run side by side."""
        if self.runtime.workers == 1:
            return None
        if self.trials.executor == "inline":
            return "trials.executor inline has none; set it to processes or ray"
        if self.runtime.processes > 1:
            return "each would train in processes of its own; set runtime.processes to 1"
        if ":" in self.runtime.device:
            return f"each gets a GPU of its own, and runtime.device names {self.runtime.device}; set it to cuda"
        return None

    @model_validator(mode="after")
    def meaningful(self) -> Self:
        recipe = self.retrain.recipe()
        if recipe.schedule == "steps" and recipe.decay == 1:
            raise ValueError(
                "retrain.decay: schedule steps multiplies the rate by it after every epoch; give one below 1"
            )
        if recipe.schedule != "steps" and self.retrain.decay is not None:
            raise ValueError(f"retrain.decay: only schedule steps reads it, not {recipe.schedule}; set decay to null")
        if told := self._no_workers():
            raise ValueError(f"runtime.workers: {told}, or runtime.workers to 1")
        if self.retrain.federation is not None and self.runtime.processes > 1:
            raise ValueError("runtime.processes: retrain.federation has workers of its own for clients: set it to 1")
        if self.retrain.federation is not None and self.tune.trials:
            raise ValueError(
                "tune.trials: they train on all rows at once, and retrain.federation by clients: set it to 0"
            )
        if self.select.table is not None and self.space.name != "nas_bench_201":
            raise ValueError("select.table: the table holds NAS-Bench-201 cells; set it to null or space.name to it")
        return self

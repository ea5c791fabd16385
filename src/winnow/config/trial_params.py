"""The sections of params.yaml about trials: search.trials, tune, and trials, which says how both run."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from winnow.config.federation import TrialFederated
from winnow.config.section import Place, Section, Threads
from winnow.core.options import Distinct, NotNegative, Positive, Rate
from winnow.trials.plan import DIRECTIONS, SAMPLERS, STOPPERS


class Declared(Section):
    """Dumped as it was written: what was left out says that it was."""

    @model_serializer(mode="wrap")
    def as_written(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialise(self).items() if name in self.model_fields_set}


class RangeParams(Declared):
    """Of one parameter: numbers from low to high, or choices; with `when`, asked only if earlier ones say so."""

    low: float | int | None = None
    high: float | int | None = None
    step: float | int | None = None
    log: bool = False
    choices: Annotated[list[bool | int | float | str | None], Distinct] | None = None
    when: dict[str, Any] = {}

    @model_validator(mode="after")
    def meant(self) -> Self:
        if self.choices is not None:
            if (self.low, self.high, self.step, self.log) != (None, None, None, False):
                raise ValueError("choices stands alone: leave out low, high, step and log")
        elif self.low is None or self.high is None:
            raise ValueError("takes low and high, or choices")
        elif self.low > self.high:
            raise ValueError(f"is upside down: low {self.low} is above high {self.high}")
        elif self.log and (self.low <= 0 or self.step is not None):
            raise ValueError(f"log takes a low above 0 and no step, not low {self.low}, step {self.step}")
        return self

    def values(self) -> list[Any]:
        """The ends, or the choices."""
        return [self.low, self.high] if self.choices is None else list(self.choices)


Ranges = dict[str, RangeParams]


class Limits(Declared):
    max: float | int | None = None
    min: float | int | None = None


class TrialTraining(Section):
    epochs: Positive = 3
    channels: Annotated[int, Field(ge=0, le=8)] = 0
    resolution: Annotated[int, Field(ge=0, le=8)] = 0
    samples: Annotated[float, Field(gt=0, le=1)] = 1.0

    def fidelity(self) -> dict[str, float]:
        """Epochs, and what else is reduced."""
        full = {name: field.default for name, field in type(self).model_fields.items() if name != "epochs"}
        given = {name: float(getattr(self, name)) for name in full if getattr(self, name) != full[name]}
        return {"epochs": float(self.epochs), **given}


class TrialInherited(Section):
    strategy: str = "spos"
    calibration_images: Annotated[int, Field(ge=2)] = 1024


class TrialProxy(Section):
    names: Annotated[list[str], Distinct] = ["naswot"]
    batch: Annotated[int, Field(ge=2)] = 64


class TrialTable(Section):
    path: str | None = None
    fidelity: dict[str, float | int] = {}


class TrialPredictor(Section):
    name: str = "tg_nas"
    table: str | None = None
    metric: str = "accuracy"
    fidelity: dict[str, float | int] = {}


class SearchTrials(Section):
    count: Positive = 24
    seconds: Rate | None = None
    look_back: Positive = 2
    threads: Threads = 1
    sampler: Literal[SAMPLERS] = "tpe"  # type: ignore[valid-type]
    sampler_options: dict[str, Any] = {}
    stopper: Literal[STOPPERS] = "none"  # type: ignore[valid-type]
    stopper_options: dict[str, Any] = {}
    objectives: Annotated[dict[str, Literal[DIRECTIONS]], Distinct] = {"accuracy": "maximize"}  # type: ignore[valid-type]
    constraints: dict[str, Limits] = {}
    identity: Literal["digest", "wired", "contracted", "unique", "effective", "canonical", "cell"] = "digest"
    ranges: Ranges = {}
    evaluator: Literal["training", "federated", "inherited", "proxy", "table", "predictor"] = "training"
    training: TrialTraining = TrialTraining()
    federated: TrialFederated = TrialFederated()
    inherited: TrialInherited = TrialInherited()
    proxy: TrialProxy = TrialProxy()
    table: TrialTable = TrialTable()
    predictor: TrialPredictor = TrialPredictor()
    int8: bool = False

    @property
    def eight_bits(self) -> bool:
        """Whether trials are judged in eight bits too: where that is asked for, or an objective or a limit is of it."""
        return self.int8 or bool(self.in_eight_bits)

    @property
    def in_eight_bits(self) -> list[str]:
        """The objectives and limits that are metrics in eight bits."""
        return [name for name in (*self.objectives, *self.constraints) if name.startswith("int8_")]

    def fidelity(self) -> dict[str, float]:
        """What the evaluations are shortened to, as the trials table has it."""
        if self.evaluator == "training":
            return self.training.fidelity()
        if self.evaluator == "federated":
            return {"rounds": float(self.federated.rounds)}
        return {name: float(value) for name, value in self.table.fidelity.items()} if self.evaluator == "table" else {}


class Trials(Section):
    executor: Literal["inline", "processes", "ray"] = "processes"
    workers: Positive = 2
    storage: Place | None = None
    log: Literal["all", "top", "none"] = "top"
    top: Positive = 3
    resources: dict[str, float | int] = {}
    address: Place | None = None


class Tune(Section):
    trials: NotNegative = 6
    seconds: Rate | None = None
    look_back: Positive = 2
    threads: Threads = 1
    epochs: Positive | None = 4
    sampler: Literal[SAMPLERS] = "tpe"  # type: ignore[valid-type]
    sampler_options: dict[str, Any] = {}
    stopper: Literal[STOPPERS] = "median"  # type: ignore[valid-type]
    stopper_options: dict[str, Any] = {}
    ranges: Ranges = {
        "lr": RangeParams(low=0.02, high=0.5, log=True),
        "weight_decay": RangeParams(low=1e-5, high=2e-3, log=True),
    }

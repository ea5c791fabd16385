"""The sections search.<strategy> of params.yaml: the options that only one method takes, by the names it gives them."""

from typing import Annotated, Any, Literal

from pydantic import Field

from winnow.config.section import NotNegative, Positive, Rate, Section, Weight


class Darts(Section):
    order: Literal["first", "second"] = "first"


class Sdarts(Section):
    noise: Literal["random", "adversarial"] = "random"
    epsilon_min: Weight = 0.03
    epsilon: Weight = 0.3


class BetaDarts(Section):
    strength: Weight = 50.0
    ramp_epochs: Positive | None = None
    flood: Weight = 0.0


class Gdas(Section):
    temperature: Rate = 10.0
    temperature_min: Rate = 0.1
    gradient: Literal["all", "drawn"] = "all"


class Gumbel(Section):
    temperature: Rate = 1.0
    temperature_min: Rate = 0.1
    hard: bool = True


class PcDarts(Section):
    share: Annotated[int, Field(ge=2)] = 4
    warmup: NotNegative = 10


class Sgas(Section):
    criterion: Literal[1, 2] = 1
    warmup: NotNegative = 5
    interval: Positive = 4
    history: Positive = 4
    batch_growth: NotNegative = 8
    operation: Literal["magnitude", "perturbation"] = "magnitude"


class Unas(Section):
    warmup: NotNegative = 5
    temperature: Rate = 0.4
    gap: Weight = 0.5
    latency_ms: Rate | None = None
    reward_weight: Weight = 0.1
    reward_samples: Annotated[int, Field(ge=2)] = 100


class Subset(Section):
    cold: Rate = 100.0
    warm: Rate = 1.0
    start: float = 0.5
    strength: Weight = 0.1
    budget: Weight = 0.0
    weights: Literal["frozen", "resampled", "inherited", "alternating"] = "frozen"
    draws: Positive = 4
    pretrained: str | None = None


STAGES_OWN = {("pc_darts", "share"), ("unas", "latency_ms"), ("subset", "pretrained")}  # what no method is called with


class Strategies(Section):
    """One section a method that has options of its own."""

    darts: Darts = Darts()
    sdarts: Sdarts = Sdarts()
    beta_darts: BetaDarts = BetaDarts()
    gdas: Gdas = Gdas()
    gumbel: Gumbel = Gumbel()
    pc_darts: PcDarts = PcDarts()
    sgas: Sgas = Sgas()
    unas: Unas = Unas()
    subset: Subset = Subset()

    def options(self, strategy: str) -> dict[str, Any]:
        """What `strategy` is called with beside the common recipe."""
        section = getattr(self, strategy, None)
        taken = section.model_dump() if isinstance(section, Section) else {}
        return {name: value for name, value in taken.items() if (strategy, name) not in STAGES_OWN}

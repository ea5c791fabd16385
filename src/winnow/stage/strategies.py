"""The sections search.<strategy> of params.yaml: the options that only one method takes, by the names it gives them."""

from typing import Any, Literal

from winnow.stage.section import Rate, Section, Weight


class Darts(Section):
    order: Literal["first", "second"] = "first"


class Sdarts(Section):
    noise: Literal["random", "adversarial"] = "random"
    epsilon_min: Weight = 0.03
    epsilon: Weight = 0.3


class BetaDarts(Section):
    strength: Weight = 50.0
    flood: Weight = 0.0


class Gdas(Section):
    temperature: Rate = 10.0
    temperature_min: Rate = 0.1


class Gumbel(Section):
    temperature: Rate = 1.0
    temperature_min: Rate = 0.1
    hard: bool = True


class Strategies(Section):
    """One section a method that has options of its own."""

    darts: Darts = Darts()
    sdarts: Sdarts = Sdarts()
    beta_darts: BetaDarts = BetaDarts()
    gdas: Gdas = Gdas()
    gumbel: Gumbel = Gumbel()

    def options(self, strategy: str) -> dict[str, Any]:
        """What `strategy` is called with beside the common recipe."""
        section = getattr(self, strategy, None)
        return section.model_dump() if isinstance(section, Section) else {}

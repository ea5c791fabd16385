"""What the steps between two decisions of DARTS-PT are made of, where it is not first-order DARTS."""

from collections.abc import Callable, Mapping

from winnow.core.decision import Value
from winnow.core.space import Space
from winnow.search.gradients import Objective
from winnow.search.mixture import Parts
from winnow.search.relax import deciding, softmax
from winnow.search.smooth import GRADIENTS, adversarial_noise, random_noise
from winnow.train.checkpoint import Keeper
from winnow.train.seeds import generator


def tuning(
    strategy: str,
    space: Space,
    objective: Objective,
    seed: int,
    *,
    noise: str = "random",
    epsilon: float = 0.3,
    keeper: Keeper | None = None,
) -> Callable[[Mapping[str, Value]], Parts]:
    """The parts after some decisions are made, for `resume_mixture`.

    "blank" trains weights alone; "sdarts" disturbs the mixture weights of what is still open by `epsilon`: a decided
    option is exactly itself whenever weights train (Wang et al. 2021, public code). `keeper` keeps the noise's stream.
    """
    draws = generator(seed, "tuning")
    (keeper or Keeper()).add(draws=draws)
    disturb = random_noise(epsilon, draws) if noise == "random" else adversarial_noise(space, objective, epsilon, draws)

    def parts(decided: Mapping[str, Value]) -> Parts:
        relax = deciding(softmax, decided)
        if strategy == "blank":
            return Parts(relax=relax, learn_logits=False)
        if strategy != "sdarts":
            return Parts(relax=relax)

        def attach(logits, batch):
            still_open = {name: row for name, row in softmax(logits).items() if name not in decided}
            return {**disturb(still_open, batch, decided), **decided}

        return Parts(relax=relax, gradient=GRADIENTS[noise], attach=attach)

    return parts

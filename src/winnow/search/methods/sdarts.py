"""SmoothDARTS: SDARTS-RS and SDARTS-ADV (Chen & Hsieh 2020, arXiv:2002.05283)."""

from collections.abc import Iterable
from typing import Unpack

from winnow.core.space import Space
from winnow.search.mixture import Parts, Recipe, bilevel, keep
from winnow.search.relax import Logits, softmax
from winnow.search.smooth import GRADIENTS, adversarial_noise, random_noise
from winnow.train.evaluate import Batch
from winnow.train.seeds import generator


def sdarts(
    space: Space,
    train: Iterable[Batch],
    valid: Iterable[Batch],
    *,
    epochs: int = 50,
    noise: str = "random",
    epsilon_min: float = 0.03,
    epsilon: float = 0.3,
    **recipe: Unpack[Recipe],
) -> Logits:
    """First-order DARTS whose weights train under disturbed mixtures; the logits step sees them undisturbed.

    `noise` is "random" (RS) or "adversarial" (ADV, about three times the work); its radius grows from `epsilon_min`
    towards `epsilon` over the epochs. With both 0 it is DARTS.
    """
    draws, objective = generator(recipe["seed"], "noise"), recipe["objective"]
    keep(recipe, draws=draws)

    def parts(epoch: int) -> Parts:
        radius = epsilon_min + (epsilon - epsilon_min) * epoch / epochs
        if radius == 0:
            return Parts()
        disturb = (
            random_noise(radius, draws) if noise == "random" else adversarial_noise(space, objective, radius, draws)
        )
        return Parts(gradient=GRADIENTS[noise], attach=lambda logits, batch: disturb(softmax(logits), batch, {}))

    return bilevel(space, train, valid, epochs=epochs, parts=parts, **recipe)

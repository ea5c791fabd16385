"""β-DARTS and β-DARTS++ (Ye et al. 2022, arXiv:2203.01665, and 2023, arXiv:2301.06393)."""

from winnow.core.options import Positive, Weight
from winnow.search.bench import Bench, Found
from winnow.search.bilevel import bilevel
from winnow.search.mixture import Parts
from winnow.search.penalties import beta_decay, flooding
from winnow.search.recipe import Recipe
from winnow.search.strategy import strategy


@strategy("logits mixture children distribution", shared=True)
def beta_darts(
    bench: Bench, recipe: Recipe, *, strength: Weight = 50.0, ramp_epochs: Positive | None = None, flood: Weight = 0.0
) -> Found:
    """DARTS with a decay of the largest mixture weights that grows linearly from 0 to `strength` in `ramp_epochs`.

    None: those of the search, so that a short one reaches `strength` too. In the authors' code the decay is half the
    number of the epoch whatever the length, which is 50 in 100 epochs: at 30 epochs ours is 3.3 times as steep.

    `flood` > 0 makes it β-DARTS++: below that training loss in nats, the weights ascend. The authors' level is not
    known: choose it near the loss where training levels off.
    """
    ramp = ramp_epochs or recipe.epochs

    def parts(epoch: int) -> Parts:
        return Parts(penalty=beta_decay(bench.space, strength * epoch / ramp), shape=flooding(flood))

    return bilevel(bench, recipe, parts=parts)

"""Nothing is trained: what is selected from is scored untrained, by proxies."""

from typing import Annotated

from winnow.core.options import Distinct, Several
from winnow.proxies import proxy
from winnow.search.bench import Bench, Found
from winnow.search.recipe import Recipe
from winnow.search.strategy import strategy

PROXIES = ["live_params", "expressivity", "trainability", "meco", "jacob_cov"]


@strategy("children initialised", watched=False)
def training_free(
    bench: Bench, recipe: Recipe, *, proxies: Annotated[list[str], Distinct] = PROXIES, batch: Several = 64
) -> Found:
    """Train nothing: the selection scores untrained networks by `proxies`, several by the sum of their log ranks.

    Each is asked on one `batch`. Select with evolution, random or prune. Refused where there is no such proxy.
    """
    for name in proxies:
        proxy(name)
    return Found(bench.space, trained=False)

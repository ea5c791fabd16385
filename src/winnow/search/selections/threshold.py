"""Selection threshold: as magnitude, but what weighs too little is left out where it can be."""

from collections.abc import Mapping

import torch
from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.options import Fraction
from winnow.core.space import Space
from winnow.search.bench import Bench, Chosen
from winnow.search.selection import selection
from winnow.search.selections.magnitude import magnitude


@selection("logits", "reads trained logits")
def by_threshold(bench: Bench, *, least: Fraction | None = None) -> Chosen:
    """As magnitude, but what weighs no more than `least` is left out where it can be.

    None: what the search's own relaxation calls off, one half for gates and else the even share.
    """
    return threshold(bench.space, bench.weights(), bench.closed if least is None else least), []


def threshold(space: Space, weights: Mapping[str, Tensor], least: float | None = None) -> Architecture:
    """As `magnitude`, but where no option of a decision weighs more than `least`, `none` is taken, if there is one.

    For gates, of which all may be closed: they are open above 1/2. Unless given, `least` is the even share of each
    decision, 1 / options. A subset keeps the candidates with the heaviest option inside, open or not.
    """
    closed = {
        name: vector
        for name, vector in weights.items()
        if float(vector.detach().max()) <= (1 / len(vector) if least is None else least)
    }

    def nothing(name: str, vector: Tensor) -> Tensor:
        d = space.decisions[name]
        if "none" not in d.values:
            return vector
        return torch.tensor([float(option == "none") for option in d.options])

    return magnitude(space, {name: nothing(name, v) if name in closed else v for name, v in weights.items()})

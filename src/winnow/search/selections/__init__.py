"""From evidence to an architecture. A new selection is one file with `choose`, one row here and its tests."""

from winnow.search.selection import Selection

HERE = "winnow.search.selections"
SELECTIONS = {
    "magnitude": Selection(f"{HERE}.magnitude", "logits", "compares trained logits"),
    "threshold": Selection(f"{HERE}.threshold", "logits", "reads trained logits"),
    "likeliest": Selection(
        f"{HERE}.likeliest", "distribution", "judges children that trained logits make likely", keeps_limits=True
    ),
    "perturbation": Selection(
        f"{HERE}.perturbation", "mixture", "masks candidates of a trained mixture", evidence="masks"
    ),
    "evolution": Selection(f"{HERE}.evolution", "children", "scores children", keeps_limits=True, evidence="children"),
    "best": Selection(f"{HERE}.best", "trials", "takes the best of finished trials", keeps_limits=True),
    "random": Selection(
        f"{HERE}.random", "initialised", "scores untrained children", keeps_limits=True, evidence="children"
    ),
    "prune": Selection(f"{HERE}.prune", "initialised", "prunes a network that nobody trained", keeps_limits=True),
}

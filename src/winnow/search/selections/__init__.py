"""From evidence to an architecture. A new selection is a file and a line here, and what it asks for stands in its file.

A selection of one's own is found by its dotted path in the same way.
"""

HERE = "winnow.search.selections"
SELECTIONS = {
    "magnitude": f"{HERE}.magnitude:by_magnitude",
    "threshold": f"{HERE}.threshold:by_threshold",
    "likeliest": f"{HERE}.likeliest:by_likelihood",
    "perturbation": f"{HERE}.perturbation:by_perturbation",
    "evolution": f"{HERE}.evolution:by_evolution",
    "finalists": f"{HERE}.finalists:by_finalists",
    "annealing": f"{HERE}.annealing:by_annealing",
    "exact": f"{HERE}.exact:by_optimum",
    "shortlist": f"{HERE}.shortlist:by_shortlist",
    "best": f"{HERE}.best:best_trial",
    "random": f"{HERE}.random:by_sampling",
    "prune": f"{HERE}.prune:by_pruning",
}
RETRAIN = ("finalists",)  # they train networks alone


def retrains(name: str) -> bool:
    """Whether a selection may train by the recipe of stage retrain; of one of a user's own nobody knows.

    Told here, and not by its record, for who looks at parameters without waiting for torch.
    """
    return name in RETRAIN or ":" in name

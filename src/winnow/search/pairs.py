"""Which selection means something on which supernet; plain data, read before anything heavy is imported."""

_MIXTURE = {"logits", "mixture", "children", "distribution"}
OFFERS = {  # what a supernet can be asked after training
    "darts": _MIXTURE,
    "sdarts": _MIXTURE,
    "beta_darts": _MIXTURE,
    "gdas": _MIXTURE,
    "gumbel": _MIXTURE,
    "pc_darts": _MIXTURE,
    "setn": _MIXTURE,
    "unas": _MIXTURE,
    "sgas": {"logits", "children"},  # all is decided: perturbation takes part in the search, search.sgas.operation
    "subset": {"logits"},  # with whatever weights
    "blank": {"mixture", "children"},
    "spos": {"children"},
    "training_free": {"children", "initialised"},  # nothing is trained; children are scored by proxies
    "trials": {"trials"},  # no supernet of its own: stage search evaluates architectures one by one
}
NEEDS = {  # what a selection asks of it, and why
    "magnitude": ("logits", "compares trained logits"),
    "threshold": ("logits", "reads trained logits"),
    "likeliest": ("distribution", "judges children that trained logits make likely"),
    "perturbation": ("mixture", "masks candidates of a trained mixture"),
    "evolution": ("children", "scores children"),
    "best": ("trials", "takes the best of finished trials"),
    "random": ("initialised", "scores untrained children"),
    "prune": ("initialised", "prunes a network that nobody trained"),
}
KEEP_LIMITS = ("likeliest", "evolution", "best", "random", "prune")  # the others answer decision by decision


def objection(strategy: str, method: str) -> str | None:
    """Why `method` means nothing on a supernet of `strategy`, with what would work; None where it does."""
    need, reason = NEEDS[method]
    if need in OFFERS[strategy]:
        return None
    selections = [name for name, (asked, _) in NEEDS.items() if asked in OFFERS[strategy]]
    strategies = [name for name, offered in OFFERS.items() if need in offered]
    return (
        f"{method!r} {reason}, which strategy {strategy!r} does not leave: "
        f"select with {' or '.join(selections)}, or search with {' or '.join(strategies)}"
    )


def unlimited(strategy: str, method: str) -> str | None:
    """Why `method` keeps no limit on params or MACs, with what would after `strategy`; None where it does."""
    if method in KEEP_LIMITS:
        return None
    able = [name for name in KEEP_LIMITS if objection(strategy, name) is None]
    remedy = f"select with {' or '.join(able)}" if able else "set it to null, or search with another strategy"
    return f"{method!r} decides one question after the other and keeps no limit on the whole: {remedy}"

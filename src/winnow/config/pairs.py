"""Which selection means something on which supernet; plain data, read before anything heavy is imported."""

from winnow.search.selections import SELECTIONS

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
KEEP_LIMITS = tuple(name for name, selection in SELECTIONS.items() if selection.keeps_limits)


def objection(strategy: str, method: str) -> str | None:
    """Why `method` means nothing on a supernet of `strategy`, with what would work; None where it does."""
    selection = SELECTIONS[method]
    if selection.needs in OFFERS[strategy]:
        return None
    selections = [name for name, other in SELECTIONS.items() if other.needs in OFFERS[strategy]]
    strategies = [name for name, offered in OFFERS.items() if selection.needs in offered]
    return (
        f"{method!r} {selection.reason}, which strategy {strategy!r} does not leave: "
        f"select with {' or '.join(selections)}, or search with {' or '.join(strategies)}"
    )


def unlimited(strategy: str, method: str) -> str | None:
    """Why `method` keeps no limit on params or MACs, with what would after `strategy`; None where it does."""
    if method in KEEP_LIMITS:
        return None
    able = [name for name in KEEP_LIMITS if objection(strategy, name) is None]
    remedy = f"select with {' or '.join(able)}" if able else "set it to null, or search with another strategy"
    return f"{method!r} decides one question after the other and keeps no limit on the whole: {remedy}"

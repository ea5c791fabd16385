"""Which selection means something on which supernet; plain data, read before anything heavy is imported."""

_MIXTURE = {"logits", "mixture", "paths"}
OFFERS = {  # what a supernet can be asked after training
    "darts": _MIXTURE,
    "sdarts": _MIXTURE,
    "beta_darts": _MIXTURE,
    "gdas": _MIXTURE,
    "gumbel": _MIXTURE,
    "blank": {"mixture", "paths"},
    "spos": {"paths"},
}
NEEDS = {  # what a selection asks of it, and why
    "magnitude": ("logits", "compares trained logits"),
    "perturbation": ("mixture", "masks candidates of a trained mixture"),
    "evolution": ("paths", "scores inherited children"),
}


def objection(strategy: str, method: str) -> str | None:
    """Why `method` means nothing on a supernet of `strategy`, with what would work; None where it does."""
    need, reason = NEEDS[method]
    if need in OFFERS[strategy]:
        return None
    selections = [name for name, (asked, _) in NEEDS.items() if asked in OFFERS[strategy]]
    strategies = [name for name, offered in OFFERS.items() if need in offered]
    return (
        f"{method!r} {reason}, which a supernet of {strategy!r} does not have: "
        f"select with {' or '.join(selections)}, or search with {' or '.join(strategies)}"
    )

"""One short file a published method. A new one is a file and a line here, and what it leaves stands in its file.

A strategy of one's own is found by its dotted path in the same way.
"""

HERE = "winnow.search.methods"
STRATEGIES = {
    "darts": f"{HERE}.darts:darts",
    "sdarts": f"{HERE}.sdarts:sdarts",
    "beta_darts": f"{HERE}.beta_darts:beta_darts",
    "gdas": f"{HERE}.gdas:gdas",
    "gumbel": f"{HERE}.gumbel:gumbel_darts",
    "pc_darts": f"{HERE}.pc_darts:pc_darts",
    "sgas": f"{HERE}.sgas:sgas",
    "setn": f"{HERE}.setn:setn",
    "unas": f"{HERE}.unas:unas",
    "subset": f"{HERE}.subset:subset",
    "blank": f"{HERE}.blank:blank",
    "spos": f"{HERE}.spos:spos",
    "fair": f"{HERE}.fair:fair",
    "sandwich": f"{HERE}.sandwich:sandwich",
    "ofa": f"{HERE}.ofa:ofa",
    "cream": f"{HERE}.cream:cream",
    "abs": f"{HERE}.abs:angle_based",
    "neas": f"{HERE}.neas:neas",
    "nse": f"{HERE}.nse:nse",
    "training_free": f"{HERE}.training_free:training_free",
    "trials": f"{HERE}.trials:trials",
    "econas": f"{HERE}.econas:econas",
}
TRIES = ("trials", "econas")  # they evaluate architectures one by one


def tries(name: str) -> bool:
    """Whether a strategy may search by trials; of one of a user's own nobody knows.

    Told here, and not by its record, for who looks at parameters without waiting for torch.
    """
    return name in TRIES or ":" in name

"""Learnt scores of architectures. A predictor is a function that fits encodings to values and returns another.

`fit(encodings (n, ...), values (n,), seed)` gives `predict(encodings (m, ...))`. Which encoding a predictor reads by
itself is its row here; every vector encoding fits every vector predictor ("ridge:path"). All learn normal scores of the
values, which on NAS-Bench-201 orders far better than the values themselves.
"""

import difflib
from dataclasses import dataclass

from winnow.core.errors import Refused
from winnow.predictors.classic import gp, ridge, trees
from winnow.predictors.encode import ENCODINGS
from winnow.predictors.gcn import gcn
from winnow.predictors.mlp import mlp
from winnow.predictors.protocol import Fit
from winnow.predictors.scale import on_normal_scores
from winnow.predictors.tg_nas import tg_nas


@dataclass(frozen=True)
class Predictor:
    fit: Fit
    encoding: str


PREDICTORS = {
    "ridge": Predictor(on_normal_scores(ridge), "one_hot"),
    "gp": Predictor(on_normal_scores(gp), "one_hot"),
    "trees": Predictor(on_normal_scores(trees), "one_hot"),
    "mlp": Predictor(on_normal_scores(mlp), "one_hot"),
    "gcn": Predictor(on_normal_scores(gcn), "graph"),
    "tg_nas": Predictor(on_normal_scores(tg_nas), "described"),
}
OF_GRAPHS = ("graph", "described")


def predictor(name: str) -> Predictor:
    """By name, as "ridge" or, with another encoding, "ridge:path". Refused for what does not exist or does not fit."""
    base, _, encoding = name.partition(":")
    for word, known in ((base, PREDICTORS), (encoding or "one_hot", ENCODINGS)):
        if word not in known:
            near = difflib.get_close_matches(word, known, 1)
            what = "predictor" if known is PREDICTORS else "encoding"
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise Refused(f"no {what} {word!r}{meant} (known: {', '.join(known)})")
    found = PREDICTORS[base]
    if encoding and encoding != found.encoding and {encoding, found.encoding} & {*OF_GRAPHS}:
        raise Refused(
            f"predictor {base!r} reads {found.encoding!r}, not {encoding!r}: "
            "graphs are for gcn alone, descriptions for tg_nas"
        )
    return Predictor(found.fit, encoding or found.encoding)

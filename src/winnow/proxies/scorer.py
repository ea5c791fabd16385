"""Any proxies of many architectures of one space: shared work where there is some, the plain function for the rest."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.proxies import AZ_NAS, PROXIES, az_nas, proxy, score
from winnow.proxies.common import Batch, working_copy
from winnow.proxies.gradient import FIRST_ORDER, first_order
from winnow.proxies.inside import IMAGES, az_nas_of, images_of, live_params_of, meco_of
from winnow.proxies.together import Scorer, synflow_of

SIZES = ("params", "macs", "complexity")
ANY_INPUT = ("params", "macs")  # those that a network has whatever it is given; the others were made for images
DRAWN = tuple(name for name in AZ_NAS if name not in SIZES)  # one drawing of the space's weights for all children
Streams = Callable[[str], torch.Generator]


def check_names(names: Sequence[str], batch: Batch) -> None:
    """Refused without names, for unknown ones, and where one needs images or labels that the batch does not have."""
    if not names:
        raise Refused("scoring takes one proxy or more")
    for name in names:
        if batch[0].dim() != 4 and proxy(name) and name not in ANY_INPUT:
            raise Refused(
                f"proxy {name!r} needs images (channels, height, width), and the inputs here have shape "
                f"{tuple(batch[0].shape[1:])}: take {' or '.join(ANY_INPUT)}, or a search that trains"
            )
        if proxy(name).needs == "labels" and batch[1] is None:
            raise Refused(f"proxy {name!r} needs labels, and the batch has none")
        if proxy(name).needs == "labels" and batch[1] is not None and batch[1].dim() > 2:
            raise Refused(
                f"proxy {name!r} needs a label a row, and an answer here has shape {tuple(batch[1].shape[1:])}: "
                "take one that needs no labels, or a search that trains"
            )


def scorer_of(
    space: Space, names: Sequence[str], batch: Batch, streams: Streams
) -> Callable[[Sequence[Architecture]], list[dict]]:
    """A function from architectures to rows: a value for each of `names`, NaN where there is none, and the `reason`.

    Children have the weights that `space` has; AZ-NAS' scores draw those of the whole space once, from
    `streams("weights")`. `streams(name)` gives the random numbers called `name`, always the same.
    """
    images, slopes = (tuple(name for name in those if name in names) for those in (IMAGES, FIRST_ORDER))
    drawn = working_copy(space)
    az_nas.drawn(drawn, streams("weights"))
    offered: list[tuple[tuple[str, ...], Scorer | None]] = [
        (("synflow",), synflow_of(space, batch) if "synflow" in names else None),
        (images, images_of(space, batch, images) if images else None),
        (("live_params",), live_params_of(space, batch) if "live_params" in names else None),
        (slopes, (lambda archs: [{**first_order(space.derive(a), batch, slopes)} for a in archs]) if slopes else None),
        (("meco",), meco_of(space, batch, streams("meco")) if "meco" in names else None),
        (DRAWN, az_nas_of(drawn, batch, streams("az_nas")) if set(names) & set(DRAWN) else None),
    ]
    shared = [(those, scorer) for those, scorer in offered if scorer is not None]
    plain = [name for name in names if not any(name in those for those, _ in shared)]

    def one_by_one(arch: Architecture) -> Iterator[tuple[str, float | str]]:
        child = space.derive(arch) if set(plain) - set(DRAWN) else nn.Identity()
        for name in plain:
            try:
                if name in DRAWN:
                    yield name, PROXIES[name].score(drawn.derive(arch), batch, streams("az_nas"), init=None)
                else:
                    yield name, score(name, child, batch, streams(name))
            except Refused as refusal:
                yield name, str(refusal)

    def score_all(archs: Sequence[Architecture]) -> list[dict]:
        rows: list[dict] = [{} for _ in archs]
        for those, scorer in shared:
            for row, values in zip(rows, _each(scorer, archs), strict=True):
                row.update(values if isinstance(values, dict) else dict.fromkeys(those, values))
        for row, arch in zip(rows, archs, strict=True):
            row.update(one_by_one(arch))
        return [_settled(row, names) for row in rows]

    return score_all


def _each(scorer: Scorer, archs: Sequence[Architecture], at_once: int = 32) -> Iterator[dict | str]:
    """Scores of `at_once` children together; where one is refused, of each alone, so that only that one is missing."""
    for start in range(0, len(archs), at_once):
        some = archs[start : start + at_once]
        try:
            yield from scorer(some)
        except Refused as refusal:
            yield from [str(refusal)] if len(some) == 1 else _each(scorer, some, 1)


def _settled(row: dict[str, float | str], names: Sequence[str]) -> dict[str, float | str]:
    """The values of `names`; a sentence in place of a number becomes NaN, and the reason of the row."""
    values: dict[str, float | str] = {}
    reasons = []
    for name in names:
        value = row[name]
        if isinstance(value, str) or not math.isfinite(value):
            reasons.append(f"{name}: {value if isinstance(value, str) else 'not a number'}")
            value = math.nan
        values[name] = value
    return {**values, "reason": "; ".join(reasons)}

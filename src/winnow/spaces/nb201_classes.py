"""Which NAS-Bench-201 cells are one network: readings of "equal", four with a published count and one of ours.

Dong & Yang 2020 (arXiv:2001.00326) count 6,466 unique cells of 15,625; other papers use other readings. A class is a
text; two cells are equal under a reading when their texts are.
"""

from collections.abc import Callable, Mapping

from winnow.core.decision import Value
from winnow.spaces.nas_bench_201 import EDGES, from_string, to_string

Cell = Mapping[str, Value]
INPUT, ZERO = "0", "#"  # the published 6,466 hangs on how these sort: sums are sorted as texts and never taken apart


def contracted(cell: Cell) -> str:
    """12,751 classes: a skip connection is its input, the order of a sum does not matter, `none` is an operation."""
    return _sum_of(cell, lambda op, source: source if op == "skip_connect" else f"({source}){op}")


def unique(cell: Cell) -> str:
    """6,466 classes, the benchmark's own reading: besides, what is surely zero is one mark, which stays in its sum."""

    def term(op: str, source: str) -> str:
        if op == "none" or source == ZERO:
            return ZERO
        return source if op == "skip_connect" else f"({source}){op}"

    return _sum_of(cell, term)


def canonical(cell: Cell) -> str:
    """4,930 classes, one of them the dead cells: besides, zeros leave their sums and sums of sums are one sum.

    A convolution that is read twice is taken for two convolutions here: 326 classes hold networks of different size.
    """
    return "+".join(_terms(cell)[3])


def wired(cell: Cell) -> str:
    """5,260 classes, one of them the dead cells: `canonical`, and the same live convolutions. Ours.

    Cells of one class are one network up to the order of its parts: their scores are drawn from one distribution. A
    pooling has no weights, so that reading it twice or having two is the same.
    """
    live = from_string(effective(cell))
    nodes = _terms(live)
    convolutions = [
        f"({'+'.join(nodes[source])}){_op(live, (source, node))}"
        for source, node in EDGES
        if _op(live, (source, node)).startswith("nor_conv")
    ]
    return "+".join(nodes[3]) + " of " + " ".join(sorted(convolutions))


def effective(cell: Cell) -> str:
    """9,445 classes, one of them the dead cells: the cell with `none` on each edge that no signal takes to the end."""
    live = {edge for edge in EDGES if _op(cell, edge) != "none"}
    fed, used = {0}, {3}
    for source, node in EDGES:  # ordered by node, so that a source is settled before what it feeds
        if (source, node) in live and source in fed:
            fed.add(node)
    for source, node in sorted(EDGES, key=lambda edge: -edge[1]):
        if (source, node) in live and node in used:
            used.add(source)
    taken = {edge for edge in live if edge[0] in fed and edge[1] in used}
    return to_string({f"{n}<-{s}": _op(cell, (s, n)) if (s, n) in taken else "none" for s, n in EDGES})


CLASSES: dict[str, Callable[[Cell], str]] = {
    "contracted": contracted,
    "unique": unique,
    "effective": effective,
    "canonical": canonical,
    "wired": wired,
}


def _op(cell: Cell, edge: tuple[int, int]) -> str:
    return str(cell[f"{edge[1]}<-{edge[0]}"])


def _terms(cell: Cell) -> list[list[str]]:
    """For each node the sorted terms of its sum; no term is zero, and skip connections are their input's terms."""
    nodes: list[list[str]] = [[INPUT]]
    for node in (1, 2, 3):
        terms: list[str] = []
        for source in range(node):
            op, below = _op(cell, (source, node)), nodes[source]
            if below and op != "none":
                terms += below if op == "skip_connect" else [f"({'+'.join(below)}){op}"]
        nodes.append(sorted(terms))
    return nodes


def _sum_of(cell: Cell, term: Callable[[str, str], str]) -> str:
    """What the last node computes, written out: nodes are sums of terms of (operation, what its source computes)."""
    nodes = [INPUT]
    for node in (1, 2, 3):
        terms = sorted(term(_op(cell, (source, node)), nodes[source]) for source in range(node))
        nodes.append("+".join(terms))
    return nodes[3]

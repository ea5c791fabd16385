"""Which decisions make up cells, by the shape of their names: plain data, for drawings and for counting."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from winnow.core.decision import Decision, Value

PARAMETER_FREE = ("skip_connect", "identity", "max_pool_3x3", "avg_pool_3x3", "none", "noise")
COLLAPSED = 2 / 3  # share of parameter-free edges from which a cell counts as collapsed

_SUMMED = re.compile(r"(?:(?P<kind>.+)/)?(?P<node>\d+)<-(?P<source>\d+)")  # "3<-1", "normal/3<-1"
_SUBSET = re.compile(r"(?P<kind>.+)/(?P<node>\d+)")  # "normal/2", which picks among "normal/2/0", "normal/2/1"


@dataclass(frozen=True)
class Edge:
    """Applies one of `options` to node `source` on its way into `node`; `op` is the chosen one, None while open."""

    source: int
    node: int
    decision: str
    options: tuple[str, ...]
    op: str | None


@dataclass(frozen=True)
class Cell:
    """A graph of numbered nodes. Where nodes choose their edges (DARTS), its output concatenates them: `joins`."""

    kind: str
    inputs: tuple[int, ...]
    nodes: tuple[int, ...]
    edges: tuple[Edge, ...]  # the kept ones where the cell is decided
    joins: bool


def find_cells(
    decisions: Mapping[str, Decision], choices: Mapping[str, Value] | None = None
) -> tuple[list[Cell], list[Decision]]:
    """The cells of a space and the decisions that belong to none. With `choices`, decided and with kept edges only."""
    kinds: dict[tuple[str, bool], list[tuple[int, int, Decision]]] = {}  # (source, node, decision) of every edge
    picks: set[str] = set()
    for name, d in decisions.items():
        if (match := _SUMMED.fullmatch(name)) and int(match["source"]) < int(match["node"]) and not d.several:
            kinds.setdefault((match["kind"] or "", False), []).append((int(match["source"]), int(match["node"]), d))
        elif match := _SUBSET.fullmatch(name):
            inner = {source: decisions.get(f"{name}/{source}") for source in d.options}
            if all(isinstance(source, int) and source < int(match["node"]) for source in inner) and all(inner.values()):
                edges = [(int(source), int(match["node"]), each) for source, each in inner.items() if each]
                kinds.setdefault((match["kind"], True), []).extend(edges)
                picks.add(name)
    used = picks | {d.name for edges in kinds.values() for _, _, d in edges}
    cells = [_cell(kind, joins, edges, choices) for (kind, joins), edges in kinds.items()]
    return cells, [d for name, d in decisions.items() if name not in used]


def parameter_free(cells: list[Cell]) -> tuple[int, int]:
    """How many of the kept edges of decided cells carry an operation without weights, and how many edges there are.

    `skip_connect` counts although it is a small convolution where a DARTS reduction cell halves the image.
    """
    ops = [edge.op for cell in cells for edge in cell.edges]
    return sum(op in PARAMETER_FREE for op in ops), len(ops)


def _cell(kind: str, joins: bool, edges: list[tuple[int, int, Decision]], choices: Mapping[str, Value] | None) -> Cell:
    nodes = {node for _, node, _ in edges}
    kept = tuple(
        Edge(source, node, d.name, tuple(map(str, d.options)), None if choices is None else str(choices[d.name]))
        for source, node, d in edges
        if choices is None or d.name in choices
    )
    return Cell(kind, tuple(sorted({source for source, _, _ in edges} - nodes)), tuple(sorted(nodes)), kept, joins)

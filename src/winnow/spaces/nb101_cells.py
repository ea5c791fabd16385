"""The cells of NAS-Bench-101: what is one, and which are equal (Ying et al. 2019, arXiv:1902.09635)."""

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Value

OPS = ("conv3x3", "conv1x1", "maxpool3x3")  # in the order that the published hashes number them
MOST_NODES, MOST_EDGES = 7, 9
NODES = "cell/nodes"
Matrix = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Cell:
    """`edges` (source, node) lead to higher nodes; 0 is the input, the last the output, each between has one of `ops`.

    Every node lies on a way from the input to the output.
    """

    edges: tuple[tuple[int, int], ...]  # sorted by node, then by source
    ops: tuple[str, ...]

    @property
    def nodes(self) -> int:
        return len(self.ops) + 2

    def sources(self, node: int) -> list[int]:
        return [source for source, into in self.edges if into == node]

    def followers(self, node: int) -> list[int]:
        return [into for source, into in self.edges if source == node]


def cell(matrix: Matrix, ops: Sequence[str]) -> Cell:
    """From an adjacency matrix and an operation a node, the input's and the output's included, which are not read.

    Operations are ours or as published, "conv3x3-bn-relu". Nodes on no way from input to output are left out; of what
    remains ValueError where it has too many edges, or is no cell at all.
    """
    size = len(matrix)
    if not 2 <= size <= MOST_NODES:
        raise ValueError(f"a cell of NAS-Bench-101 has 2 to {MOST_NODES} nodes, not {size}")
    if any(len(row) != size for row in matrix) or len(ops) != size:
        raise ValueError(f"a cell of {size} nodes takes {size} operations and {size} rows of {size}")
    if any(matrix[i][j] not in (0, 1) or (matrix[i][j] and i >= j) for i in range(size) for j in range(size)):
        raise ValueError(
            "the edges of a cell lead to later nodes: its matrix is of 0 and 1, and 1 above the diagonal alone"
        )
    inner = [op.removesuffix("-bn-relu") for op in ops[1:-1]]
    if unknown := [op for op in inner if op not in OPS]:
        raise ValueError(f"a cell of NAS-Bench-101 has operations {', '.join(OPS)}, not {unknown[0]!r}")
    return _live([(i, j) for j in range(size) for i in range(j) if matrix[i][j]], inner)


def _live(edges: Sequence[tuple[int, int]], ops: Sequence[str]) -> Cell:
    """Without the nodes that no way from input to output passes. ValueError where there is none, or too many edges."""
    last = len(ops) + 1
    fed, used = {0}, {last}
    for source, node in sorted(edges):
        if source in fed:
            fed.add(node)
    for source, node in sorted(edges, key=lambda edge: -edge[1]):
        if node in used:
            used.add(source)
    if last not in fed:
        raise ValueError("no way leads from the input of this cell to its output")
    kept = sorted(fed & used)
    place = {node: i for i, node in enumerate(kept)}
    live = sorted(((place[s], place[n]) for s, n in edges if s in place and n in place), key=lambda edge: edge[::-1])
    if len(live) > MOST_EDGES:
        raise ValueError(f"a cell of NAS-Bench-101 has up to {MOST_EDGES} edges, not {len(live)}")
    return Cell(tuple(live), tuple(ops[node - 1] for node in kept[1:-1]))


def decisions(nodes: int) -> tuple[Decision, ...]:
    """Those of a cell of so many nodes, beside "cell/nodes": an input of each but the first two, which has one source;
    the operations; and "cell/7/edges", further ones, as many as there may be.

    Thus whatever they answer is a cell, and each cell is among the answers, most of them several times.
    """
    more = min(MOST_EDGES, nodes * (nodes - 1) // 2) - (nodes - 1)
    inputs = [Decision(f"cell/{node}/input", tuple(range(node))) for node in range(2, nodes)]
    ops = [Decision(f"cell/{node}/op", OPS) for node in range(1, nodes - 1)]
    pairs = tuple(f"{s}>{n}" for n in range(2, nodes) for s in range(n))
    return (*inputs, *ops, *([Decision(f"cell/{nodes}/edges", pairs, more, least=0)] if more else []))


def cell_of(arch: Mapping[str, Value]) -> Cell:
    """The cell that an architecture of the space stands for, without the nodes that no way passes."""
    nodes = arch[NODES]
    assert isinstance(nodes, int)
    edges = {(0, 1), *((_whole(arch[f"cell/{node}/input"]), node) for node in range(2, nodes))}
    further = arch.get(f"cell/{nodes}/edges", ())
    assert isinstance(further, tuple)
    edges |= {(int(source), int(node)) for source, _, node in (str(each).partition(">") for each in further)}
    return _live(sorted(edges), [str(arch[f"cell/{node}/op"]) for node in range(1, nodes - 1)])


def architecture(of: Cell) -> Architecture:
    """Of the architectures that stand for these very nodes the one whose inputs are the first of each node."""
    answers: dict[str, Value] = {NODES: of.nodes}
    answers |= {f"cell/{i}/op": op for i, op in enumerate(of.ops, 1)}
    first = {node: min(of.sources(node)) for node in range(1, of.nodes)}
    answers |= {f"cell/{node}/input": source for node, source in first.items() if node > 1}
    if of.nodes > 2:
        answers[f"cell/{of.nodes}/edges"] = tuple(f"{s}>{n}" for s, n in of.edges if s != first[n])
    return Architecture.of(answers)


def fingerprint(of: Cell) -> str:
    """The published `module_hash`: equal for cells that differ in the order of their nodes alone.

    Each node begins as (edges out, edges in, operation) and is hashed with its neighbours' hashes, as often as there
    are nodes (graph_util.py of google-research/nasbench).
    """
    labels = [-1, *(OPS.index(op) for op in of.ops), -2]
    before, after = ([f(node) for node in range(of.nodes)] for f in (of.sources, of.followers))
    hashes = [_md5(str((len(after[n]), len(before[n]), labels[n]))) for n in range(of.nodes)]
    for _ in range(of.nodes):
        hashes = [
            _md5("|".join(["".join(sorted(hashes[w] for w in near)) for near in (before[n], after[n])] + [hashes[n]]))
            for n in range(of.nodes)
        ]
    return _md5(str(sorted(hashes)))


def identity(arch: Mapping[str, Value]) -> str:
    """Equal texts for architectures that stand for one cell."""
    return fingerprint(cell_of(arch))


def canonical(of: Cell) -> Cell:
    """The same cell in the order of nodes that the published table has it in: it counts up their edges as a number, the
    first edge its smallest digit, and takes the smallest; then the first operations.
    """
    ways = (_ordered(of, order) for order in _orders(of))
    return min(
        ways, key=lambda c: (sum(1 << (s + n * (n - 1) // 2) for s, n in c.edges), [OPS.index(o) for o in c.ops])
    )


def represent(arch: Mapping[str, Value]) -> Architecture:
    """One architecture for all that stand for the same cell."""
    return architecture(canonical(cell_of(arch)))


def _orders(of: Cell) -> Iterator[tuple[int, ...]]:
    """Every order of the nodes in which edges lead to later ones."""
    for inner in itertools.permutations(range(1, of.nodes - 1)):
        place = {node: i for i, node in enumerate((0, *inner, of.nodes - 1))}
        if all(place[source] < place[node] for source, node in of.edges):
            yield inner


def _ordered(of: Cell, inner: Sequence[int]) -> Cell:
    place = {node: i for i, node in enumerate((0, *inner, of.nodes - 1))}
    edges = sorted(((place[s], place[n]) for s, n in of.edges), key=lambda edge: edge[::-1])
    return Cell(tuple(edges), tuple(of.ops[node - 1] for node in inner))


def channels(of: Cell, c_in: int, c_out: int) -> tuple[int, ...]:
    """Of each node: the output's are shared out among those that lead to it, who come first getting what is left over;
    others have those of the widest that they lead to. The input's are `c_in`, as it is projected.
    """
    found = {0: c_in, of.nodes - 1: c_out}
    shared = [source for source in of.sources(of.nodes - 1) if source]
    for i, node in enumerate(shared):
        found[node] = c_out // len(shared) + (i < c_out % len(shared))
    for node in range(of.nodes - 2, 0, -1):
        if node not in found:
            found[node] = max(found[into] for into in of.followers(node))
    return tuple(found[node] for node in range(of.nodes))


def _whole(value: Value) -> int:
    assert isinstance(value, int)
    return value


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

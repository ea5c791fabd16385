"""Architectures as numbers. Each encoding is made for a space and then takes any list of its architectures.

White et al. 2020 (arXiv:2007.04965) compare one-hot, adjacency and path encodings. Where operations sit on fixed edges
(NAS-Bench-201) the adjacency holds the same numbers as one-hot.
"""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Value
from winnow.core.errors import Refused
from winnow.core.graph import NONE, Graph, NodeGraph
from winnow.predictors.tg_nas import tensors

Decisions = Mapping[str, Decision]
Cells = Mapping[str, Graph | NodeGraph]
Graphs = Callable[[Mapping[str, Value]], Cells]  # the cells of an architecture by type
Encode = Callable[[Sequence[Architecture]], np.ndarray]
MOST_PATHS = 20_000


def one_hot(decisions: Decisions, graphs: Graphs) -> Encode:
    """(n, options of all decisions): 1 where an option is taken; decisions out of reach are all 0. For any space."""
    columns = {(d.name, o): i for i, (d, o) in enumerate((d, o) for d in decisions.values() for o in d.options)}

    def encode(archs: Sequence[Architecture]) -> np.ndarray:
        out = np.zeros((len(archs), len(columns)))
        for row, arch in zip(out, archs, strict=True):
            for name, value in arch.choices:
                for option in value if isinstance(value, tuple) else (value,):
                    row[columns[name, option]] = 1
        return out

    return encode


def adjacency(decisions: Decisions, graphs: Graphs) -> Encode:
    """(n, cells x node pairs x operations): 1 where an operation leads from one node to the other.

    Where operations are on nodes (n, node pairs + nodes x operations); the output is the last node of the largest cell.
    Several numbers of one block, "kernel 5, ratio 4", are an operation each.
    """
    ops, largest = _named(decisions, graphs), graphs(_answers(decisions, -1))
    sizes = {kind: max(n for _, n, _ in c.edges) + 1 for kind, c in largest.items() if isinstance(c, Graph)}

    def one(arch: Architecture) -> np.ndarray:
        cells = []
        for kind, cell in sorted(graphs(arch).items()):
            if isinstance(cell, NodeGraph):
                cells.append(_of_nodes(cell, ops))
                continue
            table = np.zeros((sizes[kind], sizes[kind], len(ops)))
            for source, node, op in cell.edges:
                table[source, node, _columns(op, ops)] = 1
            cells.append(table[np.triu_indices(sizes[kind], 1)].ravel())
        return np.concatenate(cells)

    return lambda archs: np.stack([one(arch) for arch in archs])


def path(decisions: Decisions, graphs: Graphs) -> Encode:
    """(n, possible paths): 1 where some way through a cell from this input has this sequence of operations.

    Equal for cells that differ in dead edges only. Refused where there are more than 20,000 possible paths, and where
    a step is several numbers or one of several operations at once.
    """
    ops = tuple(op for op in operations(decisions) if op != NONE)
    columns: dict[tuple, int] = {}

    def one(arch: Architecture) -> Iterator[int]:
        for kind, cell in sorted(graphs(arch).items()):
            for start, way in cell.ways():
                yield columns[(kind, start, *way)]

    def encode(archs: Sequence[Architecture]) -> np.ndarray:
        if not columns:
            _single(graphs(archs[0]), operations(decisions))
            columns.update((key, i) for i, key in enumerate(_possible(graphs(archs[0]), ops)))
        out = np.zeros((len(archs), len(columns)))
        for row, arch in zip(out, archs, strict=True):
            row[list(one(arch))] = 1
        return out

    return encode


def graph(decisions: Decisions, graphs: Graphs) -> Encode:
    """(n, nodes, nodes + features): who feeds whom, [i, j] = 1 where i feeds j, beside what each node is.

    Operations sit on nodes; several cells are one graph of separate parts, whose kind is a feature, too. Cells of fewer
    nodes than others of their space have rows of zeros.
    """
    names, largest = ("input", "output", *_named(decisions, graphs)), graphs(_answers(decisions, -1))
    size = sum(cell.room for cell in largest.values())

    def one(arch: Architecture) -> np.ndarray:
        cells = sorted(graphs(arch).items())
        parts = [cell.on_nodes() for _, cell in cells]
        out, start = np.zeros((size, size + len(names) + len(cells))), 0
        for kind, (nodes, feeds) in enumerate(parts):
            for i, name in enumerate(nodes, start):
                out[i, [size + column for column in _columns(name, names)]] = out[i, size + len(names) + kind] = 1
            for i, j in feeds:
                out[start + i, start + j] = 1
            start += len(nodes)
        return out

    return lambda archs: np.stack([one(arch) for arch in archs])


def described(decisions: Decisions, graphs: Graphs) -> Encode:
    """(n, nodes, nodes + features): who hears whom beside what each node is described as: `tg_nas.tensors`, as wide as
    the largest graph of the space.
    """
    size = sum(cell.room for cell in graphs(_answers(decisions, -1)).values())
    return lambda archs: tensors([graphs(arch) for arch in archs], size).numpy()


def operations(decisions: Decisions) -> tuple[str, ...]:
    """The options of single decisions that are text, each once."""
    options = (o for d in decisions.values() if not d.several for o in d.options)
    return tuple(dict.fromkeys(o for o in options if isinstance(o, str)))


def _named(decisions: Decisions, graphs: Graphs) -> tuple[str, ...]:
    """All that a node may be called: the options, and what graphs make of numbers and of operations side by side."""
    names = dict.fromkeys(operations(decisions))
    for place in range(max((len(d.options) for d in decisions.values()), default=0) + 1):
        for cell in graphs(_answers(decisions, place)).values():
            names.update(dict.fromkeys(name for op in cell.ops for name in _parts(op, names)))
    return tuple(names)


def _answers(decisions: Decisions, place: int) -> dict[str, Value]:
    """To all decisions, reached or not, the value at `place`, else the last; -1: the last, which is the largest."""
    return {name: d.values[min(place, len(d.values) - 1)] for name, d in decisions.items()}


def _parts(op: str, names: Collection[str]) -> list[str]:
    return [op] if op in names else op.split(", ")


def _columns(op: str, names: Sequence[str]) -> list[int]:
    return [names.index(part) for part in _parts(op, names)]


def _single(cells: Cells, ops: Collection[str]) -> None:
    for cell in cells.values():
        if several := [op for op in cell.ops if op not in ops]:
            raise Refused(f"path encoding takes one operation a step, and a block here is {several[0]!r}: take one_hot")


def _of_nodes(cell: NodeGraph, ops: Sequence[str]) -> np.ndarray:
    feeds, taken, last = np.zeros((cell.room, cell.room)), np.zeros((cell.room - 2, len(ops))), len(cell.ops) + 1
    for source, node in cell.feeds:
        feeds[source, cell.room - 1 if node == last else node] = 1
    for row, op in zip(taken, cell.ops, strict=False):
        row[ops.index(op)] = 1
    return np.concatenate([feeds[np.triu_indices(cell.room, 1)], taken.ravel()])


def _possible(cells: Cells, ops: Sequence[str]) -> Iterator[tuple]:
    """Every sequence of operations from every input, up to the longest way there could be."""
    count = sum(len(cell.inputs) * sum(len(ops) ** n for n in cell.lengths) for cell in cells.values())
    if count > MOST_PATHS:
        raise Refused(f"path encoding would take {count:,} columns here, more than {MOST_PATHS:,}: take one_hot")
    for kind, cell in sorted(cells.items()):
        for start, length in itertools.product(cell.inputs, cell.lengths):
            yield from ((kind, start, *way) for way in itertools.product(ops, repeat=length))


ENCODINGS: dict[str, Callable[[Decisions, Graphs], Encode]] = {
    "one_hot": one_hot,
    "adjacency": adjacency,
    "path": path,
    "graph": graph,
    "described": described,
}

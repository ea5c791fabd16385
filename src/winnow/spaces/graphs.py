"""The cells of an architecture as graphs: what encodings, topology scores and predictors read."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

from winnow.core.decision import Value
from winnow.core.errors import Refused
from winnow.core.graph import Graph, NodeGraph
from winnow.core.space import Space
from winnow.spaces import chains
from winnow.spaces.cream import CANDIDATES
from winnow.spaces.darts import NODES
from winnow.spaces.descriptions import described
from winnow.spaces.macro import OPS
from winnow.spaces.mobile import KERNELS
from winnow.spaces.multibranch import KNOWN
from winnow.spaces.nas_bench_201 import EDGES
from winnow.spaces.nb101_cells import MOST_NODES, cell_of
from winnow.spaces.nb101_cells import NODES as SIZE

Cells = dict[str, Graph | NodeGraph]

_NB201 = frozenset(f"{node}<-{source}" for source, node in EDGES)
_NODE = re.compile(r"(normal|reduce)/(\d+)")
_NECK = re.compile(r"neck/(\d+)<-(\d+)")  # of space fpn: the sum of all nodes is returned
_PAIR = re.compile(r"((normal|reduce)/(\d+)/[ab])/input")  # of space factorised


class Family(NamedTuple):
    """Architectures whose decisions are all named like `names`, answer `needs`, and, where text is answered, with
    `options` alone.
    """

    names: str
    needs: str
    options: Collection[str]
    draw: Callable[[Mapping[str, Value]], dict[str, Graph]]


_CHAINS = (
    Family(r"block/\d+(/channels)?", "block/19", KERNELS, chains.of_mobile),
    Family(r"block/\d+", "block/7", OPS, chains.of_macro),
    Family(r"stage\d+/block\d+", "stage5/block1", CANDIDATES, chains.of_cream),
    Family(r"block/\d+|stage\d+/block\d+", "", (), chains.of_blocks),  # of yours, named alike
    Family(r"unit\d+/(depth|block\d+/(kernel|ratio))", "unit5/depth", (), chains.of_ofa),
    Family(r"embedding|depth|block\d+/(heads|ratio)", "embedding", (), chains.of_vit),
    Family(r"stage\d+/block\d+/(bits|channels)", "stage4/block1/bits", (), chains.of_resnet),
    Family(r"split|layer\d+/(shared|member\d+)", "layer1/shared", chains.OF_MEMBERS, chains.of_ensemble),
    Family(r"stage\d+/cell\d+", "stage5/cell1", KNOWN, chains.of_multibranch),
    Family(r"layer/\d\d", "layer/21", chains.OF_FBNET, chains.of_fbnet),
    Family(r"block\d+/(expansion|kernel|layers|excite)", "block6/expansion", (), chains.of_mnas),
    Family(r"width|(depth|mlp_ratio|num_heads)(/\d\d)?", "depth/02", (), chains.of_pit),
)
_REFUSED = {
    r"embedding|fusion|branches|outer|cross|mlp|pairs": (
        "space interactions has branches over the fields of a table, which are no operations on maps"
    ),
    r"(.+/)?(width\d*|kernel|depth)": (
        "of a network of your own it is known which numbers are open, and not what feeds what"
    ),
}


def graphs(arch: Mapping[str, Value]) -> Cells:
    """By cell type: "cell" in NAS-Bench-101 and 201, "normal" and "reduce" in DARTS and factorised, "neck" in fpn, with
    its backbone if that is open; else the "chain" of blocks. In words, too, where operations are described.

    Told apart by the names of decisions, so that an architecture is enough. Refused where they are of no such space.
    """
    return described(_drawn(arch))


def graphs_of(space: Space) -> Callable[[Mapping[str, Value]], Cells]:
    """The same of a space that may say by itself what its cells are (`space.graphs`, `space.descriptions`)."""
    draw = space.graphs or _drawn
    return lambda arch: described(draw(arch), space.descriptions)


def _drawn(arch: Mapping[str, Value]) -> Mapping[str, Graph | NodeGraph]:
    names = set(arch)
    if names == _NB201:
        edges = tuple((s, n, str(arch[f"{n}<-{s}"])) for s, n in EDGES)
        return {"cell": Graph(edges, (0,), (3,))}
    if SIZE in names:
        live = cell_of(arch)
        return {"cell": NodeGraph(live.ops, tuple(sorted(live.edges)), MOST_NODES)}
    necks = {name: match for name in sorted(names) if (match := _NECK.fullmatch(name))}
    if necks:
        into = tuple((int(match[2]), int(match[1]), str(arch[name])) for name, match in necks.items())
        rest = {name: value for name, value in arch.items() if name not in necks}
        neck = {"neck": Graph(into, (0,), tuple(sorted({node for _, node, _ in into})))}
        return {**(_drawn(rest) if rest else {}), **neck}
    return _chain(arch) or _cells(arch)


def _chain(arch: Mapping[str, Value]) -> dict[str, Graph]:
    """Of a chain, or of one that branches; empty for others."""
    for family in _CHAINS:
        if not arch or (family.needs and family.needs not in arch):
            continue
        answers = (o for value in arch.values() for o in (value if isinstance(value, tuple) else (value,)))
        foreign = family.options and any(isinstance(o, str) and o not in family.options for o in answers)
        if not foreign and all(re.fullmatch(family.names, name) for name in arch):
            return family.draw(arch)
    return {}


def _cells(arch: Mapping[str, Value]) -> dict[str, Graph]:
    nodes = [match for match in map(_NODE.fullmatch, sorted(arch)) if match]
    pairs = [match for match in map(_PAIR.fullmatch, sorted(arch)) if match]
    if not nodes and not pairs:
        raise Refused(_why_not(arch))
    found: dict[str, list] = {}
    for match in pairs:
        found.setdefault(match[2], []).append((int(str(arch[match[0]])), int(match[3]), str(arch[f"{match[1]}/op"])))
    for match in nodes:
        kind, node = match[1], int(match[2])
        kept = arch[match[0]]
        for source in kept if isinstance(kept, tuple) else (kept,):
            found.setdefault(kind, []).append((int(source), node, str(arch[f"{match[0]}/{source}"])))
    return {kind: Graph(tuple(edges), (0, 1), NODES) for kind, edges in found.items()}


def _why_not(arch: Mapping[str, Value]) -> str:
    names = ", ".join(sorted(arch)[:3])
    for pattern, why in _REFUSED.items():
        if arch and all(re.fullmatch(pattern, name) for name in arch):
            return f"an architecture with decisions {names}… has no graph: {why}; take encoding one_hot, as in gp"
    return (
        f"an architecture with decisions {names or '(none)'}… has no known cells: graphs are drawn of winnow's own "
        "spaces; one of yours says what feeds what with space.graphs (docs/add-a-space.md), and encoding one_hot does "
        "without"
    )


def ways(arch: Mapping[str, Value]) -> dict[str, int]:
    """Over the edge of each decision of a cell: how many ways lead from the cell's inputs to its last node.

    Empty where there are no cells: in a chain there is one way.
    """
    found: dict[str, int] = {}
    if set(arch) != _NB201 and not any(map(_NODE.fullmatch, arch)):
        return found
    for kind, graph in graphs(arch).items():
        assert isinstance(graph, Graph)
        over = Counter(edge for path in replace(graph, outputs=graph.outputs[-1:]).paths() for edge in path)
        for edge in graph.edges:
            source, node, _ = edge
            found[f"{node}<-{source}" if kind == "cell" else f"{kind}/{node}/{source}"] = over[edge]
    return found

"""The cells of an architecture as graphs: what encodings and topology scores read."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from winnow.core.decision import Value
from winnow.core.errors import Refused
from winnow.core.graph import Graph, NodeGraph
from winnow.spaces.darts import NODES
from winnow.spaces.nas_bench_201 import EDGES
from winnow.spaces.nb101_cells import MOST_NODES, cell_of
from winnow.spaces.nb101_cells import NODES as SIZE

_NB201 = frozenset(f"{node}<-{source}" for source, node in EDGES)
_BLOCK = re.compile(r"block/\d+|stage\d+/block\d+")  # of mobile, macro and cream
_NODE = re.compile(r"(normal|reduce)/(\d+)")
_NECK = re.compile(r"neck/(\d+)<-(\d+)")  # of space fpn: the sum of all nodes is returned
_PAIR = re.compile(r"((normal|reduce)/(\d+)/[ab])/input")  # of space factorised


def graphs(arch: Mapping[str, Value]) -> dict[str, Graph | NodeGraph]:
    """By cell type: "cell" in NAS-Bench-101 and 201, "normal" and "reduce" in DARTS and factorised, "neck" in fpn; else
    the "chain" of blocks.

    Told apart by the names of decisions, so that an architecture is enough. Refused where they are of no such space.
    """
    names = set(arch)
    if names == _NB201:
        edges = tuple((s, n, str(arch[f"{n}<-{s}"])) for s, n in EDGES)
        return {"cell": Graph(edges, (0,), (3,))}
    if SIZE in names:
        live = cell_of(arch)
        return {"cell": NodeGraph(live.ops, tuple(sorted(live.edges)), MOST_NODES)}
    if names and all(map(_BLOCK.fullmatch, names)):
        chain = tuple((i, i + 1, str(arch[name])) for i, name in enumerate(sorted(names, key=_numbers)))
        return {"chain": Graph(chain, (0,), (len(chain),))}
    necks = [match for match in map(_NECK.fullmatch, sorted(names)) if match]
    if necks:
        into = tuple((int(match[2]), int(match[1]), str(arch[match[0]])) for match in necks)
        return {"neck": Graph(into, (0,), tuple(sorted({node for _, node, _ in into})))}
    nodes = [match for match in map(_NODE.fullmatch, sorted(names)) if match]
    pairs = [match for match in map(_PAIR.fullmatch, sorted(names)) if match]
    if not nodes and not pairs:
        raise Refused(
            f"an architecture with decisions {', '.join(sorted(names)[:3])}… has no known cells: graphs are drawn of "
            "nas_bench_101, nas_bench_201, darts, factorised, fpn, mobile, macro and cream"
        )
    found: dict[str, list] = {}
    for match in pairs:
        found.setdefault(match[2], []).append((int(arch[match[0]]), int(match[3]), str(arch[f"{match[1]}/op"])))
    for match in nodes:
        kind, node = match[1], int(match[2])
        kept = arch[match[0]]
        for source in kept if isinstance(kept, tuple) else (kept,):
            found.setdefault(kind, []).append((int(source), node, str(arch[f"{match[0]}/{source}"])))
    return {kind: Graph(tuple(edges), (0, 1), NODES) for kind, edges in found.items()}


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


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

"""A cell as a graph: named operations on the edges that lead from its inputs to its outputs, or on its nodes."""

from collections.abc import Iterator
from dataclasses import dataclass

Edge = tuple[int, int, str]  # source, node, operation: an option, or several numbers, "kernel 5, ratio 4"
NONE = "none"  # an edge that carries nothing


@dataclass(frozen=True)
class Graph:
    """Edges lead to higher nodes. Several `outputs` are concatenated, edges into one node are added.

    `words`: what each edge does, as a sentence ("" where nobody said); () where no edge is described.
    """

    edges: tuple[Edge, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    words: tuple[str, ...] = ()

    @property
    def ops(self) -> tuple[str, ...]:
        return tuple(op for _, _, op in self.edges)

    def live(self) -> tuple[Edge, ...]:
        """The edges on a path from an input to an output; `none` is no edge."""
        fed, used = set(self.inputs), set(self.outputs)
        carrying = [edge for edge in self.edges if edge[2] != NONE]
        for source, node, _ in sorted(carrying):
            if source in fed:
                fed.add(node)
        for source, node, _ in sorted(carrying, key=lambda edge: -edge[1]):
            if node in used:
                used.add(source)
        return tuple(edge for edge in carrying if edge[0] in fed and edge[1] in used)

    def paths(self) -> Iterator[tuple[Edge, ...]]:
        """Every way from an input to an output over edges other than `none`, each once."""
        live = self.live()

        def onward(node: int) -> Iterator[tuple[Edge, ...]]:
            if node in self.outputs:
                yield ()
            for edge in live:
                if edge[0] == node:
                    yield from ((edge, *rest) for rest in onward(edge[1]))

        for node in self.inputs:
            yield from (path for path in onward(node) if path)

    def ways(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Of each path the input that it begins at, and its operations."""
        return ((path[0][0], tuple(op for _, _, op in path)) for path in self.paths())

    @property
    def lengths(self) -> range:
        """How many operations a path may have, at most one for each node that edges lead to."""
        return range(1, len({node for _, node, _ in self.edges}) + 1)

    @property
    def room(self) -> int:
        """How many nodes `on_nodes` takes in any cell of its space."""
        return len(self.inputs) + len(self.edges) + 1

    def on_nodes(self) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
        """The same with operations on nodes: their names (inputs first, "output" last) and who feeds whom."""
        names = ("input",) * len(self.inputs) + self.ops + ("output",)
        starts = [(node, i) for i, node in enumerate(self.inputs)]
        ends = starts + [(node, i) for i, (_, node, _) in enumerate(self.edges, len(self.inputs))]
        feeds = [
            (before, i)
            for i, (source, _, _) in enumerate(self.edges, len(self.inputs))
            for node, before in ends
            if node == source
        ]
        feeds += [(before, len(names) - 1) for node, before in ends if node in self.outputs]
        return names, tuple(sorted(feeds))


@dataclass(frozen=True)
class NodeGraph:
    """A cell with operations on nodes; the first is the input, the last the output. `room`: the most in its space.

    `words` as of `Graph`, of each node between.
    """

    ops: tuple[str, ...]  # of the nodes between
    feeds: tuple[tuple[int, int], ...]  # who feeds whom, sorted; all nodes are on a way from input to output
    room: int
    words: tuple[str, ...] = ()

    inputs = (0,)

    def ways(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """As of `Graph`: the operations of the nodes that each way passes, none where input feeds output."""

        def onward(node: int) -> Iterator[tuple[str, ...]]:
            for source, into in self.feeds:
                if source == node and into == len(self.ops) + 1:
                    yield ()
                elif source == node:
                    yield from ((self.ops[into - 1], *rest) for rest in onward(into))

        return ((0, way) for way in onward(0))

    @property
    def lengths(self) -> range:
        return range(self.room - 1)

    def on_nodes(self) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
        return ("input", *self.ops, "output"), self.feeds

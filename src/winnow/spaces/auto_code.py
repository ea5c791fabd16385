"""Numbers in a user's code that count channels: where a view, a split or a slice says how many, they become holes.

A module whose code counts is written as a graph (torch.fx) with the same operations, its parts untouched; then each
number that follows from widths is asked for. Heads of an attention are found so, and halves of a ShuffleNet.
"""

import inspect
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from winnow.core.decision import Decision
from winnow.holes.counted import Counted
from winnow.holes.cut import Axis
from winnow.spaces.auto_units import varying

UNFLATTEN = {"unflatten", torch.unflatten}
SHAPES = {"view", "reshape", "expand", torch.reshape, *UNFLATTEN}
PIECES = {"chunk", "split", torch.chunk, torch.split}
Labels = Callable[[Tensor], Tensor]


class Alone(fx.Tracer):
    """Follows the code of one module; its parts are called."""

    def is_leaf_module(self, module: nn.Module, path: str) -> bool:
        return True

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """What loops over the pieces of a tensor, as many as its code says."""
        node: fx.Node = obj.node
        if node.target in PIECES:
            said = node.args[1] if len(node.args) > 1 else next(iter(node.kwargs.values()))
            if isinstance(said, list | tuple) or node.target in ("chunk", torch.chunk):
                count = said if isinstance(said, int) else len(said)  # type: ignore[arg-type]
                return iter([obj[i] for i in range(count)])  # type: ignore[index]
        return super().iter(obj)


def written(module: nn.Module, absent: Sequence[str] = ()) -> fx.GraphModule | None:
    """`module` with its own code as a graph; None where that cannot be, or depends on whether it trains.

    `absent`: arguments that are None whenever it is called.
    """
    graphs, was = [], module.training
    try:
        for training in (True, False):
            module.training = training
            graphs.append(Alone().trace(module, dict.fromkeys(absent)))
    except Exception:  # code that fx cannot follow, whatever it is
        return None
    finally:
        module.training = was
    if graphs[0].python_code("self").src != graphs[1].python_code("self").src:
        return None
    graph = fx.GraphModule(module, graphs[0], type(module).__name__)
    graph.train(was) if graph.training != was else None
    return graph


def absent(module: nn.Module, calls: Iterable[tuple[int, Mapping[str, bool]]]) -> tuple[str, ...] | None:
    """The arguments that are None in all `calls`, given as (places filled, {name or place: whether it is None}).

    None where calls differ in that: no one graph computes them all.
    """
    parameters = list(inspect.signature(module.forward).parameters.values())
    found = set()
    for count, empty in calls:
        left = [
            p.name
            for i, p in enumerate(parameters)
            if empty.get(p.name, empty.get(str(i), i >= count and p.default is None))
        ]
        found.add(tuple(left))
    return found.pop() if len(found) == 1 else None


def write(net: nn.Module, paths: Mapping[str, Sequence[str]]) -> tuple[nn.Module, dict[str, Sequence[str]]]:
    """`net` with the modules at `paths` replaced by their graphs, under all their names; which of them could be.

    Each path has the arguments that are None whenever it is called.
    """
    done = {}
    for path, left in paths.items():
        module = net.get_submodule(path)
        graph = written(module, left)
        if graph is not None:
            for parent in list(net.modules()):
                parent._modules.update({name: graph for name, child in parent._modules.items() if child is module})
            net = net if path else graph
            done[path] = left
    return net, done


@dataclass(frozen=True)
class Number:
    """A number in a graph: of module `path`, node `node`, in argument `place`, it counts channels of these `labels`.

    `told`: the code says it; else it is computed, from the shape of a tensor for instance.
    """

    path: str
    node: str
    place: int
    labels: Tensor
    told: bool


class Reader(fx.Interpreter):
    """Runs a graph and notes what its numbers count, by the labels of the tensors that it meets."""

    def __init__(self, graph: fx.GraphModule, path: str, labels: Labels, found: list[Number]):
        super().__init__(graph)
        self.path, self.labels, self.found = path, labels, found

    def run_node(self, n: fx.Node) -> Any:
        out = super().run_node(n)
        if n.op in ("call_method", "call_function"):
            counted = list(self._counted(n, out))
            if any(labels.any() for _, labels, _ in counted):
                self.found += [Number(self.path, n.name, *each) for each in counted]
        return out

    def _counted(self, n: fx.Node, out: Any) -> Iterator[tuple[int, Tensor, bool]]:
        """(place, labels, whether the code tells it) of each number in what a node is given."""
        if n.target in SHAPES and isinstance(out, Tensor):
            labels = self.labels(out)
            begin, sizes = _sizes(n.target, self.fetch_args_kwargs_from_env(n)[0])
            code = _sizes(n.target, n.args)[1]
            begin %= out.dim() - len(sizes) + 1  # one dimension became so many
            for d in varying(labels):
                i = d - begin
                if 0 <= i < len(sizes) and sizes[i] != -1:
                    yield i, _along(labels, d), i >= len(code) or not isinstance(code[i], fx.Node)
        elif n.target in PIECES:
            d = self._dim(n)
            for i, piece in enumerate(out):
                yield i, _along(self.labels(piece).expand(piece.shape), d), True
        elif n.target is operator.getitem and isinstance(self.fetch_args_kwargs_from_env(n)[0][0], Tensor):
            yield from self._slices(n)

    def _dim(self, n: fx.Node) -> int:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        x, d = args[0], kwargs.get("dim", args[2] if len(args) > 2 else 0)
        return int(d) % x.dim()

    def _slices(self, n: fx.Node) -> Iterator[tuple[int, Tensor, bool]]:
        (x, index), _ = self.fetch_args_kwargs_from_env(n)
        index = index if isinstance(index, tuple) else (index,)
        labels = self.labels(x)
        for d, part in enumerate(index):
            if not isinstance(part, slice | int):
                return
            if isinstance(part, slice) and part.step in (None, 1) and d in varying(labels):
                start, stop = part.indices(x.shape[d])[:2]
                along = _along(labels, d)
                yield 2 * d, along[:start], True
                yield 2 * d + 1, along[:stop], True


def _sizes(target: Any, args: Sequence[Any]) -> tuple[int, Sequence[Any]]:
    """Of the arguments of a view: the dimension where its sizes begin, and these, which may be given as one list."""
    if target in UNFLATTEN:
        return (args[1], args[2]) if len(args) > 2 else (0, ())
    sizes = args[1:]
    return 0, sizes[0] if sizes and isinstance(sizes[0], list | tuple) else sizes


def _along(labels: Tensor, d: int) -> Tensor:
    """The labels along one dimension, at the first place of all others."""
    return labels.movedim(d, 0).flatten(1)[:, 0]


def ask(net: nn.Module, numbers: Mapping[tuple[str, str], Mapping[int, tuple[Sequence[Decision], Axis]]]) -> None:
    """Put a hole where each number stands in the graphs of `net`: by (path, node), and place there."""
    for (path, name), places in numbers.items():
        graph: Any = net.get_submodule(path)
        node = next(each for each in graph.graph.nodes if each.name == name)
        with graph.graph.inserting_before(node):
            asked = {place: _asked(graph, f"{name}_{place}", *what) for place, what in places.items()}
        _replace(node, asked)
        graph.recompile()


def _asked(graph: Any, name: str, decisions: Sequence[Decision], axis: Axis) -> Any:
    if not decisions:
        return len(axis.names)
    graph.add_submodule(f"count_{name}", Counted(decisions, axis))
    return graph.graph.call_module(f"count_{name}")


def _replace(node: fx.Node, asked: Mapping[int, Any]) -> None:
    if node.target in SHAPES:
        _, sizes = _sizes(node.target, node.args)
        new = [asked.get(i, size) for i, size in enumerate(sizes)]
        if node.target in UNFLATTEN:
            node.args = (*node.args[:2], new)
        else:
            node.args = (node.args[0], new) if node.target is torch.reshape else (node.args[0], *new)
    elif node.target in PIECES:
        d = node.kwargs.get("dim", node.args[2] if len(node.args) > 2 else 0)
        node.op, node.target = "call_function", torch.split
        node.args, node.kwargs = (node.args[0], [asked[i] for i in sorted(asked)], d), {}
    else:
        x, index = node.args
        parts: list[Any] = list(index) if isinstance(index, tuple) else [index]
        for d, part in enumerate(parts):
            if 2 * d in asked or 2 * d + 1 in asked:
                start = asked.get(2 * d, part.start)
                parts[d] = slice(start, asked.get(2 * d + 1, part.stop) if part.stop is not None else None)
        node.args = (x, tuple(parts))

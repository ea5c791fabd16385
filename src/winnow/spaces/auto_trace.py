"""Follow the channels of a network through one run of it: which hang together, whatever its code does with them.

The network runs as it is, on an example. Each channel that a layer makes gets a label; what only moves numbers (view,
permute, cat, chunk) moves the labels alike, what adds or multiplies unites them, what reads across channels (a mean, a
softmax, a LayerNorm) freezes them, and so does all that is not known here. No assumption about a name or a class.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from winnow.holes.cut import CONVOLUTIONS
from winnow.spaces.auto_code import Number, Reader
from winnow.spaces.auto_layers import CHANNELS, DROPOUT, copied, is_layer
from winnow.spaces.auto_rules import RULES
from winnow.spaces.auto_units import Seen, compact, varying


@dataclass
class Call:
    """One call of a module that takes a tensor and returns one of the same shape."""

    path: str
    before: int  # id of what it takes and of what it returns
    after: int
    same: bool  # whether the channels that come out hang together with those that went in, place by place
    adds: bool  # whether its own code adds


@dataclass
class Traced:
    seen: Seen
    calls: dict[str, int] = field(default_factory=dict)  # path → how often
    blocks: list[Call] = field(default_factory=list)
    counting: list[tuple[str, Tensor]] = field(default_factory=list)  # module whose code brings channels into a shape
    numbers: list[Number] = field(default_factory=list)
    given: dict[str, list[tuple[int, dict[str, bool]]]] = field(default_factory=dict)  # auto_code.absent


class Tracer(TorchDispatchMode):
    """Labels beside tensors while `net` runs; `with Tracer(net) as t: net(x)`, then `t.seen`."""

    def __init__(self, net: nn.Module, seen: Seen):
        super().__init__()  # type: ignore[no-untyped-call]
        self.net, self.seen = net, seen
        self.labels: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self.stack: list[str] = []
        self.layer: str | None = None  # inside one that has a rule of its own
        self.added: set[str] = set()
        self.calls: dict[str, int] = {}
        self.blocks: list[Call] = []
        self.counting: list[tuple[str, Tensor]] = []
        self.numbers: list[Number] = []
        self.given: dict[str, list[tuple[int, dict[str, bool]]]] = {}
        self.kept: list[Any] = []  # so that ids of block inputs and outputs stay theirs

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, for a second, to keep it away

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if self.layer is None:
            name = func._schema.name.removeprefix("aten::")
            if name in ("add", "add_"):
                self.added.add(self.stack[-1] if self.stack else "")
            RULES.get(name, RULES["unknown"])(self, func, args, kwargs or {}, out)
        return out

    def of(self, tensor: Tensor) -> Tensor:
        """The labels of a tensor; 0 throughout where it has none."""
        found: Tensor | None = self.labels.get(tensor)
        return torch.zeros([1] * tensor.dim(), dtype=torch.long) if found is None else found

    def tell(self, tensor: Tensor, labels: Tensor) -> None:
        labels = compact(labels)
        if labels.numel() > 1 or int(labels.flatten()[0]):
            self.labels[tensor] = labels
            if len(varying(labels)) > 1:
                self.seen.arrays.append(labels)

    def counts(self, labels: Tensor) -> None:
        """The module that runs gives these channels a shape, by numbers of its code."""
        if self.stack:
            self.counting.append((self.stack[-1], labels.unique()))

    def freeze(self, labels: Tensor, why: str) -> None:
        if labels.any():
            self.seen.units.freeze(labels, f"{why} in {self.where()}")

    def unite(self, a: Tensor, b: Tensor, what: str) -> None:
        self.seen.units.unite(a, b, f"{what} with channels that stay in {self.where()}")

    def where(self) -> str:
        """The module that runs and the line of its code."""
        frame: Any = sys._getframe(1)
        while frame is not None:
            path = frame.f_code.co_filename
            if "/torch/" not in path and "/winnow/spaces/auto" not in path and not path.startswith("<"):
                break
            frame = frame.f_back
        line = "" if frame is None else f" ({Path(frame.f_code.co_filename).name}, line {frame.f_lineno})"
        return f"{(self.stack[-1] if self.stack else '') or 'the network'}{line}"

    @contextmanager
    def watching(self) -> Iterator["Tracer"]:
        hooks = []
        for path, module in self.net.named_modules():
            hooks.append(module.register_forward_pre_hook(self._enters(path, module), with_kwargs=True))
            hooks.append(module.register_forward_hook(self._leaves(path, module)))
            if isinstance(module, fx.GraphModule):
                module.forward = Reader(module, path, self.of, self.numbers).run
        try:
            with self, torch.no_grad():
                yield self
        finally:
            for module in self.net.modules():
                if isinstance(module, fx.GraphModule):
                    del module.forward
            for hook in hooks:
                hook.remove()

    def _enters(self, path: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, inputs: Any, named: Any) -> None:
            self.stack.append(path)
            values = {**{str(i): value for i, value in enumerate(inputs)}, **named}
            self.given.setdefault(path, []).append((len(inputs), {key: v is None for key, v in values.items()}))
            self.calls[path] = self.calls.get(path, 0) + 1
            if self.layer is None and (is_layer(module) or isinstance(module, DROPOUT)):
                self.layer = path

        return hook

    def _leaves(self, path: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, inputs: Any, output: Any) -> None:
            if self.layer == path:
                self.layer = None
                self._layer(path, module, inputs[0], output)
            elif self.layer is None and len(inputs) >= 1:
                self._block(path, inputs[0], output)
            self.stack.pop()

        return hook

    def _block(self, path: str, x: Any, y: Any) -> None:
        if isinstance(x, Tensor) and isinstance(y, Tensor) and x is not y and x.shape == y.shape:
            units = self.seen.units
            same = torch.equal(units.roots(self.of(x)), units.roots(self.of(y)))
            self.blocks.append(Call(path, id(x), id(y), same, path in self.added))
            self.kept += [x, y]

    def _layer(self, path: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        """The labels of what a layer returns; those of what it takes are registered as its channels."""
        labels, units = self.of(x), self.seen.units
        if isinstance(module, DROPOUT):
            self.tell(y, labels)
            return
        if isinstance(module, nn.LayerNorm):
            across = [d for d in varying(labels) if d >= x.dim() - len(module.normalized_shape)]
            if across:
                self.freeze(labels, "a LayerNorm reads across them")
            self.tell(y, labels)
            return
        channel = x.dim() - 1 if isinstance(module, nn.Linear) else 1
        if any(d != channel for d in varying(labels)):
            labels = self._along(labels, channel)
        taken = labels.expand([size if d == channel else 1 for d, size in enumerate(x.shape)]).flatten()
        self.seen.register(path, "in", taken)
        if isinstance(module, CHANNELS):
            for group in taken.reshape(module.num_groups, -1) if isinstance(module, nn.GroupNorm) else ():
                units.merge(group)
            self.tell(y, labels)
            return
        made = self.seen.axes.get((path, "out"))
        if made is None:
            made = units.new(y.shape[channel])
            self.seen.register(path, "out", made)
            if isinstance(module, CONVOLUTIONS) and module.groups > 1:
                self._grouped(taken, made, module)
        self.tell(y, made.reshape([-1 if d == channel else 1 for d in range(y.dim())]))

    def _along(self, labels: Tensor, channel: int) -> Tensor:
        """Labels along `channel` alone: what lies in one, as pixels of several after a pixel shuffle, is one unit."""
        if channel not in varying(labels):
            self.freeze(labels, "a layer reads them along other dimensions")
            return torch.zeros([1] * labels.dim(), dtype=torch.long)
        rows = labels.movedim(channel, 0).flatten(1)
        for row in rows:
            self.seen.units.merge(row)
        return rows[:, 0].reshape([-1 if d == channel else 1 for d in range(labels.dim())])

    def _grouped(self, taken: Tensor, made: Tensor, module: Any) -> None:
        if module.groups < module.in_channels:
            self.seen.grouped.append((taken, made, module.groups))
        else:
            self.seen.units.unite(taken[:, None], made.reshape(module.groups, -1), "a depthwise convolution works")


def trace(net: nn.Module, x: Tensor) -> Traced:
    """Run `net` on `x` (batch, ...) in evaluation mode and look; what it returns stays as it is.

    Where layers are not called so, a copy runs in training mode too: a second classifier reads channels as well.
    """
    seen = Seen()
    tracer = _run(net, x, seen)
    if any(is_layer(module) and path not in tracer.calls for path, module in net.named_modules()):
        with torch.random.fork_rng():
            _run(copied(net).train(), x, seen)
    _freeze_shared(net, seen)
    return Traced(seen, tracer.calls, tracer.blocks, tracer.counting, tracer.numbers, tracer.given)


def _freeze_shared(net: nn.Module, seen: Seen) -> None:
    """Layers that hold one parameter together stay: cut, each would train a part of its own."""
    holders: dict[int, list[str]] = {}
    for path, module in net.named_modules():
        for parameter in module.parameters(recurse=False):
            holders.setdefault(id(parameter), []).append(path)
    for paths in holders.values():
        for (path, _), labels in seen.axes.items():
            if len(paths) > 1 and path in paths:
                seen.units.freeze(labels, f"{' and '.join(paths)} share their weights")


def _run(net: nn.Module, x: Tensor, seen: Seen) -> Tracer:
    tracer = Tracer(net, seen)
    with tracer.watching():
        output = net(x)
    for tensor in _tensors(output):
        seen.units.freeze(tracer.of(tensor), "the network returns them")
    return tracer


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from _tensors(value)

"""What a child is given of its parent: the weights at those places of the whole network that both have kept.

After Chen et al. 2016 (Net2Net, arXiv:1511.05641) and Wei et al. 2016 (arXiv:1603.01670), by zeros: what shared
channels would take from new ones is 0, and so are the last layers of a new block, where it then gives what it takes.
"""

import copy
import itertools
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from winnow.core.decision import Value
from winnow.core.errors import Refused
from winnow.core.example import noise
from winnow.core.holes import Asking
from winnow.core.space import Space
from winnow.holes.cut import CONVOLUTIONS, NORMS, TRANSPOSED, Kept
from winnow.holes.depth import Depth
from winnow.train.building import built
from winnow.train.seeds import seeded

LAYERS = (*CONVOLUTIONS, *NORMS, nn.Linear, nn.GroupNorm, nn.LayerNorm)
Places = tuple[Tensor, ...]  # along each dimension of a tensor: which places of the whole one it has, in order


class Chart:
    """`space` once more, in which each weight is its own number in the whole network, so that children are maps."""

    def __init__(self, space: Space):
        assert space.again is None or space.example is not None
        self.space = copy.deepcopy(space) if space.again is None else built(space.again, space.example, 0)  # type: ignore[arg-type]
        self.starts, self.shapes = [0], list[torch.Size]()  # of the whole tensors, one after another
        numbered: dict[int, tuple[Tensor, Tensor]] = {}  # by id; the tensor itself keeps it
        for module in self.space.modules():
            for store in (module._parameters, module._buffers):
                for name, tensor in store.items():
                    if tensor is not None:
                        if id(tensor) not in numbered:
                            numbered[id(tensor)] = tensor, self._numbers(tensor)
                        store[name] = numbered[id(tensor)][1]  # type: ignore[assignment]

    def _numbers(self, tensor: Tensor) -> Tensor:
        self.starts.append(self.starts[-1] + tensor.numel())
        self.shapes.append(tensor.shape)
        numbers = torch.arange(*self.starts[-2:]).reshape(tensor.shape)
        return nn.Parameter(numbers, requires_grad=False) if isinstance(tensor, nn.Parameter) else numbers

    def of(self, arch: Mapping[str, Value]) -> dict[str, tuple[int, Places]]:
        """By name of the child's state: which whole tensor, and which places of it; left out where it is no slice."""
        found = {name: self._places(numbers) for name, numbers in self.space.derive(arch).state_dict().items()}
        return {name: places for name, places in found.items() if places is not None}

    def _places(self, numbers: Tensor) -> tuple[int, Places] | None:
        if numbers.dtype != torch.long or not numbers.numel() or not 0 <= int(numbers.min()) < self.starts[-1]:
            return None
        which = bisect_right(self.starts, int(numbers.min())) - 1
        shape = self.shapes[which]
        if len(shape) != numbers.dim() or int(numbers.max()) >= self.starts[which + 1]:
            return None
        rest = numbers - self.starts[which]
        along = [rest // math.prod(shape[d + 1 :]) % size for d, size in enumerate(shape)]
        lines = tuple(_line(each, d) for d, each in enumerate(along))
        pairs = enumerate(zip(along, lines, strict=True))
        return (which, lines) if all(bool((each == _across(lines, d)).all()) for d, (each, _) in pairs) else None


def _line(tensor: Tensor, d: int) -> Tensor:
    return tensor[tuple(slice(None) if each == d else 0 for each in range(tensor.dim()))]


def _across(lines: Places, d: int) -> Tensor:
    """Line `d`, ready to meet the others."""
    return lines[d].reshape([-1 if each == d else 1 for each in range(len(lines))])


def overlap(own: Tensor, theirs: Tensor) -> tuple[Places, Places] | None:
    """Places of two tensors that are no slices of one: channels meet from the first on, kernels at their centres.

    None where they have other dimensions, or centres do not meet.
    """
    sizes = list(zip(own.shape, theirs.shape, strict=False))
    if own.ndim != theirs.ndim or any((a - b) % 2 for a, b in sizes[2:]):
        return None
    starts = [((max(a, b) - a) // 2, (max(a, b) - b) // 2) if d >= 2 else (0, 0) for d, (a, b) in enumerate(sizes)]
    here = tuple(torch.arange(i, i + a) for (i, _), (a, _) in zip(starts, sizes, strict=True))
    return here, tuple(torch.arange(j, j + b) for (_, j), (_, b) in zip(starts, sizes, strict=True))


def fit_in(own: Tensor, theirs: Tensor, here: Places, there: Places, layer: nn.Module | None = None) -> None:
    """Overwrite `own`, a weight of shape (out, in, kernel …) or a vector, with `theirs` where their places meet.

    What shared outputs would take from new inputs, or from the rim of a larger kernel, is 0; new outputs keep what they
    were initialised with. So a wider `layer` or a larger kernel computes for the shared channels what it did.
    """
    ours = tuple(torch.isin(a, b).nonzero()[:, 0] for a, b in zip(here, there, strict=True))
    its = tuple(torch.isin(b, a).nonzero()[:, 0] for a, b in zip(here, there, strict=True))
    if own.ndim > 1 and isinstance(layer, TRANSPOSED):  # (in, out of a group, kernel …); a new group is new outputs
        rows = torch.arange(own.shape[0]).reshape(layer.groups, -1)
        known = rows[torch.isin(rows, ours[0]).any(1)].flatten()
        own[known[:, None], ours[1]] = 0
    elif own.ndim > 1 and not isinstance(layer, nn.Embedding):
        own[ours[0]] = 0
    own[tuple(_across(ours, d) for d in range(own.ndim))] = theirs[tuple(_across(its, d) for d in range(own.ndim))].to(
        own
    )


def silence_new(model: nn.Module, space: Space, own: Mapping[str, Value], parents: Mapping[str, Value]) -> None:
    """Put to 0, of each block that the parent had not, the last layers by which it changes anything.

    A new branch then gives 0, and a new block of a chain what it takes, in evaluation mode. A block that cannot, as its
    sum is normalised, say, stays as it was initialised.
    """
    new = list(_new(space, own, parents))
    if not new:
        return
    if space.example is None:
        raise Refused("whether a new block changes anything is seen on an input: set space.example, as outline does")
    x = noise(space.example, torch.Generator().manual_seed(0), 2, next(model.parameters()).device)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    with torch.no_grad(), seeded(0):
        for path, passes in new:
            _silence(model, path, x, passes)
    for module, training in modes.items():
        module.training = training


def _new(space: Space, own: Mapping[str, Value], parents: Mapping[str, Value]) -> Iterator[tuple[str, bool]]:
    """(path, whether it should give what it takes, or else 0) of what stands where the parent had nothing."""
    for path, hole in space.model.named_modules():
        if not isinstance(hole, Asking) or hole.decision.name not in own or hole.decision.name not in parents:
            continue
        mine, theirs = own[hole.decision.name], parents[hole.decision.name]
        if isinstance(hole, Depth):
            yield from ((f"{path}.{place}", True) for place in range(int(theirs), int(mine)))  # type: ignore[arg-type]
        elif isinstance(hole, Kept):
            if not hole.kept(theirs) and hole.kept(mine):
                yield path, True
        elif mine != theirs and not hole.decision.several:
            had = hole.kept(theirs)
            if theirs == "none" or all(isinstance(module, nn.Identity) for module in had):
                yield path, theirs != "none"


def _silence(model: nn.Module, path: str, x: Any, passes: bool) -> None:
    """As few of the layers as need be, from the last that was called back to the first."""
    block = dict(model.named_modules()).get(path)
    taken = None if block is None else _taken(model, block, x)
    if block is None or taken is None:
        return
    given, args, named = taken

    def silent() -> bool:
        output = block(*copy.deepcopy(args), **copy.deepcopy(named))
        if not isinstance(output, Tensor):
            return False
        return torch.equal(output, given) if passes else not output.any()

    before, off = {}, list[nn.Module]()
    for layer in reversed(_called(block, args, named)):
        if silent():
            break
        before[layer] = [p.clone() for p in layer.parameters(recurse=False)]
        _fill(layer, [torch.zeros_like(p) for p in before[layer]])
        off.append(layer)
    works = silent()
    for layer in reversed(off):
        _fill(layer, before[layer])
        if works and not silent():
            _fill(layer, [torch.zeros_like(p) for p in before[layer]])


def _fill(layer: nn.Module, values: list[Tensor]) -> None:
    for parameter, value in zip(layer.parameters(recurse=False), values, strict=True):
        parameter.copy_(value)


def _taken(model: nn.Module, block: nn.Module, x: Any) -> tuple[Tensor, tuple[Any, ...], dict[str, Any]] | None:
    """What `block` takes first, and all that it takes, where `model` takes `x`; None where it is not called so."""
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    hook = block.register_forward_pre_hook(
        lambda module, args, named: seen.append(copy.deepcopy((args, named))), with_kwargs=True
    )
    try:
        model(x)
    finally:
        hook.remove()
    first = next((args[0] for args, _ in seen if args and isinstance(args[0], Tensor)), None)
    return None if first is None else (first, *seen[0])


def _called(block: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any]) -> list[nn.Module]:
    """Its layers with weights, as they are called; none whose output a norm without any would blow up again."""
    calls: list[nn.Module] = []
    hooks = [m.register_forward_hook(lambda m, *_: calls.append(m)) for m in block.modules() if isinstance(m, LAYERS)]
    try:
        block(*copy.deepcopy(args), **copy.deepcopy(dict(named)))
    finally:
        for hook in hooks:
            hook.remove()
    followed = itertools.zip_longest(calls, calls[1:])
    bare = {m for m, after in followed if isinstance(after, NORMS) and not after.affine and not isinstance(m, NORMS)}
    return list(dict.fromkeys(m for m in calls if m not in bare and list(m.parameters(recurse=False))))

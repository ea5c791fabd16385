"""What a network takes on a small device, told without one: the RAM of its activations, the flash of its weights.

The quick numbers, from one forward pass on the meta device, where nothing is computed: a lower bound. An exporter plans
more, since its buffers have places and its graph an order of its own; docs/your-network.md says how much more.
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from winnow.core.errors import Refused, told
from winnow.core.example import Example, zeros

KIB = 1024
NORMS = (torch.ops.aten.native_batch_norm, torch.ops.aten.cudnn_batch_norm)  # statistics of a batch: none in evaluation
FOOTPRINT = ("ram_kib", "flash_kib")


def footprint(model: nn.Module, example: Example) -> dict[str, float]:
    """`ram_kib` and `flash_kib` of `model` for one input like `example`, in evaluation mode, in the types it has.

    The model stays as it was. Refused where it does not run on the meta device, as what asks for values does not.
    """
    try:
        peak = peak_activations(model, example)
    except Exception as error:  # whatever an operation raises there
        raise Refused(
            f"what the network takes in memory cannot be told: its forward pass does not run without values "
            f"({told(error)}); leave ram_kib and flash_kib out"
        ) from error
    return {"ram_kib": peak / KIB, "flash_kib": weight_bytes(model) / KIB}


def weight_bytes(model: nn.Module) -> int:
    """Bytes of parameters and of the buffers that inference reads; what is shared counts once.

    Counters that training alone reads (whole numbers of no dimension, as `num_batches_tracked`) count nothing.
    """
    tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return sum(t.numel() * t.element_size() for t in tensors.values() if t.is_floating_point() or t.dim())


def peak_activations(model: nn.Module, example: Example) -> int:
    """The most bytes of activations that are alive at once, for one input.

    Operations run in the order of the forward pass. What one makes is alive from there to the last that reads it, and
    both are alive while it runs: a network's input until it is read last, its outputs to the end. Views share the
    memory of what they view. An operation in place counts as one that is not, since exported graphs have none; weights
    and running statistics lie in flash and count nothing, nor does what a kernel needs for itself.
    """
    model = copy.deepcopy(model).eval().to("meta")
    x = zeros(example, device="meta")
    trace = _Trace([*model.parameters(), *model.buffers()])
    with torch.no_grad(), trace:
        trace.given(_tensors(x))
        trace.kept(_tensors(model(x)))
    return trace.peak()


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


class _Trace(TorchDispatchMode):
    """Which operation made which memory, and which read it last; memory has a number, its bytes and two times."""

    def __init__(self, constant: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: list[Tensor] = list(constant)  # so that no address is used twice
        self.constant = {_place(tensor) for tensor in constant}
        self.made: dict[int, list[int]] = {}  # number: bytes, first, last
        self.number: dict[int, int] = {}  # which memory lies at an address now
        self.now = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        self.now += 1
        read = list(_tensors((args, kwargs)))
        for tensor in read:
            self._reads(tensor)
        written = func._schema.is_mutable
        made = list(_tensors(outputs))
        for tensor in made[:1] if func.overloadpacket in NORMS else made:
            place = _place(tensor)
            if place in self.constant:
                continue
            if written or place not in self.number:
                self._makes(tensor)
        return outputs

    def given(self, tensors: Iterator[Tensor]) -> None:
        for tensor in tensors:
            self._makes(tensor)

    def kept(self, tensors: Iterator[Tensor]) -> None:
        for tensor in tensors:
            self._reads(tensor)

    def peak(self) -> int:
        """The largest sum over what is alive at one time."""
        return max(
            (sum(size for size, first, last in self.made.values() if first <= t <= last) for t in range(self.now + 1)),
            default=0,
        )

    def _reads(self, tensor: Tensor) -> None:
        if (number := self.number.get(_place(tensor))) is not None:
            self.made[number][2] = self.now

    def _makes(self, tensor: Tensor) -> None:
        self.held.append(tensor)
        self.number[_place(tensor)] = len(self.made)
        self.made[len(self.made)] = [tensor.untyped_storage().nbytes(), self.now, self.now]


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata

"""How a network comes to be: which values it begins with, and how it lies in memory. No other place decides that.

Winnow's own spaces are outlines on the meta device; `reset_parameters` draws the values of each child. A user's space
is built on the CPU every time, all randomness from a seed, and what its builder made stays: pretrained weights, frozen
ones, constants, buffers that no file holds.
"""

import copy
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Value
from winnow.core.errors import Refused, blamed
from winnow.core.example import Example, noise, zeros
from winnow.core.holes import Setting
from winnow.core.space import Space
from winnow.core.strided import BLOCK, guarded, strided
from winnow.train.seeds import drawing, materialise, seeded
from winnow.train.tracing import described

Make = Callable[[], Space]
Call = Callable[[Any, Tensor], Any]  # a way to run a network


def outline(make: Make, example: Example, *, drawn: bool) -> Space:
    """A space to look at, to count on and to derive `fresh` children from; `example` is one input of it.

    `drawn`: on the meta device, where only `reset_parameters` gives values. Else as `make` builds it.
    """
    if drawn:
        with torch.device("meta"):
            space = make()
    else:
        space = built(make, example, 0)
        space.again = make
    space.example = example
    return space


def built(make: Make, example: Example, seed: int) -> Space:
    """The space as its builder makes it, on the CPU, lazy layers opened. Refused where a parameter has no value."""
    with drawing(seed):
        space = make()
        compiler = sys.modules.get("torch._dynamo")  # whoever compiles has imported it: seconds, so not here
        for name, module in space.model.named_modules():
            if compiler and isinstance(module, compiler.OptimizedModule):
                where = f"module {name!r}" if name else "the network"
                raise Refused(f"{where} is compiled, and children are parts of copies: leave torch.compile out")
        for name, tensor in itertools.chain(space.model.named_parameters(), space.model.named_buffers()):
            if tensor.is_meta:
                raise Refused(f"{name!r} of the network is on the meta device and has no value: build it on the CPU")
        _open(space.to("cpu"), example)
    _plain_tensors(space)
    space.example = example
    return space


def fresh(space: Space, arch: Architecture, device: str | torch.device, seed: int) -> nn.Module:
    """A child of `space` that begins anew, on `device`: what is drawn is from `seed`, what its builder gave is kept."""
    if space.again is None:
        return materialise(space.derive(arch), device, seed)
    assert space.example is not None
    child = derived_child(built(space.again, space.example, seed), arch)
    return arranged(child, space.example, [lambda model, x: model(x)]).to(device)


def timed(space: Space, arch: Architecture, device: str | torch.device) -> nn.Module:
    """A child of `space` whose values do not matter: a user's is derived as it is, its network not built anew."""
    child = fresh(space, arch, device, 0) if space.again is None else derived_child(space, arch).to(device)
    return child.eval()


def fresh_space(space: Space, device: str | torch.device, seed: int) -> Space:
    """The same for the whole space, every candidate; an outline on the meta device is filled itself."""
    if space.again is None:
        materialise(space, device, seed)
        return space
    assert space.example is not None
    return built(space.again, space.example, seed).to(device)


def derived_child(space: Space, arch: Architecture) -> nn.Module:
    """`space.derive`; Refused, with the module's path, where something that the network keeps cannot be copied."""
    try:
        child = space.derive(arch)
    except (TypeError, RuntimeError, AttributeError) as error:
        for path, module in space.model.named_modules():
            for name, value in vars(module).items():
                if not name.startswith("_") and not _copies(value):
                    raise Refused(
                        f"module {path or 'at the root'!r} ({type(module).__name__}) keeps {name!r}, a "
                        f"{type(value).__name__}, which cannot be copied, and children are copies: "
                        "make it in forward, or give the class a __deepcopy__"
                    ) from error
        raise
    loose = next((name for name, parameter in child.named_parameters() if not parameter.is_leaf), None)
    if loose is not None:
        raise Refused(f"{loose!r} of the child would not be trained: copies of scripted modules are not; script later")
    return child


def _plain_tensors(space: Space) -> None:
    """Give tensors that cannot be copied or loaded into a form that can be, with the values they have."""
    for tensor in itertools.chain(space.parameters(), space.buffers()):
        if any(step == 0 for step, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1):  # expanded
            tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    for module in space.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and value.grad_fn is not None:  # by a hook that computes it anew: weight_norm
                vars(module)[name] = value.detach()


def _copies(value: object) -> bool:
    try:
        copy.deepcopy(value)
    except Exception:
        return isinstance(value, Tensor)  # `derive` knows of those
    return True


def _open(space: Space, example: Example) -> None:
    """Run every candidate once where layers wait for an input to know their size."""
    if not any(is_lazy(tensor) for tensor in itertools.chain(space.parameters(), space.buffers())):
        return
    space.eval()
    with torch.no_grad(), blamed(f"the network with lazy layers, given {described((zeros(example, 2),))}"):
        for setting in covering(space):
            space(zeros(example, 2), setting)
    space.train()
    for name, module in space.model.named_modules():
        if any(is_lazy(tensor) for tensor in [*module._parameters.values(), *module._buffers.values()]):
            raise Refused(f"module {name!r} ({type(module).__name__}) is lazy and was never called: what is its size?")


def covering(space: Space) -> Iterator[Setting]:
    """Architectures in which every option of the outer decisions occurs, and the even mixture where holes mix."""
    for turn in range(max((len(d.options) for d in space.decisions.values()), default=1)):

        def choose(d: Decision, turn: int = turn) -> Value:
            option = d.options[turn % len(d.options)]
            return next((v for v in d.values if option in (v if isinstance(v, tuple) else (v,))), d.values[-1])

        yield space.decide(choose)
    if all(hole.mixes for hole in space.holes):
        yield {
            d.name: torch.full((len(d.options),), 1 / len(d.options)) for d in space.decisions.values() if not d.several
        }


def running(space: Space, x: Tensor, setting: Setting) -> Any:
    """What `space` answers with `setting`, among the calls that `arranged` takes."""
    return space(x, setting)


def arranged(model: Any, example: Example, calls: Sequence[Call]) -> Any:
    """`model` itself; where it does not run with channels last, inputs reach it plain from now on, whatever comes.

    `.view` on a feature map, for one, or a convolution in three dimensions; or it runs and answers otherwise, as what
    reads memory by strides of its own does. Each of `calls` is tried on copies, forward
    and backward, on the CPU: equal networks are always laid out alike.
    """
    if not _runs_channels_last(model, example, calls):
        inner = model.model if isinstance(model, Space) else model
        inner.register_forward_pre_hook(plain)
    return model


def laid(model: Any) -> Any:
    """`model` itself, its weights channels last unless it was `arranged` otherwise."""
    inner = model.model if isinstance(model, Space) else model
    if plain in inner._forward_pre_hooks.values():
        return model
    return guarded(model).to(memory_format=torch.channels_last)


def plain(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """A hook: a tensor in the order of its axes: batch, channel, height, width."""
    x, *rest = inputs
    return (x.contiguous() if isinstance(x, Tensor) else x, *rest)


def _runs_channels_last(model: Any, example: Example, calls: Sequence[Call]) -> bool:
    layout = torch.channels_last
    if any(strided(m) and m.in_channels < BLOCK and type(m) is not nn.Conv2d for m in model.modules()):
        return False  # a class of its own, which `guarded` leaves alone
    try:
        with seeded(0):
            x = noise(example, torch.Generator().manual_seed(0), 2).contiguous(memory_format=layout)
            trial = guarded(copy.deepcopy(model)).to(memory_format=layout)
            for call in calls:
                output = call(trial, x)
                _first(output).float().sum().backward()
            model, trial = copy.deepcopy(model).eval(), guarded(copy.deepcopy(model)).to(memory_format=layout).eval()
            with torch.no_grad():
                return all(_alike(_first(call(model, x.contiguous())), _first(call(trial, x))) for call in calls)
    except Exception:  # whatever it is: the plain layout is what every network takes
        return False


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple | list) else output


def _alike(one: Tensor, other: Tensor) -> bool:
    """Equal but for the order in which sums are taken."""
    size = float(one.abs().max()) if one.numel() else 0.0
    return torch.allclose(one, other, rtol=1e-2, atol=1e-2 * size, equal_nan=True)
